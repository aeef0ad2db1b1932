"""One connection to an upstream: it sends a request, gives back the answer's head, then feeds the relay.

Bytes that arrive while nobody has leased it are no answer to anything; it is closed (RFC 9112 §9.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from gateway.core.limits import Limits
from gateway.core.upstream import UpstreamAddress
from gateway.errors import UpstreamError
from gateway.proxy.bulk import read_with, write_from
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import AnswerHead, AnswerParser

CR: Final = 0x0D
ENOUGH: Final = 128 * 1024
"""Bytes of a body after which nothing more is read until somebody takes them."""
MAX_INFORMATIONAL: Final = 16
"""1xx answers to one request; nobody waits for more."""


def _ignore(answer: AnswerHead) -> None:
    """Nobody waits."""


class ByteSink(Protocol):
    """What takes an upstream's bytes once the answer's head is known: a relay or a tunnel."""

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""

    def upstream_closed(self, error: Exception | None) -> None:
        """Learn that no more will come; ``error`` is None for an orderly end."""


class TunnelSide(ByteSink, Protocol):
    """One direction of a tunnel."""

    def end(self, code: int) -> None:
        """Close both sides; the client is told ``code`` (RFC 6455 §7.4)."""


class Flow(Protocol):
    """What can be told to wait: the reading side of another connection."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""


class Pool(Protocol):
    """Where a connection belongs."""

    address: UpstreamAddress
    loop: asyncio.AbstractEventLoop

    def release(self, conn: UpstreamConn, now: float) -> None:
        """Take back a connection that may serve another request."""

    def discard(self, conn: UpstreamConn) -> None:
        """Close a leased connection."""

    def detach(self) -> None:
        """Give back the place of a connection that has become a tunnel."""

    def forget(self, conn: UpstreamConn) -> None:
        """Drop an idle connection that has closed."""


