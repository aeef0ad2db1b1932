"""The cases, each a function over the stage; `CASES` is what a run goes through."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import forward_auth, idle, logged_in, stores
from bench.contestants import aiohttp_proxy, caddy, nginx, ours
from bench.contestants.contestant import Contestant
from bench.contestants.ours import Setup
from bench.process import BenchError, most_connections
from bench.rows import IdleRow
from bench.stage import PAGE, Stage, cookies, in_turn
from bench.tokens import sealed_sessions, write_cycle

OTHERS = {"nginx": nginx.running, "caddy": caddy.running, "aiohttp": aiohttp_proxy.running}
OURS = {"ours": True, "interpreted": False}
"""Whether it is compiled."""
NAMES = (*OURS, *OTHERS, logged_in.APACHE, forward_auth.OAUTH2_PROXY)
"""The last two take part in a case of their own alone."""
STORES = ("cookie", "redis", "sqlite")
WARM_ROUNDS = 3
"""Of one session and of many, short ones, for each round of cold ones: what the host does passes within seconds."""
ONE_SESSION, MANY_SESSIONS, COLD_SESSIONS = "1 session", "many sessions", "cold sessions"
FILL_TIME = 40.0
"""Seconds for showing the many sessions to the gateway; a slow machine gets fewer of them."""


@contextmanager
def running(stage: Stage, names: Sequence[str], purpose: str) -> Iterator[Mapping[str, Contestant]]:
    """Run contestants side by side; all but the measured one idle."""
    with ExitStack() as stack:
        found: dict[str, Contestant] = {}
        for name in names:
            if name in OTHERS:
                directory = stage.directory / purpose / name
                start = OTHERS[name](directory, stage.core, stage.upstream.port, stage.upstream.sink_port)
                found[name] = stack.enter_context(start)
            elif name in OURS and stage.scene:
                found[name] = stack.enter_context(
                    ours.running(stage.scene, f"{name}-{purpose}", Setup(compiled=OURS[name]))
                )
        for contestant in found.values():
            stage.warm_up(contestant, PAGE)
        yield found


def proxying(stage: Stage, names: Sequence[str]) -> None:
    """GET with a small answer: the case that counts; then the same over one connection."""
    plan = stage.plan
    with running(stage, names, "proxying") as contestants:
        for number, name, contestant in in_turn(contestants, plan.main_rounds):
            stage.measure("proxying", name, number, contestant, PAGE, seconds=plan.main_seconds)
        for number, name, contestant in in_turn(contestants, plan.rounds):
            stage.measure("one at a time", name, number, contestant, PAGE, connections=1)


def bodies(stage: Stage, names: Sequence[str]) -> None:
    """Large answers, and uploads that the upstream reads to their end."""
    chosen = [name for name in stage.plan.further if name in names]
    with running(stage, chosen, "bodies") as contestants:
        measure = partial(stage.measure, connections=4)
        for size in stage.plan.answers:
            for number, name, contestant in in_turn(contestants, stage.plan.rounds):
                measure(f"answer {size}", name, number, contestant, f"/files/{size}")
        for mib in stage.plan.uploads:
            for number, name, contestant in in_turn(contestants, stage.plan.rounds):
                measure(f"upload {mib}m", name, number, contestant, "/upload", upload=mib * 1024 * 1024)


def routes(stage: Stage, names: Sequence[str]) -> None:
    """Ours with 10, 100, 1 000 routes, the requests spread over all of them."""
    if not stage.scene or "ours" not in names:
        return
    with ExitStack() as stack:
        contestants, cycles = {}, {}
        for count in stage.plan.routes:
            variant = f"{count} routes"
            gateway = stack.enter_context(ours.running(stage.scene, f"ours-{count}-routes", Setup(routes=count)))
            lines = [(f"{ours.route_path(i)}/page", stage.headers["Cookie"]) for i in range(count - 2)]
            cycles[variant] = stage.directory / f"routes-{count}"
            write_cycle(cycles[variant], lines)
            contestants[variant] = gateway
            stage.wrk.run(gateway.url("/"), 1, ("cycle", str(cycles[variant])))
        for number, variant, gateway in in_turn(contestants, stage.plan.flat_rounds):
            stage.measure("routes", variant, number, gateway, "/", arguments=("cycle", str(cycles[variant])))


def sessions(stage: Stage, names: Sequence[str]) -> None:
    """Ours with one session, with many that it has seen, and with tokens it never saw before."""
    if not stage.scene or "ours" not in names:
        return
    one, many, shown_file = (stage.directory / f"{name}-sessions" for name in ("one", "many", "shown"))
    lines = [(PAGE, cookies(token)) for token in sealed_sessions(stage.scene.key, stage.plan.sessions)]
    write_cycle(many, lines)
    pace = _cold(stage, 0, many, len(lines))
    stage.sessions_shown = shown = min(len(lines), int(pace * FILL_TIME))
    write_cycle(one, lines[:1])
    write_cycle(shown_file, lines[:shown])
    with ours.running(stage.scene, "ours-warm") as gateway:
        # With one of the many: as many as these fit into the gateway's memory, and no other.
        stage.wrk.run(gateway.url(PAGE), 1, ("random", str(one)))
        # One run long enough to show every token once, for the load script starts at the first each time.
        fill = math.ceil(1.5 * shown / pace) + 1
        if stage.wrk.run(gateway.url(PAGE), fill, ("cycle", str(shown_file))).requests < shown:
            raise BenchError(f"not every one of {shown} sessions was shown within {fill} s")
        for number in range(stage.plan.flat_rounds * WARM_ROUNDS):
            if number and number % WARM_ROUNDS == 0:
                _cold(stage, number, many, len(lines))
            measure = partial(stage.measure, "sessions", number=number, contestant=gateway, path=PAGE)
            measure(ONE_SESSION, seconds=stage.plan.main_seconds, arguments=("random", str(one)))
            measure(MANY_SESSIONS, seconds=stage.plan.main_seconds, arguments=("random", str(shown_file)))


def _cold(stage: Stage, number: int, many: Path, count: int) -> float:
    """Measure a gateway that was just started with tokens it never saw; return requests per second."""
    assert stage.scene
    with ours.running(stage.scene, f"ours-cold-{number}") as gateway:
        stage.warm_up(gateway, PAGE)
        cycle = ("cycle", str(many))
        row = stage.measure("sessions", COLD_SESSIONS, number, gateway, PAGE, arguments=cycle, once=True)
    if row.load.requests > count:
        raise BenchError("the cold sessions ran out: more are needed for this machine")
    return row.per_second


def session_stores(stage: Stage, names: Sequence[str]) -> None:
    """Ours with each session store: a session in use, all of them at random, and each at its first sight."""
    if not stage.scene or "ours" not in names:
        return
    for store in STORES:
        with ExitStack() as stack:
            directory = stage.directory / f"store-{store}"
            directory.mkdir()
            url = stack.enter_context(stores.redis(directory / "redis", stage.load_core)) if store == "redis" else store
            setup = Setup(store=url, state=directory / "state")
            tokens = stores.fill(ours.write_config(stage.scene, directory, setup), stage.scene.key, stage.plan.records)
            for number in range(stage.plan.rounds):
                _stored(stage, number, store, setup, [(PAGE, cookies(token)) for token in tokens])


def _stored(stage: Stage, number: int, store: str, setup: Setup, lines: list[tuple[str, str]]) -> None:
    """Measure one store: a gateway that was just started, then the same with what it has seen."""
    assert stage.scene
    one, many = (stage.directory / f"stored-{name}" for name in ("one", "many"))
    write_cycle(one, lines[:1])
    write_cycle(many, lines)
    with ours.running(stage.scene, f"ours-{store}-{number}", setup) as gateway:
        stage.wrk.run(gateway.url(PAGE), 1, ("random", str(one)))
        measure = partial(stage.measure, "stores", number=number, contestant=gateway, path=PAGE)
        cold = measure(f"{store}, cold", arguments=("cycle", str(many)), once=True)
        if cold.load.requests > len(lines):
            raise BenchError("the cold sessions ran out: more are needed for this machine")
        measure(f"{store}, warm", arguments=("random", str(one)))
        # Shown are only those of the run above: the load script starts at the first each time.
        shown = stage.directory / "stored-shown"
        write_cycle(shown, lines[: cold.load.requests])
        measure(f"{store}, many", arguments=("random", str(shown)))


def workers(stage: Stage, names: Sequence[str]) -> None:
    """Ours with one worker and with two, free to use both cores; the load takes its part of them."""
    if not stage.scene or "ours" not in names:
        return
    cores = f"{stage.core},{stage.load_core}"
    with ExitStack() as stack:
        contestants = {}
        for count in (1, 2):
            setup = Setup(workers=count, cores=cores)
            gateway = stack.enter_context(ours.running(stage.scene, f"ours-{count}-workers", setup))
            stage.warm_up(gateway, PAGE)
            contestants[f"{count} worker{'s' if count > 1 else ''}"] = gateway
        for number, variant, gateway in in_turn(contestants, stage.plan.rounds):
            stage.measure("workers", variant, number, gateway, PAGE)


def idle_connections(stage: Stage, names: Sequence[str]) -> None:
    """Memory of idle keep-alive connections, each after one request, of fresh processes one after the other."""
    count = min(stage.plan.idle, most_connections())
    for name in [name for name in stage.plan.further if name in names]:
        with running(stage, [name], "idle") as contestants:
            for contestant in contestants.values():
                each = idle.bytes_per_connection(contestant, count, stage.load_core, stage.headers)
                stage.idle_rows.append(IdleRow(name, count, each))
                print(f"{'idle':14} {name:14} {each / 1024:9.2f} KiB for each of {count} connections")


@dataclass(frozen=True, slots=True)
class Case:
    """One part of a run, by name."""

    name: str
    run: Callable[[Stage, Sequence[str]], None]


CASES = (
    Case("proxying", proxying),
    Case("bodies", bodies),
    Case("routes", routes),
    Case("sessions", sessions),
    Case("stores", session_stores),
    Case("oidc", logged_in.with_oidc),
    Case("programs", logged_in.programs),
    Case("workers", workers),
    Case("idle", idle_connections),
    Case("forward-auth", forward_auth.forward_auth),
)
