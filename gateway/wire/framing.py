"""Bodies: how long one is, chunked coding in and out (RFC 9112 §6 and §7). Trailers and extensions end here."""

from __future__ import annotations

from typing import Final

from gateway.core.reasons import BAD_FRAMING
from gateway.wire.grammar import FIELD_VALUE, HEX_DIGITS, BadSyntax, consists_of, is_token

LAST_CHUNK: Final = b"0\r\n\r\n"
MAX_CHUNK_LINE: Final = 256
MAX_TRAILER_BYTES: Final = 8 * 1024
MAX_TRAILERS: Final = 50
MAX_SIZE_DIGITS: Final = 15


def chunk(data: bytes) -> bytes:
    """Return ``data``, which is not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class LengthBody:
    """A body of a known number of bytes."""

    __slots__ = ("remaining",)

    def __init__(self, length: int) -> None:
        self.remaining = length

    @property
    def done(self) -> bool:
        """Whether the body is complete."""
        return self.remaining == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the payload in ``data`` and what follows the body."""
        if len(data) <= self.remaining:
            self.remaining -= len(data)
            return data, b""
        payload, rest = data[: self.remaining], data[self.remaining :]
        self.remaining = 0
        return payload, rest


class ChunkedBody:
    """A decoder of the chunked coding. Strict: CRLF only, plain hexadecimal sizes, bounded lines."""

    __slots__ = ("_in_trailers", "_of_response", "_partial", "_remaining", "_trailer_bytes", "_trailers", "done")

    def __init__(self, *, of_response: bool = False) -> None:
        self.done = False
        self._of_response = of_response
        """Whether fields among the trailers may have white space before their colon (RFC 9112 §5.1)."""
        self._partial = b""
        # Bytes of the current chunk still to come, its CRLF included; 0 between chunks.
        self._remaining = 0
        self._in_trailers = False
        self._trailer_bytes = 0
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the payload in ``data`` and what follows the body. Raises BadSyntax."""
        if self._partial:
            data, self._partial = self._partial + data, b""
        pieces: list[bytes] = []
        at = 0
        size = len(data)
        while at < size and not self.done:
            if self._remaining:
                at = self._chunk_data(data, at, pieces)
            else:
                end = data.find(b"\n", at)
                if end < 0:
                    self._keep_partial(data[at:])
                    return b"".join(pieces), b""
                self._line(data[at : end + 1])
                at = end + 1
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), data[at:]

    def _chunk_data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take what ``data`` holds of the current chunk; return where it ends there."""
        payload = self._remaining - 2
        if payload > 0:
            piece = data[at : at + payload]
            pieces.append(piece)
            self._remaining -= len(piece)
            return at + len(piece)
        ending = data[at : at + self._remaining]
        if ending != b"\r\n"[2 - self._remaining :][: len(ending)]:
            raise BadSyntax("chunk data that does not end in CRLF", reason=BAD_FRAMING)
        self._remaining -= len(ending)
        return at + len(ending)

    def _keep_partial(self, rest: bytes) -> None:
        # One more than the limit: the CR of the line's end may be here already.
        if len(rest) > (MAX_TRAILER_BYTES if self._in_trailers else MAX_CHUNK_LINE) + 1:
            raise BadSyntax("a chunk line or trailer over the limit", 431 if self._in_trailers else 400, BAD_FRAMING)
        self._partial = rest

    def _line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n") or line.find(b"\r") != len(line) - 2:
            raise BadSyntax("a bare CR or LF in the chunked coding", reason=BAD_FRAMING)
        if self._in_trailers:
            self._trailer(line[:-2])
        else:
            self._size(line[:-2])

    def _size(self, line: bytes) -> None:
        size, semicolon, extension = line.partition(b";")
        if semicolon:
            size = size.rstrip(b" \t")
        if len(line) > MAX_CHUNK_LINE or not consists_of(extension, FIELD_VALUE):
            raise BadSyntax("a chunk extension that cannot be", reason=BAD_FRAMING)
        digits = size.lstrip(b"0") or b"0"
        if not size or not consists_of(size, HEX_DIGITS) or len(digits) > MAX_SIZE_DIGITS:
            raise BadSyntax("a chunk size that is none", reason=BAD_FRAMING)
        length = int(digits, 16)
        if length:
            self._remaining = length + 2
        else:
            self._in_trailers = True

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailers += 1
        self._trailer_bytes += len(line)
        if self._trailers > MAX_TRAILERS or self._trailer_bytes > MAX_TRAILER_BYTES:
            raise BadSyntax("trailers over the limit", 431, BAD_FRAMING)
        name, colon, value = line.partition(b":")
        if self._of_response:
            name = name.rstrip(b" \t")
        if not colon or not is_token(name) or not consists_of(value, FIELD_VALUE):
            raise BadSyntax("a trailer that is no field", reason=BAD_FRAMING)


class UntilClose:
    """A body that ends with the connection (RFC 9112 §6.3, rule 8); only an upstream may send one."""

    __slots__ = ()
    done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return everything."""
        return data, b""


Body = LengthBody | ChunkedBody | UntilClose
