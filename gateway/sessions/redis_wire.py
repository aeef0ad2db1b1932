"""One connection to Redis, in RESP3: commands go out as they come, replies come back in their order.

Nobody owns the connection while he waits, so a caller that gives up leaves nothing half-read. What the
server pushes (invalidations) arrives in the same stream as the replies, in the order of what happened,
and both are acted on where they are read, before anything else runs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import hiredis

Word: TypeAlias = str | bytes | int
Then: TypeAlias = Callable[[Any], Any]
Push: TypeAlias = Callable[[list[Any]], None]
Node: TypeAlias = tuple[str, int]

MAX_WAITING = 20_000
"""Unanswered commands of a connection; a silent server must not fill our memory."""
_NOTHING = object()


class ReplyError(Exception):
    """The server answered with an error; ``code`` is its first word, as ``READONLY``."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]
        self.text = text


class Disconnected(Exception):
    """The connection is gone; whether the command was carried out is not known."""


class Overrun(Exception):
    """Too many commands wait for their replies; this one was not sent."""


@dataclass(slots=True)
class _Waiting:
    reply: asyncio.Future[Any]
    then: Then | None
    sent: float


class Connection(asyncio.Protocol):
    """A connection after it was made; `connect` makes one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, push: Push) -> None:
        self._loop = loop
        self._push = push
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, replyError=ReplyError)
        self._waiting: deque[_Waiting] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.heard = loop.time()
        """When the server last said something, by the loop's clock."""
        self.lost: asyncio.Future[None] = loop.create_future()
        """Done when the connection is gone."""
        self.progress: Callable[[], None] | None = None
        """Called after each time the server has said something."""
        self.ended: Callable[[], None] | None = None
        """Called when the connection is gone, before anybody who waits is told."""

    # Commands

    def send(self, *words: Word, then: Then | None = None) -> asyncio.Future[Any]:
        """Send a command; return its reply to come, or what ``then`` makes of it when it is read.

        The future fails with ReplyError, Disconnected, or what ``then`` raises. Raises Overrun.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Overrun
        reply: asyncio.Future[Any] = self._loop.create_future()
        if self.lost.done():
            reply.set_exception(Disconnected("the connection is gone"))
            return reply
        self._waiting.append(_Waiting(reply, then, self._loop.time()))
        self._out.append(hiredis.pack_command(words))  # type: ignore[arg-type]  # its stub says one word
        if len(self._out) == 1:
            # One write for all that is asked in this turn of the loop.
            self._loop.call_soon(self._flush)
        return reply

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(out))

    def waits_since(self) -> float | None:
        """Return since when the oldest unanswered command waits, by the loop's clock, or None."""
        return self._waiting[0].sent if self._waiting else None

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        self._end(Disconnected("the connection was given up"))

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's derives from no asyncio class

    def data_received(self, data: bytes) -> None:
        """Act on replies and pushes, in their order."""
        self.heard = self._loop.time()
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOTHING:
                if type(reply) is hiredis.PushNotification:
                    self._push(reply)
                elif self._waiting:
                    _settle(self._waiting.popleft(), reply)
                else:
                    raise hiredis.ProtocolError("a reply that nobody waits for")
        except hiredis.HiredisError as error:
            if self._transport is not None:
                self._transport.abort()
            self._end(Disconnected(f"not the Redis protocol: {error}"))
            return
        if self.progress is not None:
            self.progress()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell everybody who waits."""
        self._end(Disconnected(str(error) if error else "the server closed the connection"))

    def _end(self, error: Disconnected) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
            if self.ended is not None:
                self.ended()
        waiting, self._waiting = self._waiting, deque()
        for entry in waiting:
            if not entry.reply.done():
                entry.reply.set_exception(error)
                # Whoever gave up waiting will not look.
                entry.reply.exception()


def _settle(entry: _Waiting, reply: Any) -> None:
    """Give a reply to whoever waits; what is to be done with it is done even where nobody waits any more."""
    if isinstance(reply, ReplyError):
        if not entry.reply.done():
            entry.reply.set_exception(reply)
            entry.reply.exception()
        return
    try:
        result = reply if entry.then is None else entry.then(reply)
    except Exception as error:  # noqa: BLE001 - it is handed on
        if not entry.reply.done():
            entry.reply.set_exception(error)
            entry.reply.exception()
        return
    if not entry.reply.done():
        entry.reply.set_result(result)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a new connection says first."""

    username: str = ""
    password: str = ""
    database: int = 0
    follow: str = ""
    """The beginning of the keys whose changes the server is to tell; empty for none."""
    primary: bool = False
    """Whether the server has to be one that can be written to."""

    def commands(self) -> list[tuple[Word, ...]]:
        """Return the commands, all to be sent at once."""
        hello: tuple[Word, ...] = ("HELLO", 3)
        if self.password:
            hello += ("AUTH", self.username or "default", self.password)
        found: list[tuple[Word, ...]] = [hello]
        if self.database:
            found.append(("SELECT", self.database))
        if self.primary:
            found.append(("ROLE",))
        if self.follow:
            # NOLOOP: of a key that several clients changed, the last one counts, so what is kept from us
            # about our own writes is never somebody else's.
            found.append(("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self.follow, "NOLOOP"))
        return found


class NotPrimary(Exception):
    """The server is a replica."""


async def connect(
    node: Node, tls: ssl.SSLContext | None, greeting: Greeting, push: Push, *, limit: float
) -> Connection:
    """Return a connection on which the greeting was answered; all within ``limit`` seconds.

    Raises OSError (TimeoutError included), ReplyError, Disconnected or NotPrimary.
    """
    loop = asyncio.get_running_loop()
    host, port = node
    connection = Connection(loop, push)
    try:
        async with asyncio.timeout(limit):
            await loop.create_connection(
                lambda: connection, host, port, ssl=tls, server_hostname=host if tls is not None else None
            )
            commands = greeting.commands()
            replies = [connection.send(*words) for words in commands]
            for words, reply in zip(commands, replies, strict=True):
                said = await reply
                if words[0] == "ROLE" and said[0] != b"master":
                    raise NotPrimary(f"{host}:{port} is a replica")
    except BaseException:
        connection.abort()
        raise
    return connection