class UpstreamConn(asyncio.Protocol):
    """A leased or idle connection to one upstream address."""

    __slots__ = (
        "_buffer", "_ended", "_informational", "_limits", "_on_informational", "_parser", "_paused", "_waiter",
        "answered", "cut_short", "deadline", "failure",
        "idle_since", "leased", "pool", "requests", "sink", "source", "transport",
    )  # fmt: skip

    def __init__(self, pool: Pool, parser: AnswerParser, limits: Limits) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.leased = True
        self.sink: ByteSink | None = None
        self.source: Flow | None = None
        """Who feeds us the request body, to be paused while we cannot write."""
        self.failure: Exception | None = None
        self.answered = False
        """Whether a byte of an answer to the current request has arrived."""
        self.requests = 0
        self.idle_since = 0.0
        self.deadline = float("inf")
        self._parser = parser
        self._limits = limits
        self._buffer = b""
        self._waiter: asyncio.Future[AnswerHead] | None = None
        self._on_informational: Callable[[AnswerHead], None] = _ignore
        self._ended = False
        self._paused = False
        self._informational = 0
        self.cut_short = False
        """Whether the connection ended by an error, so that what came may be only a part."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = transport  # type: ignore[assignment]

    def is_usable(self) -> bool:
        """Tell whether a request may be sent."""
        return not self._ended and self.failure is None and self.transport is not None and not self._buffer

    def lease(self) -> None:
        """Begin a request."""
        self.leased = True
        self.answered = False
        self._waiter = None
        self.requests += 1

    def send(self, data: bytes) -> None:
        """Write request bytes."""
        if self.transport is not None and not self._ended:
            self.transport.write(data)

    def send_from(self, data: memoryview) -> bool:
        """Write a piece of a request body out of memory that is used again; return whether all went out."""
        if self.transport is None or self._ended:
            return True
        return write_from(self.transport, data, plain=self.is_plain())

    def answer_head(self, on_informational: Callable[[AnswerHead], None]) -> asyncio.Future[AnswerHead]:
        """Return a future of the head of the final answer, or of a 101; a 1xx goes to ``on_informational``.

        It raises UpstreamError (502) where the upstream closes or answers nonsense, or what `fail` was given.
        """
        self._waiter = self.pool.loop.create_future()
        self._informational = 0
        self._on_informational = on_informational
        self._look_for_head()
        return self._waiter

    def _look_for_head(self) -> None:
        """Settle the waiting future, if it can be."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        try:
            while (head := self._parse_head()) is not None:
                if head.status >= 200 or head.status == 101:
                    waiter.set_result(head)
                    return
                self._informational += 1
                if self._informational > MAX_INFORMATIONAL:
                    raise BadSyntax("too many informational answers")
                self._on_informational(head)
        except BadSyntax as error:
            waiter.set_exception(UpstreamError(502, str(error), sent=True))
            return
        if self.failure is not None:
            waiter.set_exception(self.failure)
        elif self._ended:
            waiter.set_exception(UpstreamError(502, "the upstream closed the connection before its answer", sent=True))

    def _parse_head(self) -> AnswerHead | None:
        buffer = self._buffer
        if not buffer:
            return None
        end = buffer.find(b"\r\n\r\n")
        if end >= 0 and buffer[buffer.find(b"\n") - 1] == CR:
            self._buffer = buffer[end + 4 :]
            return self._parser.parse(buffer[:end])
        if (end := _bare_head_end(buffer)) >= 0:
            # A head with bare LF throughout (RFC 9112 §2.2 lets a recipient take it); we write CRLF.
            self._buffer = buffer[end + 2 :]
            return self._parser.parse(buffer[:end].replace(b"\n", b"\r\n"))
        if len(buffer) > self._limits.answer_head:
            raise BadSyntax("the head of an answer is over the limit")
        if not buffer.startswith(b"HTTP/1."[: len(buffer)]):
            raise BadSyntax("an answer that is not HTTP/1")
        return None

    def take_rest(self, length: int | None) -> bytes | None:
        """Return the whole body, if it is ``length`` bytes and just these have come; else leave them for the relay."""
        data = self._buffer
        if len(data) != length:
            return None
        self._buffer = b""
        return data

    def take_buffer(self) -> bytes:
        """Return the bytes that came after the head, for the relay."""
        data, self._buffer = self._buffer, b""
        return data

    def has_ended(self) -> bool:
        """Tell whether the upstream has closed."""
        return self._ended

    def data_received(self, data: bytes) -> None:
        """Pass bytes on: to the relay, to the waiting exchange, or, unasked for, nowhere."""
        if self.sink is not None:
            self.sink.feed(data)
        elif self.leased:
            self.answered = True
            self._buffer = self._buffer + data if self._buffer else data
            self._look_for_head()
            if len(self._buffer) >= ENOUGH and not self._paused and self._waiter is not None and self._waiter.done():
                # The exchange goes on from here; else more and more is put together before it has its turn.
                self.pause()
        else:
            self.close()

    def eof_received(self) -> bool:
        """Treat a half-close as the end."""
        self._end(None)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits; let go of the transport, which may lead back here."""
        self._end(error)
        self.transport = None

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        self.cut_short = error is not None
        if self.sink is not None:
            self.sink.upstream_closed(error)
        elif not self.leased:
            self.pool.forget(self)
        if self.source is not None:
            self.source.resume()
        self._look_for_head()

    def fail(self, error: Exception) -> None:
        """Make the exchange that waits for the answer fail with ``error``."""
        self.failure = error
        if self.sink is not None:
            self.sink.upstream_closed(error)
        self._look_for_head()

    def pause_writing(self) -> None:
        """Pause whoever feeds us."""
        if self.source is not None:
            self.source.pause()

    def resume_writing(self) -> None:
        """Let them go on."""
        if self.source is not None:
            self.source.resume()

    def pause(self) -> None:
        """Read no more from the upstream for now."""
        self._paused = True
        if self.transport is not None and not self._ended:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            if self.transport is not None and not self._ended:
                self.transport.resume_reading()

    def read_through(self, reader: asyncio.BaseProtocol) -> None:
        """Let ``reader`` take what comes, in memory of its own, until this is called with the connection itself."""
        if self.transport is not None and not self._ended:
            read_with(self.transport, reader, reading=not self._paused)

    def is_plain(self) -> bool:
        """Tell whether bytes come as they are, without TLS."""
        return self.pool.address.tls is None

    def close(self) -> None:
        """Close at once; an upstream is never left guessing with half a request."""
        self._ended = True
        # The traceback of a failure leads back to whoever has this connection.
        self.failure = self._waiter = None
        self.pool.forget(self)
        if self.transport is not None:
            self.transport.abort()


def _bare_head_end(buffer: bytes) -> int:
    """Return the index of the empty line that ends a head with bare LF, or -1 while more must come.

    Raises BadSyntax for both kinds of line ends in one head, whose end could be taken to be in two places.
    """
    first = buffer.find(b"\n")
    if first < 0:
        return -1
    if buffer[:first].endswith(b"\r"):
        end = -1
        mixed = buffer.count(b"\n") != buffer.count(b"\r\n")
    else:
        end = buffer.find(b"\n\n")
        mixed = b"\r" in (buffer[:end] if end >= 0 else buffer)
    if mixed:
        raise BadSyntax("an answer's head with both kinds of line ends")
    return end
