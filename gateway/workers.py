"""The parent's side of the workers: starting them, starting them again, telling them things, counting them in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace

from gateway.channel import (
    AskSeen,
    Channel,
    Count,
    Counted,
    Drain,
    Failed,
    Leave,
    LoginRefreshed,
    Message,
    Prove,
    Proved,
    Ready,
    Refresh,
    Refreshed,
    RefreshLogin,
    Seen,
    SeenAt,
    Sign,
    Start,
    StopAccepting,
)
from gateway.core.metrics import Counters
from gateway.core.programs import Credential, Verify
from gateway.core.refresh import Refresh as AskProvider
from gateway.errors import ConfigError, Problem
from gateway.sessions.last_seen import LastSeen
from gateway.signing.keys import Keys

START_TIME = 60.0
"""Seconds a worker may take until it serves; a crowded machine takes some."""
ANNOUNCE_TIME = 1.0
COUNT_TIME = 0.5
"""Seconds to wait for a worker's counts; then those it told last are taken."""
STOP_TIME = 10.0
"""Seconds beyond the drain after which a worker is killed."""
FIRST_DELAY, LONGEST_DELAY, STABLE_AFTER = 0.1, 10.0, 10.0
"""Before a worker that died is started again, seconds; doubled each time it dies before it was stable."""
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(16 * 1024 * 1024)}
"""Lets glibc keep the memory of large pieces, bytes: given back after each, its pages are faulted in again for the
next one, which doubled the CPU time of an upload of 1 MiB."""
STRAY_SIGNALS = (-signal.SIGHUP, -signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a worker that was sent, with all others, what its parent was sent, before it could leave that to it."""
_log = logging.getLogger("gateway.workers")

Relay = Callable[["WorkerProcess"], Awaitable[None]]


class WorkerProcess:
    """One worker's process."""

    def __init__(
        self,
        process: Process,
        channel: Channel,
        number: int,
        relay: Relay,
        verify: Verify,
        refresh: AskProvider,
        last_seen: LastSeen,
    ) -> None:
        self.number = number
        self.process = process
        self.channel = channel
        self.counters = Counters()
        self.ready = False
        self.problems: tuple[str, ...] = ()
        self._relay = relay
        self._verify = verify
        self._refresh = refresh
        self._last_seen = last_seen
        self._told = asyncio.Event()
        self._counted = asyncio.Event()
        self._relays: set[asyncio.Task[None]] = set()

    @classmethod
    async def spawn(
        cls, start: Start, number: int, relay: Relay, verify: Verify, refresh: AskProvider, last_seen: LastSeen
    ) -> WorkerProcess:
        """Start one; it is not ready yet."""
        ours, theirs = socket.socketpair()
        try:
            # In a session of its own, so that Ctrl-C and the like reach the parent alone.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "gateway.worker",
                str(theirs.fileno()),
                stdin=DEVNULL,
                pass_fds=(theirs.fileno(), *start.listeners),
                env={**MALLOC, **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker = cls(process, await Channel.over(ours), number, relay, verify, refresh, last_seen)
        worker.channel.send(start)
        return worker

    async def follow(self) -> int:
        """Take its messages until it ends; return its exit code."""
        while (message := await self.channel.receive()) is not None:
            self._take(message)
        self._told.set()
        self._counted.set()
        code = await self.process.wait()
        await self.channel.close()
        return code

    def _take(self, message: Message) -> None:
        match message:
            case Ready():
                self.ready = True
                self._told.set()
            case Failed():
                self.problems = message.problems
                self._told.set()
            case Counted():
                self.counters = message.counters
                self._counted.set()
            case Refresh():
                self._begin(self._pass_on(message.number))
            case Prove():
                self._begin(self._prove(message.number, message.credential))
            case RefreshLogin():
                self._begin(self._refresh_login(message.number, message.token, message.host))
            case Seen():
                for handle, seen in message.times.items():
                    self._last_seen.report(handle, seen)
            case AskSeen():
                self._begin(self._tell_seen(message.number, message.handle))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="relay")
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)

    async def _pass_on(self, number: int) -> None:
        await self._relay(self)
        self.channel.send(Refreshed(number))

    async def _prove(self, number: int, credential: Credential) -> None:
        self.channel.send(Proved(number, await self._verify(credential)))

    async def _refresh_login(self, number: int, token: str, host: str) -> None:
        self.channel.send(LoginRefreshed(number, await self._refresh(token, host)))

    async def _tell_seen(self, number: int, handle: str) -> None:
        self.channel.send(SeenAt(number, await self._last_seen.ask(handle)))

    async def until_ready(self) -> bool:
        """Tell whether it serves, once that is known."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIME):
                await self._told.wait()
        return self.ready

    async def count(self) -> None:
        """Let it tell its counts."""
        self._counted.clear()
        self.channel.send(Count())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COUNT_TIME):
                await self._counted.wait()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class Workers:
    """The workers of one version of the configuration."""

    def __init__(
        self,
        start: Start,
        number: int,
        relay: Relay,
        ended: Counters,
        verify: Verify,
        refresh: AskProvider,
        last_seen: LastSeen,
    ) -> None:
        self._start = start
        self._number = number
        self._relay = relay
        self._verify = verify
        self._refresh = refresh
        self._last_seen = last_seen
        self._ended = ended
        """Where the counts of workers that have ended go."""
        self._stopping = False
        self._running: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self.restarts = 0

    async def start(self, listeners: list[socket.socket]) -> None:
        """Start all and wait until they serve. Raises ConfigError where one cannot."""
        self._start = replace(self._start, listeners=tuple(sock.fileno() for sock in listeners))
        first = [asyncio.Event() for _ in range(self._number)]
        failures: list[str] = []
        loop = asyncio.get_running_loop()
        self._keepers = [
            loop.create_task(self._keep(number, event, failures), name="worker") for number, event in enumerate(first)
        ]
        await asyncio.gather(*[event.wait() for event in first])
        if failures:
            raise ConfigError([Problem("workers", "", text) for text in dict.fromkeys(failures)])

    async def _keep(self, number: int, first: asyncio.Event, failures: list[str]) -> None:
        """Run one worker, and another in its place when it dies."""
        delay = FIRST_DELAY
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            reasons, code = await self._run(number, first)
            if not first.is_set() and code not in STRAY_SIGNALS:
                failures += reasons
                self._stopping = True
                first.set()
            if self._stopping:
                first.set()
                return
            _log.error("%s; another takes its place", "; ".join(reasons))
            self.restarts += 1
            delay = FIRST_DELAY if loop.time() - began > STABLE_AFTER else min(delay * 2, LONGEST_DELAY)
            await asyncio.sleep(delay)

    async def _run(self, number: int, serves: asyncio.Event) -> tuple[list[str], int]:
        """Run one process until it ends; return why it did, and its code. ``serves`` is set once it is ready."""
        start = self._start
        try:
            worker = await WorkerProcess.spawn(start, number, self._relay, self._verify, self._refresh, self._last_seen)
        except OSError as error:
            return [f"worker {number} cannot be started: {error.strerror or error}"], 1
        self._running[number] = worker
        if start is not self._start:
            worker.channel.send(Sign(self._start.signing))
        following = asyncio.get_running_loop().create_task(worker.follow(), name="follow")
        if await worker.until_ready():
            serves.set()
        else:
            worker.kill()
        code = await following
        del self._running[number]
        self._ended.add(worker.counters, ended=True)
        when = "ended by itself" if worker.ready else "ended before it served"
        return [*worker.problems] or [f"worker {number} {when} with code {code}"], code

    def ready(self) -> int:
        """Return how many serve."""
        return sum(worker.ready for worker in self._running.values())

    async def refresh(self, but: WorkerProcess | None = None) -> None:
        """Let them look at what was ended; return when they have."""
        asked = [worker for worker in self._running.values() if worker.ready and worker is not but]
        done = await asyncio.gather(*[worker.channel.refresh(ANNOUNCE_TIME) for worker in asked])
        for worker, seen in zip(asked, done, strict=True):
            if not seen:
                _log.warning("worker %d has not taken note of an ended session yet", worker.number)

    async def forget_credentials(self) -> None:
        """Let them ask again whose credentials are; return when they have forgotten."""
        asked = [worker for worker in self._running.values() if worker.ready]
        done = await asyncio.gather(*[worker.channel.forget(ANNOUNCE_TIME) for worker in asked])
        for worker, forgotten in zip(asked, done, strict=True):
            if not forgotten:
                _log.warning("worker %d has not taken note yet that credentials changed", worker.number)

    def sign(self, keys: Keys) -> None:
        """Let them sign identity tokens with these keys, and those that are started later too."""
        self._start = replace(self._start, signing=keys)
        for worker in self._running.values():
            worker.channel.send(Sign(keys))

    async def add_counts(self, total: Counters) -> None:
        """Add what they have counted."""
        running = [worker for worker in self._running.values() if worker.ready]
        await asyncio.gather(*[worker.count() for worker in running])
        for worker in running:
            total.add(worker.counters)

    def leave(self) -> None:
        """Let no client keep its connection."""
        for worker in self._running.values():
            worker.channel.send(Leave())

    async def stop_accepting(self) -> None:
        """Let them take no more connections; return when they take none."""
        running = list(self._running.values())
        for worker in running:
            worker.channel.send(StopAccepting())
        # What they answer to this, they answer after that.
        await asyncio.gather(*[worker.count() for worker in running])

    async def stop(self, drain: float, hurry: asyncio.Event) -> None:
        """Let them finish what is under way for ``drain`` seconds or until ``hurry``, and end."""
        self._stopping = True
        for worker in self._running.values():
            worker.channel.send(Drain(drain))
        keepers = list(self._keepers)
        for number, task in enumerate(keepers):
            if number not in self._running:
                task.cancel()
        hurrying = asyncio.get_running_loop().create_task(self._hurry(hurry), name="hurry")
        if keepers:
            _, late = await asyncio.wait(keepers, timeout=drain + STOP_TIME)
            for worker in list(self._running.values()):
                _log.error("worker %d did not end in time and is killed", worker.number)
                worker.kill()
            if late:
                await asyncio.wait(late)
        hurrying.cancel()

    async def _hurry(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        for worker in self._running.values():
            worker.channel.send(Drain(0.0))
