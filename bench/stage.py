"""The stage: load generator, upstream, and one measurement on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import procfs
from bench.contestants.contestant import Contestant
from bench.contestants.login import COOKIE
from bench.contestants.ours import Scene
from bench.instructions import Instructions, can_count
from bench.load import Load, Wrk
from bench.process import BenchError
from bench.rows import IdleRow, Row
from bench.upstream import Upstream

PAGE = "/wiki/pages/start?version=7"
"""What is asked for where nothing else is said."""
BROWSER = {
    # What a browser's fetch sends; without a good session it would be answered with 401, which wrk counts.
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 "
    "Safari/537.36",
    "Accept": "application/json, text/plain, */*",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-CH-UA": '"Chromium";v="140", "Not=A?Brand";v="24"',
    "Sec-CH-UA-Mobile": "?0",
    "Sec-CH-UA-Platform": '"Linux"',
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Cache-Control": "no-cache",
}
APP_COOKIE = "theme=dark"


def cookies(token: str) -> str:
    """Return a Cookie header's value with a session token, and one cookie that is an app's."""
    return f"{APP_COOKIE}; {COOKIE}={token}"


def in_turn(contestants: Mapping[str, Contestant], rounds: int) -> Iterator[tuple[int, str, Contestant]]:
    """Yield each contestant once per round, each round starting with another one."""
    names = list(contestants)
    for number in range(rounds if names else 0):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            yield number, name, contestants[name]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: int
    main_seconds: int
    main_rounds: int
    """Of the first case, where the ratio is to be known best: many short rounds average out what the host does."""
    flat_rounds: int
    """Of the cases that have a bar of their own, where three rounds would be too few."""
    routes: tuple[int, ...]
    sessions: int
    records: int
    """Sessions in the stores with records, where each is written by itself."""
    idle: int
    answers: tuple[str, ...]
    uploads: tuple[int, ...]
    further: tuple[str, ...]
    """Contestants of the cases after the main one."""


FULL = Plan(
    rounds=3,
    seconds=2,
    main_seconds=1,
    main_rounds=16,
    flat_rounds=5,
    routes=(10, 100, 1000),
    sessions=100_000,
    records=100_000,
    idle=10_000,
    answers=("100k", "1m", "100m"),
    uploads=(1, 10),
    further=("ours", "nginx", "caddy"),
)
QUICK = Plan(
    rounds=1,
    seconds=1,
    main_seconds=1,
    main_rounds=5,
    flat_rounds=1,
    routes=(10, 1000),
    sessions=20_000,
    records=20_000,
    idle=2_000,
    answers=("1m",),
    uploads=(1,),
    further=("ours", "nginx"),
)


@dataclass(slots=True)
class Stage:
    """Everything that a case needs; the rows gather here."""

    directory: Path
    core: int
    """The contestants' core."""
    load_core: int
    plan: Plan
    wrk: Wrk
    upstream: Upstream
    scene: Scene | None
    """None where our own gateway does not take part."""
    headers: Mapping[str, str]
    rows: list[Row] = field(default_factory=list)
    idle_rows: list[IdleRow] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """What could not take part because it is not installed, though it need not be."""
    counted: dict[tuple[str, str], float | None] = field(default_factory=dict)
    """Instructions per request of each case and variant, as far as they were counted."""
    sessions_shown: int = 0
    """How many sessions the gateway had seen in the case with many of them."""

    def warm_up(self, contestant: Contestant, path: str = "/", wrk: Wrk | None = None) -> None:
        """Let a contestant open its upstream connections and its interpreter find the hot code."""
        (wrk or self.wrk).run(contestant.url(path), 1)

    def leave_out(self, what: str, why: str) -> None:
        """Note that something optional does not take part."""
        self.left_out.append(f"{what}: {why}")
        print(f"left out: {self.left_out[-1]}", flush=True)

    def measure(
        self,
        case: str,
        variant: str,
        number: int,
        contestant: Contestant,
        path: str,
        *,
        seconds: int | None = None,
        arguments: Sequence[str] = (),
        connections: int | None = None,
        upload: int = 0,
        wrk: Wrk | None = None,
        once: bool = False,
        forwards: bool = True,
    ) -> Row:
        """Run the load and note the row; ``upload`` bytes are sent with each request.

        ``wrk`` is another load generator than the usual one, as with the cookies of another login. ``once`` says that
        the same load again would be another case, so that no instructions can be counted. ``forwards`` says whether
        each request has to arrive at the upstream.
        """
        if upload:
            arguments = ("upload", str(upload))
        load_once = partial(
            (wrk or self.wrk).run, contestant.url(path), seconds or self.plan.seconds, arguments, connections
        )
        arrived = self.upstream.requests()
        started = time.monotonic()
        before, core_before = contestant.cpu_time(), procfs.core_time(self.core)
        load = load_once()
        used = contestant.cpu_time() - before
        core, elapsed = procfs.core_time(self.core), time.monotonic() - started
        lost = max(0.0, core.used - core_before.used - used.total) + core.stolen - core_before.stolen
        arrived = self.upstream.requests() - arrived
        if forwards and not upload and arrived < load.requests:
            raise BenchError(f"{variant} answered {load.requests} requests but forwarded {arrived} only")
        moved = upload * load.requests or load.bytes
        row = Row(
            case,
            variant,
            number,
            load,
            used,
            contestant.resident_kib(),
            moved,
            lost / elapsed,
            None if once else self._count((case, variant), contestant, load_once),
        )
        self.rows.append(row)
        print(
            f"{case:14} {variant:14} {row.cpu_us:9.1f} µs CPU, {row.kernel_us:.0f} of it kernel  "
            f"{row.per_second:9.0f} req/s  {row.cpu_share:4.0%} of the core, {row.lost_share:4.0%} lost to others",
            flush=True,
        )
        return row

    def _count(self, key: tuple[str, str], contestant: Contestant, load_once: Callable[[], Load]) -> float | None:
        """Return the instructions per request of a case and variant, counted once in a run of their own.

        Counters are exchanged at each switch of threads, which virtual machines do slowly: a proxy that uses threads
        would seem to need half as much again if both were measured in one run.
        """
        if key not in self.counted and can_count():
            with Instructions(*contestant.pids()) as instructions:
                requests = load_once().requests
            self.counted[key] = instructions.count / requests if instructions.count and requests else None
        return self.counted.get(key)
