"""HTTP/1.1 messages as the tests see them: strict on purpose, and independent of the gateway's own parser.

What an upstream receives is held to RFC 9112 to the letter, so that anything the gateway emits
that two parties could read differently fails a test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Headers = list[tuple[str, str]]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-~\x80-\xff]+) (HTTP/1\.[01])")
_STATUS_LINE = re.compile(r"(HTTP/1\.[01]) ([0-9]{3}) ([\t -~\x80-\xff]*)")
_FIELD = re.compile(rf"({_TOKEN}):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class Malformed(AssertionError):
    """The peer sent something that is not the HTTP/1.1 of RFC 9112."""


class Truncated(AssertionError):
    """The peer closed in the middle of a message."""


@dataclass
class Request:
    """One request as an upstream received it."""

    connection: int
    method: str
    target: str
    version: str
    headers: Headers
    head: bytes
    """The head's bytes with their final empty line."""
    body: bytes = b""
    complete: bool = False

    def get_all(self, name: str) -> list[str]:
        """Return the values of every field called ``name``, in any case."""
        return get_all(self.headers, name)

    def get(self, name: str) -> str | None:
        """Return the one value of ``name``, or None; two are an error."""
        values = self.get_all(name)
        assert len(values) <= 1, f"{name} arrived {len(values)} times: {values}"
        return values[0] if values else None


@dataclass
class Answer:
    """One answer as a client received it."""

    version: str
    status: int
    reason: str
    headers: Headers
    head: bytes
    body: bytes = b""
    complete: bool = False
    interim: list[tuple[int, Headers]] = field(default_factory=list)
    """The 1xx answers that came before it."""

    def get_all(self, name: str) -> list[str]:
        """Return the values of every field called ``name``, in any case."""
        return get_all(self.headers, name)

    def get(self, name: str) -> str | None:
        """Return the one value of ``name``, or None; two are an error."""
        values = self.get_all(name)
        assert len(values) <= 1, f"{name} arrived {len(values)} times: {values}"
        return values[0] if values else None

    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()


def get_all(headers: Headers, name: str) -> list[str]:
    """Return the values of every field called ``name``, in any case."""
    return [value for key, value in headers if key.lower() == name.lower()]


def _fields(lines: list[str]) -> Headers:
    headers: Headers = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Malformed(f"header line {line!r}")
        headers.append((match[1], match[2]))
    return headers


def _lines(head: bytes) -> list[str]:
    text = head.decode("latin-1")
    if not text.endswith("\r\n\r\n"):
        raise Malformed(f"head without its empty line: {head[-40:]!r}")
    lines = text[:-4].split("\r\n")
    for line in lines:
        if "\r" in line or "\n" in line or "\0" in line:
            raise Malformed(f"bare CR, LF or NUL in {line!r}")
    return lines


def parse_request_head(head: bytes, connection: int = 0) -> Request:
    """Read a request head strictly. Raises Malformed."""
    first, *rest = _lines(head)
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise Malformed(f"request line {first!r}")
    request = Request(connection, match[1], match[2], match[3], _fields(rest), head)
    if len(request.get_all("Host")) != 1:
        raise Malformed(f"Host {request.get_all('Host')}")
    return request


def parse_answer_head(head: bytes) -> Answer:
    """Read an answer's head strictly. Raises Malformed."""
    first, *rest = _lines(head)
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise Malformed(f"status line {first!r}")
    return Answer(match[1], int(match[2]), match[3], _fields(rest), head)


def body_length(headers: Headers) -> int | str | None:
    """Return the body's length, ``chunked``, or None where no field says. Raises Malformed (RFC 9112 §6.3)."""
    lengths = get_all(headers, "Content-Length")
    codings = get_all(headers, "Transfer-Encoding")
    if lengths and codings:
        raise Malformed("Content-Length with Transfer-Encoding")
    if len(lengths) > 1 or (lengths and not re.fullmatch(r"[0-9]{1,18}", lengths[0])):
        raise Malformed(f"Content-Length {lengths}")
    if codings and codings != ["chunked"]:
        raise Malformed(f"Transfer-Encoding {codings}")
    if codings:
        return "chunked"
    return int(lengths[0]) if lengths else None


class ChunkedBody:
    """Decode a chunked body piece by piece, strictly: no extension, no bare LF; trailers are kept apart."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.trailers: list[bytes] = []
        self.done = False
        self._buffer = bytearray()
        self._missing: int | None = None

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return what follows the body once it is done. Raises Malformed."""
        self._buffer += data
        while not self.done and self._step():
            pass
        if not self.done:
            return b""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _step(self) -> bool:
        if self._missing is None:
            return self._size_line()
        if self._missing == 0:
            return self._trailer_line()
        if len(self._buffer) < self._missing + 2:
            return False
        if self._buffer[self._missing : self._missing + 2] != b"\r\n":
            raise Malformed(f"chunk data not followed by CRLF: {bytes(self._buffer[:80])!r}")
        self.data += self._buffer[: self._missing]
        del self._buffer[: self._missing + 2]
        self._missing = None
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _size_line(self) -> bool:
        line = self._line()
        if line is None:
            if len(self._buffer) > 100:
                raise Malformed(f"chunk size {bytes(self._buffer[:100])!r}")
            return False
        if not _CHUNK_SIZE.fullmatch(line):
            raise Malformed(f"chunk size {line!r}")
        self._missing = int(line, 16)
        return True

    def _trailer_line(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            self.trailers.append(line)
        else:
            self.done = True
        return True
