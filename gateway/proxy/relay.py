"""The answer's body on its way to the client: re-framed, with back-pressure, and never completed by us.

What an upstream cuts short is cut short for the client too (RFC 9112 §8).
"""

from __future__ import annotations

import asyncio

from gateway.errors import UpstreamError
from gateway.proxy.bulk import MUCH, BulkReader
from gateway.proxy.downstream import Downstream
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.wire.forward import AnswerFraming
from gateway.wire.framing import LAST_CHUNK, Body, ChunkedBody, LengthBody, UntilClose, chunk
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import AnswerHead


def answer_body(answer: AnswerHead, framing: AnswerFraming) -> Body:
    """Return the decoder for an answer's body (RFC 9112 §6.3)."""
    if not framing.body_follows:
        return LengthBody(0)
    if answer.chunked:
        return ChunkedBody(of_response=True)
    if answer.content_length is not None:
        return LengthBody(answer.content_length)
    return UntilClose()


class Relay:
    """Moves one answer's body from an upstream connection to the client's."""

    __slots__ = (
        "_body", "_chunked_out", "_client", "_deadline_step", "_in_bulk", "_upstream", "begun", "finished", "sent",
        "surplus",
    )  # fmt: skip

    def __init__(
        self, client: Downstream, upstream: UpstreamConn, body: Body, *, chunked_out: bool, idle_time: float
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._body = body
        self._chunked_out = chunked_out
        self._deadline_step = idle_time
        self._in_bulk = False
        self.begun = False
        """Whether the client got anything."""
        self.finished: asyncio.Future[None] | None = None
        self.sent = 0
        """Body bytes passed on, without framing."""
        self.surplus = False
        """Whether the upstream sent more than its answer."""

    def start(self, head: bytes) -> bool:
        """Write the head with what has come of the body; return True if the answer is complete.

        Otherwise the relay is fed from now on, and `finished` tells the end.
        Raises UpstreamError if the body's coding is broken or was cut short.
        """
        try:
            out = self._step(self._upstream.take_buffer())
        except BadSyntax as error:
            raise UpstreamError(502, str(error), sent=True) from error
        self.begun = True
        self._client.write_answer(head, out)
        if self._body.done:
            return True
        if self._upstream.has_ended():
            if isinstance(self._body, UntilClose) and not self._upstream.cut_short:
                self._finish_until_close()
                return True
            raise UpstreamError(502, "the upstream cut its answer short", sent=True)
        self.finished = self._upstream.pool.loop.create_future()
        self._upstream.deadline = self._client.plane.deadline(self._deadline_step)
        self._upstream.sink = self
        self._client.source = self._upstream
        body = self._body
        if isinstance(body, LengthBody) and body.remaining >= MUCH and self._upstream.is_plain():
            self._in_bulk = True
            self._upstream.read_through(BulkReader(self, self._upstream, self._client.plane.bulk, MUCH))
        if self._client.write_paused:
            self._upstream.pause()
        else:
            self._upstream.resume()
        return False

    def _step(self, data: bytes) -> bytes:
        payload, rest = self._body.feed(data)
        if rest:
            self.surplus = True
        self.sent += len(payload)
        if not self._chunked_out:
            return payload
        out = chunk(payload) if payload else b""
        return out + LAST_CHUNK if self._body.done else out

    def feed(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        self._upstream.deadline = self._client.plane.deadline(self._deadline_step)
        try:
            out = self._step(data)
        except BadSyntax as error:
            self._end(UpstreamError(502, str(error), sent=True))
            return
        if out:
            self._client.write(out)
        if self._body.done:
            self._end(None)

    def feed_from(self, data: memoryview) -> bool:
        """Pass on a piece of a body of known length out of memory that is used again; tell whether all went out."""
        body = self._body
        if not isinstance(body, LengthBody) or self.finished is None or self.finished.done():
            # The exchange was ended in the middle of the body.
            self._upstream.data_received(bytes(data))
            return True
        self._upstream.deadline = self._client.plane.deadline(self._deadline_step)
        if len(data) > body.remaining:
            self.surplus = True
            data = data[: body.remaining]
        body.remaining -= len(data)
        self.sent += len(data)
        whole = self._client.write_from(data)
        if body.done:
            self._end(None)
        return whole

    def upstream_closed(self, error: Exception | None) -> None:
        """Complete a body that ends with the connection; anything else was cut short."""
        if isinstance(self._body, UntilClose) and error is None:
            self._finish_until_close()
            self._end(None)
        elif isinstance(error, UpstreamError):
            self._end(error)
        else:
            self._end(UpstreamError(502, "the upstream cut its answer short", sent=True))

    def _finish_until_close(self) -> None:
        if self._chunked_out:
            self._client.write(LAST_CHUNK)

    def _end(self, error: Exception | None) -> None:
        if self._in_bulk:
            self._in_bulk = False
            self._upstream.read_through(self._upstream)
        self._upstream.sink = None
        self._client.source = None
        if self.finished is None or self.finished.done():
            return
        if error is None:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(error)
