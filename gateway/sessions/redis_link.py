"""The connection to one primary: made again whenever it is lost, and watched so that silence is noticed.

Three states matter to others: a link is *live* (answers, and tells of changes), *late* (something has been
waiting for its reply too long; the stream is whole, though, so nothing is missed if it goes on), or down.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.redis_address import RedisTimes
from gateway.sessions.redis_wire import Connection, Disconnected, Node, NotPrimary, Overrun, ReplyError, Then, Word

HEARTBEAT = 0.5
"""Seconds between two questions whether the server is in order."""
LOOK_EVERY = 0.1
SECOND_LOOK = 0.002
"""Seconds in which the event loop, after it was busy, reads what has long been there."""
FAILURES_TO_OPEN = 3
"""Failures in a row after which nothing waits for the server any more."""
BACKOFF = (0.05, 0.1, 0.2, 0.3)
"""Seconds before the next attempt to connect, jittered; the last one stays."""

_log = logging.getLogger("gateway.redis")


class NotSent(Exception):
    """The command was not sent: there is no connection, or it is known not to answer."""


class Late(Exception):
    """No reply in time; the command may have been carried out."""


class Follower(Protocol):
    """Who wants to know what happens to the keys and to the link."""

    def invalidated(self, keys: list[bytes] | None) -> None:
        """Take note that these keys have changed; None for all."""

    def regained(self) -> None:
        """Take note that changes are told from now on, and that some may have been missed before."""

    def changed(self) -> None:
        """Take note that the link's state is another."""


