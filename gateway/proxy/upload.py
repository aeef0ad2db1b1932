"""A request body on its way to the upstream: decoded, counted, re-framed, with back-pressure."""

from __future__ import annotations

import asyncio

from gateway.core.limits import Limits
from gateway.core.reasons import TOO_SLOW
from gateway.errors import RequestError
from gateway.proxy.bulk import MUCH
from gateway.proxy.plane import LATE
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.wire.framing import LAST_CHUNK, ChunkedBody, LengthBody, chunk
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import RequestHead


class Upload:
    """One request body. Without an upstream it waits in the client's buffer, or is held here until it is whole."""

    __slots__ = (
        "_body", "_chunked", "_held", "_limit", "_received", "_waited", "_whole", "answer_time", "done", "expecting",
        "stopped", "upstream",
    )  # fmt: skip

    def __init__(self, head: RequestHead, limit: int, answer_time: float) -> None:
        self._chunked = head.chunked
        self._body: ChunkedBody | LengthBody = ChunkedBody() if head.chunked else LengthBody(head.content_length or 0)
        self._limit = limit
        self.answer_time = answer_time
        """Seconds that the upstream has for its answer once it has the whole body."""
        self.expecting = head.expect is not None and head.version == 1
        """Whether the client rightly waits for the upstream's 100 (RFC 9110 §10.1.1)."""
        self._received = 0
        self._waited = -LATE
        """Seconds that we were reading from the client; the sweep counts the first from its time before."""
        self.upstream: UpstreamConn | None = None
        self._held = bytearray()
        """What has come of a body that is to be whole before there is an upstream."""
        self._whole: asyncio.Future[None] | None = None
        """Waits for the rest of it."""
        self.done = False
        self.stopped = False
        """Set when the upstream has answered without wanting the rest."""

    def is_done(self) -> bool:
        """Tell whether the whole body has come."""
        return self.done

    def is_under_way(self) -> bool:
        """Tell whether what comes is of this body, wanted or not."""
        return (self.upstream is not None or self._whole is not None) and not self.done

    def flows(self) -> bool:
        """Tell whether more of it is wanted."""
        return self.is_under_way() and not self.stopped

    def hold(self, data: bytes) -> bytes:
        """Keep what has come of a body that is to be whole before it goes on; return what follows it.

        Raises RequestError.
        """
        payload, rest = self._decode(data)
        self._held += payload
        return rest

    def until_whole(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Hold what comes from now on; return a future of the whole body, which may raise RequestError."""
        self._whole = loop.create_future()
        return self._whole

    def take_held(self) -> bytes:
        """Return what was held, framed for the upstream."""
        data, self._held = bytes(self._held), bytearray()
        return self._framed(data)

    def has_come(self, until: float) -> None:
        """Learn that the body is whole; an upstream has its time for an answer from now on."""
        self.upstream_may_take(until)
        whole, self._whole = self._whole, None
        if whole is not None and not whole.done():
            whole.set_result(None)

    def fail(self, error: RequestError) -> None:
        """End the exchange, which waits for the upstream or for the body."""
        # The error must not lead back to who holds it, by its traceback or by the future.
        whole, self._whole = self._whole, None
        if self.upstream is not None:
            self.upstream.fail(error.with_traceback(None))
        elif whole is not None and not whole.done():
            self.stopped = True
            whole.set_exception(error.with_traceback(None))

    def goes_on(self, seconds: float, limits: Limits) -> bool:
        """Judge how fast it comes, after ``seconds`` more of reading from the client; return whether it goes on.

        Each byte begins the idle time anew, so a body that trickles would hold its upstream's place for ever.
        """
        if not self.flows():
            return False
        if self.expecting:
            return True
        self._waited += seconds
        if self._waited <= limits.body_rate_time or self._received >= limits.body_rate * self._waited:
            return True
        self.fail(RequestError(408, "a request body that came too slowly", TOO_SLOW))
        return False

    def upstream_may_take(self, until: float) -> None:
        """Give an upstream its time, to take more or to answer."""
        if self.upstream is not None:
            self.upstream.deadline = until

    def encode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the bytes for the upstream and what follows the body. Raises RequestError (400, 413, 431)."""
        payload, rest = self._decode(data)
        return self._framed(payload), rest

    def _decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what is of the body in some bytes, and what follows it. Raises RequestError."""
        if data:
            self.expecting = False
        try:
            payload, rest = self._body.feed(data)
        except BadSyntax as error:
            raise RequestError(error.status, str(error), error.reason) from error
        self._received += len(payload)
        if self._received > self._limit:
            raise RequestError(413, "a request body over the limit")
        self.done = self._body.done
        return payload, rest

    def _framed(self, payload: bytes) -> bytes:
        if not self._chunked:
            return payload
        out = chunk(payload) if payload else b""
        return out + LAST_CHUNK if self.done else out

    def is_long(self) -> bool:
        """Tell whether much of a body of known length is still to come."""
        return isinstance(self._body, LengthBody) and self._body.remaining >= MUCH

    def feed_from(self, data: memoryview) -> tuple[int, bool]:
        """Send a piece of a long body on out of memory that is used again.

        Return how many of the bytes were of it, and whether all of these went out.
        """
        body, upstream = self._body, self.upstream
        if upstream is None or not isinstance(body, LengthBody):
            return 0, True
        taken = min(len(data), body.remaining)
        body.remaining -= taken
        self._received += taken
        self.done = body.done
        return taken, upstream.send_from(data[:taken])

    def feed(self, data: bytes) -> bytes:
        """Send a piece on, or hold it; return what follows the body. Errors reach the exchange by what it waits for."""
        if not self.flows():
            return b""
        try:
            if self.upstream is None:
                return self.hold(data)
            out, rest = self.encode(data)
        except RequestError as error:
            failure = RequestError(error.status, str(error), error.reason)
        else:
            if out:
                self.upstream.send(out)
            return rest
        self.stopped = True
        self.fail(failure)
        return b""
