"""A request body on its way to the upstream: decoded, counted, re-framed, with back-pressure."""

from __future__ import annotations

from gateway.core.limits import Limits
from gateway.errors import RequestError
from gateway.proxy.bulk import MUCH
from gateway.proxy.plane import LATE
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.wire.framing import LAST_CHUNK, ChunkedBody, LengthBody, chunk
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import RequestHead


class Upload:
    """One request body. Without an upstream it waits in the client's buffer."""

    __slots__ = (
        "_body",
        "_chunked",
        "_limit",
        "_received",
        "_waited",
        "answer_time",
        "done",
        "expecting",
        "stopped",
        "upstream",
    )

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
        self.done = False
        self.stopped = False
        """Set when the upstream has answered without wanting the rest."""

    def is_done(self) -> bool:
        """Tell whether the whole body has come."""
        return self.done

    def flows(self) -> bool:
        """Tell whether more of it is to go to an upstream."""
        return self.upstream is not None and not self.done and not self.stopped

    def goes_on(self, seconds: float, limits: Limits) -> bool:
        """Judge how fast it comes, after ``seconds`` more of reading from the client; return whether it goes on.

        Each byte begins the idle time anew, so a body that trickles would hold its upstream's place for ever.
        """
        if self.upstream is None or not self.flows():
            return False
        if self.expecting:
            return True
        self._waited += seconds
        if self._waited <= limits.body_rate_time or self._received >= limits.body_rate * self._waited:
            return True
        self.upstream.fail(RequestError(408, "a request body that came too slowly"))
        return False

    def upstream_is_slow(self, until: float) -> None:
        """Give the upstream its time to take more."""
        if self.upstream is not None:
            self.upstream.deadline = until

    def encode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the bytes for the upstream and what follows the body. Raises RequestError (400, 413, 431)."""
        if data:
            self.expecting = False
        try:
            payload, rest = self._body.feed(data)
        except BadSyntax as error:
            raise RequestError(error.status, str(error)) from error
        self._received += len(payload)
        if self._received > self._limit:
            raise RequestError(413, "a request body over the limit")
        self.done = self._body.done
        if not self._chunked:
            return payload, rest
        out = chunk(payload) if payload else b""
        return (out + LAST_CHUNK if self.done else out), rest

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
        """Send a piece on; return what follows the body. Errors reach the exchange by its upstream."""
        upstream = self.upstream
        if upstream is None or self.stopped:
            return b""
        try:
            out, rest = self.encode(data)
        except RequestError as error:
            self.stopped = True
            upstream.fail(error)
            return b""
        if out:
            upstream.send(out)
        return rest
