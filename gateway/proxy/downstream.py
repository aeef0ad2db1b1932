"""One client connection: bytes in, heads out, one coroutine that serves them in order.

It knows framing and time limits, not routes or sessions; what is done with a head is `exchange`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from gateway.core.peer import parse_address
from gateway.core.policy import Address
from gateway.errors import RequestError
from gateway.proxy.bulk import BulkReader, read_with
from gateway.proxy.client_transport import NEVER, ClientTransport
from gateway.proxy.credentials import Presented
from gateway.proxy.plane import Plane
from gateway.proxy.record import access_line
from gateway.proxy.upload import Upload
from gateway.proxy.upstream_conn import TunnelSide, UpstreamConn
from gateway.proxy.watched import Watched
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import RequestHead, find_head_end, without_empty_lines
from gateway.wire.replies import ALLOWED
from gateway.wire.websocket import GOING_AWAY, POLICY_VIOLATION

HALF_CLOSED_TIME: Final = 5.0
"""Seconds an answer may still take for a client that has closed its sending side."""


class Serves(Protocol):
    """What is done with one request."""

    async def run(self) -> bool:
        """Serve it; return whether the connection may carry another."""


Serving = Callable[["Downstream", RequestHead], Serves]


class Downstream(ClientTransport):
    """A client's connection."""

    __slots__ = (
        "_buffer", "_ended", "_in_bulk", "_paused", "_serving", "_task", "_waiter", "bearer", "forwarded", "idle_since",
        "peer", "peer_text", "peer_trusted", "sink", "upload", "upstream", "watched",
    )  # fmt: skip

    def __init__(self, plane: Plane, scheme: str, serving: Serving) -> None:
        super().__init__(plane, scheme)
        self.peer: Address | None = None
        self.peer_text = ""
        self.peer_trusted = False
        self.upload: Upload | None = None
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
        self._serving = serving
        self._buffer = b""
        self._paused = False
        self._in_bulk = False
        """Whether a `BulkReader` reads a request body."""
        self._ended = False
        """Whether no further request is to come."""
        self._waiter: asyncio.Future[RequestHead | None] | None = None
        """Waits for the next head; None in its place means that no more is to come."""
        self._task: asyncio.Task[None] | None = None

    # The connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving, or turn the client away if there are too many."""
        self.transport = transport  # type: ignore[assignment]
        self.on_expire = self.abort
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
        extra = ALLOWED if error.status == 405 else ()
        self.write(plane.answers.answer(error.status, None, request_id, plane.http_date, close=True, extra=extra))
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
        try:
            if buffer.startswith(b"\r\n"):
                buffer = self._buffer = without_empty_lines(buffer)
            end = find_head_end(buffer, plane.limits)
            if end < 0:
                return None
            self._buffer = buffer[end + 4 :]
            return plane.requests.parse(buffer[:end])
        except BadSyntax as error:
            refused = RequestError(error.status, str(error))
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
        if upload is not None and upload.upstream is not None and not upload.done:
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

    def begin_upload(self, upload: Upload, conn: UpstreamConn) -> bytes:
        """Return what has come of a request's body, for the upstream; the rest flows there by itself.

        Raises RequestError.
        """
        out, rest = upload.encode(self.take_buffer())
        if upload.done:
            self.put_back(rest)
            return out
        if self._ended:
            raise RequestError(400, "the client left in the middle of a request body")
        upload.upstream = conn
        conn.source = self
        self.plane.uploading.add(self)
        self._wait_for_body(upload)
        self.resume()
        if upload.is_long() and self.scheme == "http" and self.transport is not None:
            self._in_bulk = True
            read_with(self.transport, BulkReader(self, self, self.plane.bulk), reading=not self._paused)
        return out

    def feed_from(self, data: memoryview) -> bool:
        """Pass on a piece of a long request body out of memory that is used again; tell whether all went out."""
        upload = self.upload
        if upload is None or upload.upstream is None or not upload.flows() or self.lingering:
            # The exchange was ended in the middle of the body.
            self.data_received(bytes(data))
            return True
        self.continue_upload(upload)
        self.deadline = self.plane.deadline(self.plane.limits.body_idle_time)
        taken, whole = upload.feed_from(data)
        if upload.done:
            self._body_has_come(upload)
        if taken < len(data):
            self.data_received(bytes(data[taken:]))
        return whole

    def _body_has_come(self, upload: Upload) -> None:
        """Leave the time to the upstream, for its answer; what comes now is the next request."""
        self.deadline = NEVER
        if upload.upstream is not None:
            upload.upstream.deadline = self.plane.deadline(upload.answer_time)
        if self._in_bulk and self.transport is not None:
            self._in_bulk = False
            read_with(self.transport, self, reading=not self._paused)

    def _wait_for_body(self, upload: Upload) -> None:
        """Give the client its time for the next piece, during which the upstream has none to keep.

        Until the upstream has said that it wants the body, the time is the upstream's.
        """
        if upload.upstream is not None and not upload.expecting:
            upload.upstream.deadline = NEVER
            self.deadline = self.plane.deadline(self.plane.limits.body_idle_time)
            error = RequestError(408, "a request body that did not arrive in time")
            self.on_expire = partial(upload.upstream.fail, error)

    def continue_upload(self, upload: Upload) -> None:
        """Give the client its time from now on: it was asked for its body, or sends it unasked."""
        if upload.expecting:
            upload.expecting = False
            if upload.flows():
                self._wait_for_body(upload)

    def goes_on_uploading(self, seconds: float) -> bool:
        """Judge how fast a request body comes, where we are reading it; return whether it is to be judged again."""
        upload = self.upload
        return upload is not None and (self._paused or upload.goes_on(seconds, self.plane.limits))

    def stop_upload(self) -> None:
        """Take no more of a body that the upstream has refused (RFC 9110 §10.1.1, RFC 9112 §9.5)."""
        if self.upload is not None:
            self.upload.stopped = True
            self.deadline = NEVER
            self.pause()

    def take_buffer(self) -> bytes:
        """Return what has come beyond the head."""
        data, self._buffer = self._buffer, b""
        return data

    def put_back(self, data: bytes) -> None:
        """Return bytes that belong to the next request."""
        self._buffer = data + self._buffer

    def eof_received(self) -> bool:
        """Let a client that has closed its sending side have the answer under way, if it comes soon."""
        self._half_closed = True
        if self.sink is not None:
            self.sink.upstream_closed(None)
            return False
        upload = self.upload
        if upload is not None and not upload.done and upload.upstream is not None and not upload.stopped:
            upload.upstream.fail(RequestError(400, "the client left in the middle of a request body"))
            return False
        self._ended = True
        if self.lingering or self._task is None or self._task.done():
            return False
        if self._waiter is not None:
            self.close_idle()
        elif upload is None or upload.done:
            self.deadline = self.plane.deadline(HALF_CLOSED_TIME)
            self.on_expire = self.abort
        return self.scheme == "http"

    # Flow

    def pause(self) -> None:
        """Read no more from the client for now; the time is then the upstream's, if it is slow to take a body."""
        self._paused = True
        upload = self.upload
        if upload is not None and upload.flows():
            upload.upstream_is_slow(self.plane.deadline(upload.answer_time))
            self.deadline = NEVER
        if not self._closed and self.transport is not None:
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            if self.upload is not None and self.upload.flows():
                self._wait_for_body(self.upload)
            if not self._closed and self.transport is not None:
                self.transport.resume_reading()

    def drop_input(self) -> None:
        """Forget what was read, and read on."""
        self._buffer = b""
        self.upload = None
        self.resume()

    # The end

    def end_stream(self) -> None:
        """End what may go on no more: close a tunnel, cut an answer."""
        self.watched = None
        if self.sink is not None:
            self.sink.end(POLICY_VIOLATION)
        else:
            self.abort()

    def end_tunnel(self) -> None:
        """Close a tunnel because the gateway stops."""
        if self.sink is not None:
            self.sink.end(GOING_AWAY)
