"""One client connection: bytes in, heads out, one coroutine that serves them in order.

It knows framing and time limits, not routes or sessions; what is done with a head is `exchange`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from gateway.core import reasons
from gateway.core.peer import parse_address
from gateway.core.policy import Address
from gateway.errors import RequestError
from gateway.proxy.body_reading import BodyReading, left_early
from gateway.proxy.client_transport import NEVER
from gateway.proxy.credentials import Presented
from gateway.proxy.plane import Plane
from gateway.proxy.refusing import bad_head_response, busy_response
from gateway.proxy.upstream_conn import TunnelSide, UpstreamConn
from gateway.proxy.watched import Watched
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import RequestHead, find_head_end, without_empty_lines
from gateway.wire.websocket import GOING_AWAY, POLICY_VIOLATION

HALF_CLOSED_TIME: Final = 5.0
"""Seconds an answer may still take for a client that has closed its sending side."""


class Serves(Protocol):
    """What is done with one request."""

    async def run(self) -> bool:
        """Serve it; return whether the connection may carry another."""


Serving = Callable[["Downstream", RequestHead], Serves]


class Downstream(BodyReading):
    """A client's connection."""

    __slots__ = (
        "_refused", "_serving", "_task", "_waiter", "bearer", "forwarded", "idle_since", "peer", "peer_asks",
        "peer_text", "peer_trusted", "sink", "upstream", "watched",
    )  # fmt: skip

    def __init__(self, plane: Plane, scheme: str, serving: Serving) -> None:
        super().__init__(plane, scheme)
        self.peer: Address | None = None
        self.peer_text = ""
        self.peer_trusted = False
        self.peer_asks = False
        """Whether it may ask about the requests of others."""
        self.sink: TunnelSide | None = None
        """A tunnel that takes all bytes from now on."""
        self.forwarded: dict[bytes, bytes] = {}
        """Forwarded header lines by Host value, made once per connection."""
        self.bearer: Presented | None = None
        """The token that its last request presented, so that the next one's is known by comparing."""
        self.watched: Watched | None = None
        """What is open for a session, for the sweep that ends what may go on no more."""
        self.idle_since = plane.now
        """Since when it waits for a request, loop time."""
        self.upstream: UpstreamConn | None = None
        """The upstream connection of the exchange under way, for the sweep that watches its deadline."""
        self._refused = b""
        """The head that could not be understood, with what followed it."""
        self._serving = serving
        self._waiter: asyncio.Future[RequestHead | None] | None = None
        """Waits for the next head; None in its place means that no more is to come."""
        self._task: asyncio.Task[None] | None = None

    # The connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving, or turn the client away if there are too many."""
        self.transport = transport  # type: ignore[assignment]
        self.on_expire = self.abort
        plane = self.plane
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = parse_address(str(peer[0]))
            self.peer_text = str(self.peer or "")
        if not plane.admit(self):
            transport.write(busy_response(plane, self.peer_text))  # type: ignore[attr-defined]
            transport.close()
            self._closed = True
            return
        self.peer_trusted = plane.trusted.trusts(self.peer)
        self.peer_asks = plane.askers.may_ask(self.peer)
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
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
        self._waiter = None
        self.let_go()

    async def _serve(self) -> None:
        try:
            while True:
                if self.write_paused:
                    # What was answered must be taken before more is.
                    await self._until_writable()
                if self._buffer:
                    # Pipelined: others get their turn first.
                    await asyncio.sleep(0)
                    head = self._take_head() or await self._expect_head()
                else:
                    head = await self._expect_head()
                if head is not None and self.write_paused:
                    await self._until_writable()
                if head is None:
                    break
                self.requests += 1
                if not await self._serving(self, head).run():
                    break
                self.upload = None
        except RequestError as error:
            self.write(bad_head_response(self.plane, self.peer_text, self._refused or self._buffer, error))
        except asyncio.CancelledError:
            self.abort()
            return
        except Exception:
            self.plane.log.exception("an exchange failed")
            self.cut(reasons.FAULT)
            return
        if not self.lingering:
            self.linger()

    # Reading heads

    def _take_head(self) -> RequestHead | None:
        """Return the request whose head is complete in the buffer, or None. Raises RequestError."""
        buffer = self._buffer
        if not buffer:
            return None
        plane = self.plane
        try:
            if buffer.startswith(b"\r\n"):
                buffer = self._buffer = without_empty_lines(buffer)
            end = find_head_end(buffer, plane.limits)
            if end < 0:
                return None
            self._buffer = buffer[end + 4 :]
            return plane.requests.parse(buffer[:end])
        except BadSyntax as error:
            refused = RequestError(error.status, str(error), error.reason)
        self._refused = buffer
        raise refused

    def _expect_head(self) -> asyncio.Future[RequestHead | None]:
        """Return a future of the next head, under the time limits for it."""
        plane = self.plane
        waiter = self._waiter = plane.loop.create_future()
        if self._closed or self._ended:
            self.close_idle()
        elif self._buffer:
            self._limit_head_time()
        else:
            limits = plane.limits
            self.idle_since = plane.now
            self.deadline = plane.deadline(limits.keep_alive_time if self.requests else limits.first_byte_time)
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
            # A traceback would lead back to the future that holds it, as that of a cause would.
            waiter.set_exception(error.with_traceback(None))
            return
        if head is not None:
            self._waiter = None
            self.deadline = NEVER
            waiter.set_result(head)
        elif self.on_expire == self.close_idle and self._buffer:
            self._limit_head_time()

    def _limit_head_time(self) -> None:
        self.deadline = self.plane.deadline(self.plane.limits.head_time)
        self.on_expire = self._head_too_slow

    def _head_too_slow(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(RequestError(408, "a head that did not arrive in time"))

    def close_idle(self) -> None:
        """Close between two requests."""
        self._ended = True
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
        if upload is not None and upload.is_under_way():
            self.continue_upload(upload)
            self.deadline = self.plane.deadline(self.plane.limits.body_idle_time)
            data = upload.feed(data)
            if upload.is_done():
                self._body_has_come(upload)
            if not data:
                return
        self._buffer = self._buffer + data if self._buffer else data
        if self._waiter is not None:
            self._head_bytes_came(self._waiter)
        elif len(self._buffer) > self.plane.limits.head and not self._paused:
            self.pause()

    def eof_received(self) -> bool:
        """Let a client that has closed its sending side have the answer under way, if it comes soon."""
        self._half_closed = True
        if self.sink is not None:
            self.sink.upstream_closed(None)
            return False
        upload = self.upload
        if upload is not None and upload.flows():
            self._ended = True
            upload.fail(left_early())
            return self.scheme == "http"
        self._ended = True
        if self.lingering or self._task is None or self._task.done():
            return False
        if self._waiter is not None:
            self.close_idle()
        elif upload is None or upload.done:
            self.deadline = self.plane.deadline(HALF_CLOSED_TIME)
            self.on_expire = partial(self.cut, reasons.HALF_CLOSED)
        return self.scheme == "http"

    # The end

    def end_stream(self, cut_by: str) -> None:
        """End what may go on no more: close a tunnel, cut an answer; ``cut_by`` is why."""
        self.watched = None
        self.note_cut(cut_by)
        if self.sink is not None:
            self.sink.end(POLICY_VIOLATION)
        else:
            self.abort()

    def end_tunnel(self) -> None:
        """Close a tunnel because the gateway stops."""
        if self.sink is not None:
            self.note_cut(reasons.SHUTDOWN)
            self.sink.end(GOING_AWAY)
