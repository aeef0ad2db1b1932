"""The program of one worker: a data plane on inherited sockets, told what to do by its parent.

Started as ``python -m gateway.worker DESCRIPTOR``, by the parent only. It takes no signals, for a
service manager may send those to every process at once; it stops when the parent tells it to, or is gone.
"""

from __future__ import annotations

from gateway import early_signals

if __name__ == "__main__":
    # First of all: to load the rest takes a while.
    early_signals.ignore()

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import Coroutine

import uvloop

from gateway.assembly import build_plane, control_route, make_router, server_tls
from gateway.channel import (
    Channel,
    Count,
    Counted,
    Drain,
    Failed,
    Forget,
    Leave,
    Message,
    Ready,
    Refresh,
    Refreshed,
    Seen,
    Sign,
    Start,
    StopAccepting,
)
from gateway.core.metrics import Counters
from gateway.core.programs import Credential, Verdict
from gateway.core.refresh import Refreshed as LoginOutcome
from gateway.errors import ConfigError, StoreUnavailable
from gateway.logs import open_log, set_up_logging
from gateway.proxy.record import LineWriter
from gateway.sessions.finish import begin
from gateway.sessions.last_seen import Reports
from gateway.sessions.store import stats_of
from gateway.signed_identity import make_mint
from gateway.signing.keys import Keys
from gateway.stores import make_store

REFRESH_EVERY = 1.0
"""Seconds between two looks at what others have ended, beside the parent's notices."""
ANNOUNCE_TIME = 1.0
"""Seconds that ending a session waits for the others to have taken note of it."""
PROVE_TIME = 6.0
"""Seconds to wait for the parent to verify a credential; it has a shorter time for it."""
REFRESH_TIME = 15.0
"""The same for a session's provider to be asked again."""
SEEN_TIME = 2.0
"""Seconds to wait for the parent to tell when a session was last used."""
REPORT_AFTER = 0.05
"""Seconds for which reports of use are put together."""
COLLECT_AFTER = (5_000, 10, 20)
"""How many objects more make the garbage collector look, and how many such looks make it look further, at the end at
all: 50 ms for 100 000 sessions, at each of which nothing else moves. By its own measure it would do so seven times
while they come. Requests and connections leave it nothing to find."""
_log = logging.getLogger("gateway.worker")


class Worker:
    """A data plane and its session store, moved by the parent's messages."""

    def __init__(self, channel: Channel, start: Start, access_log: LineWriter | None) -> None:
        """Build them. Raises ConfigError."""
        settings = start.settings
        self._channel = channel
        self._counters = Counters()
        self._tls = server_tls(settings)
        self._listeners = start.listeners
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._reports = Reports(self._report_soon)
        self._asked: dict[str, asyncio.Task[float]] = {}
        """What the parent is being asked, by the handle of a session."""
        self._store = make_store(settings, self._announce, self)
        router = make_router(settings, control_route(start.control_socket))
        loop = asyncio.get_running_loop()
        self._mint = make_mint(settings)
        self._sign(start.signing)
        self._plane = build_plane(
            settings,
            router,
            self._store,
            start.pages,
            start.csp,
            self._counters,
            access_log,
            loop,
            self._mint,
            self._prove,
            self._refresh_login,
        )

    async def run(self) -> None:
        """Serve until told to stop, or until the parent is gone."""
        try:
            await self._store.start()
            for descriptor in self._listeners:
                await self._plane.listen(socket.socket(fileno=descriptor), self._tls)
            self._spawn(self._follow())
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)
            self._channel.send(Ready())
            while (message := await self._channel.receive()) is not None:
                self._take(message)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await self._plane.close()
            self._report()
            self._channel.send(self._counted())
            await self._store.close()

    def _take(self, message: Message) -> None:
        match message:
            case Refresh():
                self._spawn(self._refresh(message.number))
            case Forget():
                self._plane.credentials.forget()
                self._channel.send(Refreshed(message.number))
            case Sign():
                self._sign(message.keys)
            case Count():
                self._channel.send(self._counted())
            case Leave():
                self._plane.leave()
            case StopAccepting():
                self._plane.stop_accepting()
            case Drain() if self._draining:
                self._hurry.set()
            case Drain():
                self._draining = True
                self._spawn(self._drain(message.seconds))

    def _sign(self, keys: Keys) -> None:
        if self._mint is not None:
            self._mint.use(keys)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="worker")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _counted(self) -> Counted:
        self._counters.store = dict(stats_of(self._store))
        return Counted(self._counters)

    # Credentials of programs

    async def _prove(self, credential: Credential) -> Verdict:
        """Ask the parent whose a credential is."""
        return await self._channel.prove(credential, PROVE_TIME)

    # Logins at identity providers

    async def _refresh_login(self, token: str, host: str) -> LoginOutcome:
        """Let the parent ask a session's provider again."""
        return await self._channel.refresh_login(token, host, REFRESH_TIME)

    # When sessions were last used: a worker is the `LastSeen` of its store

    def report(self, handle: str, seen: float) -> None:
        """Let the parent know that a session was used."""
        self._reports.add(handle, seen)

    def _report_soon(self) -> None:
        asyncio.get_running_loop().call_later(REPORT_AFTER, self._report)

    def _report(self) -> None:
        if times := self._reports.take():
            self._channel.send(Seen(times))

    async def ask(self, handle: str) -> float:
        """Ask the parent when a session was last used, once for all who wait for that. Raises StoreUnavailable."""
        asked = self._asked.get(handle)
        if asked is None:
            asked = begin(self._asked, handle, self._ask(handle), "ask when a session was last used")
        return await asyncio.shield(asked)

    async def _ask(self, handle: str) -> float:
        self._report()
        try:
            return await self._channel.ask_seen(handle, SEEN_TIME)
        except TimeoutError:
            raise StoreUnavailable("the parent does not say when a session was last used") from None

    # What others have ended

    async def _announce(self) -> None:
        """Let all others know that a session was ended here."""
        await self._channel.refresh(ANNOUNCE_TIME)

    async def _refresh(self, number: int) -> None:
        """Look at what others have ended, and say so."""
        try:
            await self._store.refresh()
        except StoreUnavailable as error:
            _log.error("%s", error)
        else:
            self._channel.send(Refreshed(number))

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY)
            with contextlib.suppress(StoreUnavailable):
                await self._store.refresh()

    # The end

    async def _drain(self, seconds: float) -> None:
        """Finish what is under way; then leave, as the end of the channel would make us."""
        await self._plane.drain(seconds, self._hurry)
        self._report()
        self._channel.send(self._counted())
        self._channel.stop()


async def _serve(sock: socket.socket) -> int:
    channel = await Channel.over(sock)
    start = await channel.receive()
    if not isinstance(start, Start):
        return 1
    settings = start.settings
    set_up_logging(settings.log.level)
    access_log: LineWriter | None = None
    try:
        access_log = open_log(settings.log.access)
        await Worker(channel, start, access_log).run()
    except ConfigError as error:
        channel.send(Failed(tuple(map(str, error.problems))))
        return 1
    finally:
        await channel.close()
        if access_log is not None:
            access_log.close()
    return 0


def main() -> int:
    """Run a worker on the descriptor that the command line names; return its exit code."""
    return uvloop.run(_serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    sys.exit(main())
