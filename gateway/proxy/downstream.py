"""One client connection: bytes in, heads out, one coroutine that serves them in order.

It knows framing and time limits, not routes or sessions; what is done with a head is `exchange`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Protocol

from gateway.core.peer import parse_address
from gateway.core.policy import Address
from gateway.errors import RequestError
from gateway.proxy.plane import Plane
from gateway.proxy.record import access_line
from gateway.proxy.upload import Upload
from gateway.proxy.upstream_conn import Flow, TunnelSide, UpstreamConn
from gateway.sessions.store import Opened
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import RequestHead, find_head_end
from gateway.wire.websocket import GOING_AWAY, POLICY_VIOLATION


class Serves(Protocol):
    """What is done with one request."""

    async def run(self) -> bool:
        """Serve it; return whether the connection may carry another."""


Serving = Callable[["Downstream", RequestHead], Serves]

NEVER = float("inf")
MAX_LEADING_CRLF = 4
HALF_CLOSED_TIME = 5.0
"""Seconds an answer may still take for a client that has closed its sending side."""


class Downstream(asyncio.Protocol):
    """A client's connection."""

    __slots__ = (
        "_buffer", "_closed", "_paused", "_serving", "_task", "_waiter", "deadline", "forwarded", "lingering",
        "on_expire", "opened", "peer", "peer_text", "peer_trusted", "plane", "requests", "scheme", "sink", "source",
        "transport", "upload", "upstream", "write_paused",
    )  # fmt: skip

    def __init__(self, plane: Plane, scheme: str, serving: Serving) -> None:
        self.plane = plane
        self.scheme = scheme
        self.transport: asyncio.Transport | None = None
        self.peer: Address | None = None
        self.peer_text = ""
        self.peer_trusted = False
        self.requests = 0
        self.deadline = NEVER
        """When `on_expire` is called, in loop time; one sweep looks at all connections."""
        self.on_expire: Callable[[], None] = self.abort
        self.upload: Upload | None = None
        self.sink: TunnelSide | None = None
        """A tunnel that takes all bytes from now on."""
        self.source: Flow | None = None
        """Who writes to us, to be paused while we cannot send."""
        self.write_paused = False
        self.lingering = False
        self.forwarded: dict[bytes, bytes] = {}
        """Forwarded header lines by Host value, made once per connection."""
        self.opened: Opened | None = None
        """The session of the exchange under way, for the sweep that ends what was revoked."""
        self.upstream: UpstreamConn | None = None
        """The upstream connection of the exchange under way, for the sweep that watches its deadline."""
        self._serving = serving
        self._buffer = b""
        self._paused = False
        self._closed = False
        self._waiter: asyncio.Future[RequestHead | None] | None = None
        """Waits for the next head; None in its place means that no more is to come."""
        self._task: asyncio.Task[None] | None = None

    # The connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving, or turn the client away if there are too many."""
        self.transport = transport  # type: ignore[assignment]
        plane = self.plane
        if not plane.admit(self):
            transport.write(plane.busy_answer())  # type: ignore[attr-defined]
            transport.close()
            self._closed = True
            return
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = parse_address(str(peer[0]))
            self.peer_text = str(self.peer or "")
        self.peer_trusted = plane.trusted.trusts(self.peer)
        transport.set_write_buffer_limits(high=plane.limits.write_buffer)  # type: ignore[attr-defined]
        self._task = plane.loop.create_task(self._serve(), name="client")

    def connection_lost(self, error: Exception | None) -> None:
        """Stop whatever is done for this client."""
        self._closed = True
        self.plane.forget(self)
        if self.sink is not None:
            self.sink.upstream_closed(error)
        if self.source is not None:
            self.source.resume()
        if self._task is not None and not self._task.done():
            self._task.cancel()

    async def _serve(self) -> None:
        try:
            while True:
                head = (self._take_head() if self._buffer else None) or await self._expect_head()
                if head is None:
                    break
                self.requests += 1
                if not await self._serving(self, head).run():
                    break
                self.upload = None
        except RequestError as error:
            self._answer_bad_request(error)
        except asyncio.CancelledError:
            self.abort()
            return
        except Exception:
            self.plane.log.exception("an exchange failed")
            self.abort()
            return
        if not self.lingering:
            self.linger()

    def _answer_bad_request(self, error: RequestError) -> None:
        """Answer a head that could not be understood."""
        plane = self.plane
        request_id = plane.next_request_id()
        self.write(plane.answers.answer(error.status, None, request_id, plane.http_date, close=True))
        if plane.access_log is not None:
            stamp = plane.clock.stamp(plane.wall_clock())
            trace = request_id.decode("ascii")
            plane.access_log.write(
                access_line(stamp, self.peer_text, "-", "", "", error.status, 0, 0.0, None, "", "-", trace, str(error))
            )

    # Reading heads

    def _take_head(self) -> RequestHead | None:
        """Return the request whose head is complete in the buffer, or None. Raises RequestError."""
        buffer = self._buffer
        if not buffer:
            return None
        plane = self.plane
        if buffer.startswith(b"\r\n"):
            buffer = self._buffer = _without_empty_lines(buffer)
        try:
            end = find_head_end(buffer, plane.limits)
            if end < 0:
                return None
            self._buffer = buffer[end + 4 :]
            return plane.requests.parse(buffer[:end])
        except BadSyntax as error:
            raise RequestError(error.status, str(error)) from error

    def _expect_head(self) -> asyncio.Future[RequestHead | None]:
        """Return a future of the next head, under the time limits for it."""
        plane = self.plane
        waiter = self._waiter = plane.loop.create_future()
        if self._closed or (plane.draining and not self._buffer):
            self.close_idle()
        elif self._buffer:
            self._limit_head_time()
        else:
            limits = plane.limits
            self.deadline = plane.now + (limits.keep_alive_time if self.requests else limits.first_byte_time)
            self.on_expire = self.close_idle
        if self._paused:
            self.resume()
        return waiter

    def _head_bytes_came(self, waiter: asyncio.Future[RequestHead | None]) -> None:
        """Give the waiting coroutine its head, if that is complete now."""
        if waiter.done():
            return
        try:
            head = self._take_head()
        except RequestError as error:
            waiter.set_exception(error)
            return
        if head is not None:
            self._waiter = None
            self.deadline = NEVER
            waiter.set_result(head)
        elif self.on_expire == self.close_idle and self._buffer:
            self._limit_head_time()

    def _limit_head_time(self) -> None:
        self.deadline = self.plane.now + self.plane.limits.head_time
        self.on_expire = self._head_too_slow

    def _head_too_slow(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(RequestError(408, "a head that did not arrive in time"))

    def close_idle(self) -> None:
        """Close between two requests."""
        self._closed = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def is_idle(self) -> bool:
        """Tell whether the connection waits for a request of which nothing has come."""
        return self._waiter is not None and not self._buffer

    # Bytes

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the tunnel, the upload or the buffer."""
        if self.sink is not None:
            self.sink.feed(data)
            return
        if self.lingering:
            return
        upload = self.upload
        if upload is not None and upload.upstream is not None and not upload.done:
            self.deadline = self.plane.now + self.plane.limits.body_idle_time
            data = upload.feed(data)
            if upload.is_done():
                self.deadline = NEVER
                upload.upstream.deadline = self.plane.now + upload.answer_time
            if not data:
                return
        self._buffer = self._buffer + data if self._buffer else data
        if self._waiter is not None:
            self._head_bytes_came(self._waiter)
        elif len(self._buffer) > self.plane.limits.head and not self._paused:
            self.pause()

    def begin_upload(self, upload: Upload, conn: UpstreamConn) -> bytes:
        """Return what has come of a request's body, for the upstream; the rest flows there by itself.

        Raises RequestError.
        """
        out, rest = upload.encode(self.take_buffer())
        if upload.done:
            self.put_back(rest)
            return out
        upload.upstream = conn
        conn.deadline = NEVER
        conn.source = self
        self.deadline = self.plane.now + self.plane.limits.body_idle_time
        self.on_expire = partial(conn.fail, RequestError(408, "a request body that did not arrive in time"))
        self.resume()
        return out

    def take_buffer(self) -> bytes:
        """Return what has come beyond the head."""
        data, self._buffer = self._buffer, b""
        return data

    def put_back(self, data: bytes) -> None:
        """Return bytes that belong to the next request."""
        self._buffer = data + self._buffer

    def eof_received(self) -> bool:
        """Let a client that has closed its sending side have the answer under way, if it comes soon."""
        if self.sink is not None:
            self.sink.upstream_closed(None)
            return False
        upload = self.upload
        if upload is not None and not upload.done and upload.upstream is not None and not upload.stopped:
            upload.upstream.fail(RequestError(400, "the client left in the middle of a request body"))
            return False
        if self._waiter is not None or self._task is None or self._task.done():
            self.close_idle()
            return False
        self.deadline = self.plane.now + HALF_CLOSED_TIME
        self.on_expire = self.abort
        return self.scheme == "http"

    def write(self, data: bytes) -> None:
        """Write answer bytes; those for a client that has gone are dropped."""
        if not self._closed and self.transport is not None:
            self.transport.write(data)

    # Flow

    def pause(self) -> None:
        """Read no more from the client for now."""
        self._paused = True
        if not self._closed and self.transport is not None:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            if not self._closed and self.transport is not None:
                self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Stop whoever writes to us; a client that takes nothing for too long is cut."""
        self.write_paused = True
        if self.source is not None:
            self.source.pause()
        self.deadline = self.plane.now + self.plane.limits.write_stall_time
        self.on_expire = self.abort

    def resume_writing(self) -> None:
        """Let them write on."""
        self.write_paused = False
        self.deadline = NEVER
        if self.source is not None:
            self.source.resume()

    # The end

    def linger(self) -> None:
        """Close so that the last answer arrives: stop sending, read on for a while (RFC 9112 §9.6)."""
        if self._closed or self.transport is None:
            if self.transport is not None:
                self.transport.close()
            return
        self.lingering = True
        self._buffer = b""
        self.upload = None
        self.resume()
        self.deadline = self.plane.now + self.plane.limits.linger_time
        self.on_expire = self.transport.close
        if self.scheme == "http" and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def end_stream(self) -> None:
        """End what is open for a session that is over: close a tunnel, cut an answer."""
        if self.sink is not None:
            self.sink.end(POLICY_VIOLATION)
        else:
            self.abort()

    def end_tunnel(self) -> None:
        """Close a tunnel because the gateway stops."""
        if self.sink is not None:
            self.sink.end(GOING_AWAY)

    def abort(self) -> None:
        """Cut the connection so that nobody takes what was sent for complete."""
        self._closed = True
        self.deadline = NEVER
        transport = self.transport
        if transport is None:
            return
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0 and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _without_empty_lines(buffer: bytes) -> bytes:
    """Skip the empty lines that some clients send before a request (RFC 9112 §2.2), a few of them."""
    for _ in range(MAX_LEADING_CRLF):
        buffer = buffer.removeprefix(b"\r\n")
    if buffer.startswith(b"\r\n"):
        raise RequestError(400, "too many empty lines before a request")
    return buffer
