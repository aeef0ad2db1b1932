"""The part of a client's connection that reads request bodies, and is told to wait with that."""

from __future__ import annotations

from functools import partial
from typing import Final

from gateway.core.reasons import INCOMPLETE
from gateway.errors import RequestError
from gateway.proxy.bulk import BulkReader, read_with
from gateway.proxy.client_transport import NEVER, ClientTransport
from gateway.proxy.plane import Plane
from gateway.proxy.upload import Upload
from gateway.proxy.upstream_conn import UpstreamConn

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def left_early() -> RequestError:
    """Return the error of a client that has gone before its body was whole."""
    return RequestError(400, "the client left in the middle of a request body", INCOMPLETE)


class BodyReading(ClientTransport):
    """The reading side, as far as it is about bodies."""

    __slots__ = ("_buffer", "_ended", "_in_bulk", "_paused", "upload")

    def __init__(self, plane: Plane, scheme: str) -> None:
        super().__init__(plane, scheme)
        self.upload: Upload | None = None
        """The body of the request under way."""
        self._buffer = b""
        self._paused = False
        self._in_bulk = False
        """Whether a `BulkReader` reads a request body."""
        self._ended = False
        """Whether no further request is to come."""

    def begin_upload(self, upload: Upload, conn: UpstreamConn) -> bytes:
        """Return what has come of a request's body, for the upstream; the rest flows there by itself.

        Raises RequestError.
        """
        if upload.is_done():
            return upload.take_held()
        out, rest = upload.encode(self.take_buffer())
        if self._is_whole(upload, rest):
            return out
        upload.upstream = conn
        conn.source = self
        self._read_on(upload)
        if upload.is_long() and self.scheme == "http" and self.transport is not None:
            self._in_bulk = True
            read_with(self.transport, BulkReader(self, self, self.plane.bulk), reading=not self._paused)
        return out

    async def read_whole(self) -> None:
        """Read all of the request's short body before there is an upstream for it, whose place nobody holds meanwhile.

        Raises RequestError.
        """
        upload = self.upload
        if upload is None:
            return
        rest = upload.hold(self.take_buffer())
        if self._is_whole(upload, rest):
            return
        if upload.expecting:
            self.write(CONTINUE)
            upload.expecting = False
        whole = upload.until_whole(self.plane.loop)
        self._read_on(upload)
        try:
            await whole
        finally:
            # An error's traceback leads here, and the future has the error.
            del whole

    def _is_whole(self, upload: Upload, rest: bytes) -> bool:
        """Tell whether all of a body has come; what follows it stays. Raises RequestError where no more will come."""
        if upload.done:
            self.put_back(rest)
        elif self._ended:
            raise left_early()
        return upload.done

    def _read_on(self, upload: Upload) -> None:
        self.plane.uploading.add(self)
        self._wait_for_body(upload)
        self.resume()

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
        upload.has_come(self.plane.deadline(upload.answer_time))
        if self._in_bulk and self.transport is not None:
            self._in_bulk = False
            read_with(self.transport, self, reading=not self._paused)

    def _wait_for_body(self, upload: Upload) -> None:
        """Give the client its time for the next piece, during which the upstream has none to keep.

        Until the upstream has said that it wants the body, the time is the upstream's.
        """
        if upload.is_under_way() and not upload.expecting:
            upload.upstream_may_take(NEVER)
            self.deadline = self.plane.deadline(self.plane.limits.body_idle_time)
            error = RequestError(408, "a request body that did not arrive in time")
            self.on_expire = partial(upload.fail, error)

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

    # Flow

    def pause(self) -> None:
        """Read no more from the client for now; the time is then the upstream's, if it is slow to take a body."""
        self._paused = True
        upload = self.upload
        if upload is not None and upload.flows():
            upload.upstream_may_take(self.plane.deadline(upload.answer_time))
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