class Pace:
    """At most ten connects in any second, however many servers there are and whatever goes wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, burst: int = 10, every: float = 0.1) -> None:
        self._loop = loop
        self._slots = [-every * burst] * burst
        self._refill = every * burst
        self._next = 0

    async def wait(self) -> None:
        """Return when another connect may begin."""
        index, self._next = self._next, (self._next + 1) % len(self._slots)
        now = self._loop.time()
        begin = max(now, self._slots[index] + self._refill)
        self._slots[index] = begin
        if begin > now:
            await asyncio.sleep(begin - now)


@dataclass(frozen=True, slots=True)
class LinkParts:
    """What every link of a client has in common."""

    follower: Follower
    connect: Callable[[Node, Callable[[list[Any]], None]], Awaitable[Connection]]
    pace: Pace
    counts: Counter[str]
    times: RedisTimes
    probe: tuple[Word, ...]
    """A command that a server in order answers without an error."""


class Link:
    """One primary's connection. ``resolve`` says where it is, each time anew."""

    def __init__(self, resolve: Callable[[], Awaitable[Node]], parts: LinkParts, name: str) -> None:
        self._resolve = resolve
        self._parts = parts
        self._times = parts.times
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._up = asyncio.Event()
        self._failures = 0
        self._late = False
        self._out_of_order = False
        self._said = ""
        self.name = name
        self.node: Node | None = None
        """Where it is connected to."""
        self.heard = self._loop.time()
        """When the server was last known to be in order, by the loop's clock."""
        self._task = self._loop.create_task(self._run(), name=f"redis {name}")

    # Asking

    def is_live(self) -> bool:
        """Tell whether the server answers, and tells of all changes."""
        return self._connection is not None and not self._late and not self._out_of_order

    def is_open(self) -> bool:
        """Tell whether the breaker is open: the server failed so often that nothing waits for it."""
        return self._failures >= FAILURES_TO_OPEN

    async def ask(self, words: tuple[Word, ...], then: Then | None, *, until: float, asking: bool = False) -> Any:
        """Return the reply, or what ``then`` makes of it; ``until`` is by the loop's clock.

        Raises NotSent, Late, Disconnected, ReplyError, or what ``then`` raises.
        """
        if self.is_open():
            raise NotSent("the server does not answer")
        try:
            async with asyncio.timeout_at(min(until, self._loop.time() + self._times.call)):
                if self._connection is None:
                    await self._up.wait()
        except TimeoutError:
            raise NotSent("there is no connection to the server") from None
        connection = self._connection
        if connection is None:
            raise NotSent("there is no connection to the server")
        try:
            if asking:
                _ = connection.send("ASKING")
            reply = connection.send(*words, then=then)
        except Overrun:
            self._parts.counts["errors_overrun"] += 1
            raise NotSent("too many commands wait for the server") from None
        timer = self._loop.call_at(min(until, self._loop.time() + self._times.call), self._expire, reply)
        try:
            found = await reply
        except Late:
            self._failed("errors_timeout")
            self._set_late(late=True)
            raise
        except Disconnected:
            self._failed("errors_lost")
            raise
        finally:
            timer.cancel()
        self._failures = 0
        return found

    def _expire(self, reply: asyncio.Future[Any]) -> None:
        """Give up waiting, but look at the socket first: it may be this process that was slow."""
        self._loop.call_later(SECOND_LOOK, _give_up, reply)

    def drop(self) -> None:
        """Give the connection up, as to a server that is not the primary any more; another is made at once."""
        if self._connection is not None:
            self._connection.abort()

    def _failed(self, kind: str) -> None:
        self._failures += 1
        self._parts.counts[kind] += 1
        if self._failures == FAILURES_TO_OPEN:
            self._parts.counts["breaker_opened_total"] += 1
            self._parts.follower.changed()

    # Keeping it up

    async def _run(self) -> None:
        while True:
            connection = await self._connect()
            if connection.lost.done():
                continue
            self._connection, self._late, self._out_of_order, self._failures = connection, False, False, 0
            connection.progress, connection.ended = self._progress, self._ended
            self.heard = connection.heard
            self._parts.follower.regained()
            self._up.set()
            self._say(logging.INFO, "connected")
            self._parts.follower.changed()
            try:
                await self._watch(connection)
            finally:
                connection.abort()
            self._say(logging.WARNING, "the connection is lost")

    def _ended(self) -> None:
        """Take note that the connection is gone, before anybody asks over it again or trusts what is in memory."""
        self._connection = None
        self._up.clear()
        self._parts.follower.changed()

    async def _connect(self) -> Connection:
        attempt = 0
        while True:
            await self._parts.pace.wait()
            try:
                self.node = await self._resolve()
                self._parts.counts["connects_total"] += 1
                return await self._parts.connect(self.node, self._pushed)
            except (OSError, ReplyError, Disconnected, NotPrimary, NotSent) as error:
                self._failed("errors_connect")
                text = str(error) or type(error).__name__
                self._say(logging.WARNING, f"cannot be reached: {text}")
            pause = BACKOFF[min(attempt, len(BACKOFF) - 1)]
            attempt += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - to spread, not to hide

    async def _watch(self, connection: Connection) -> None:
        """Return when the connection is lost, or was silent for so long that it is dropped."""
        probe_at = 0.0
        while not connection.lost.done():
            await asyncio.wait((connection.lost,), timeout=LOOK_EVERY)
            await asyncio.sleep(SECOND_LOOK)
            now, since = self._loop.time(), connection.waits_since()
            if since is None or now - since < self._times.call:
                # Also where other replies come: a server may answer, and have nothing to say but errors.
                if now >= probe_at:
                    probe_at = now + HEARTBEAT
                    connection.send(*self._parts.probe, then=self._in_order).add_done_callback(self._probed)
            elif now - since > self._times.silence():
                self._failed("errors_timeout")
                return
            else:
                self._set_late(late=True)

    def _in_order(self, reply: object) -> None:
        self._failures = 0
        self._set_out_of_order(out=False)

    def _probed(self, reply: asyncio.Future[Any]) -> None:
        if reply.cancelled():
            return
        error = reply.exception()
        if isinstance(error, ReplyError):
            # Of a Cluster, a server may well say that the probe's key is another one's.
            self._set_out_of_order(out=error.code not in ("MOVED", "ASK"))
            if self._out_of_order:
                self._say(logging.WARNING, f"is out of order: {error.text}")

    def _progress(self) -> None:
        """Notice that the server goes on after a silence: the stream is whole, so nothing was missed."""
        connection = self._connection
        if connection is None:
            return
        if not self._out_of_order:
            self.heard = connection.heard
        if self._late:
            since = connection.waits_since()
            if since is None or self._loop.time() - since < self._times.call:
                self._failures = 0
                self._set_late(late=False)

    def _set_late(self, *, late: bool) -> None:
        if self._connection is not None and late != self._late:
            self._late = late
            self._parts.follower.changed()

    def _set_out_of_order(self, *, out: bool) -> None:
        if out != self._out_of_order:
            self._out_of_order = out
            self._parts.follower.changed()

    def _pushed(self, push: list[Any]) -> None:
        if push and push[0] == b"invalidate":
            self._parts.follower.invalidated(push[1])

    def _say(self, level: int, text: str) -> None:
        """Log a change; the same thing is said once."""
        if text != self._said:
            self._said = text
            node = self.node
            _log.log(level, "redis %s: %s", f"{node[0]}:{node[1]}" if node else self.name, text)

    async def close(self) -> None:
        """Close the connection for good."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.drop()


def _give_up(reply: asyncio.Future[Any]) -> None:
    if not reply.done():
        reply.set_exception(Late("the server did not answer in time"))
