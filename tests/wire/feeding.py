"""Feeding heads to the parser as a client's connection does it: whole, in pieces, with more behind them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.core.limits import Limits
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import RequestHead, RequestParser, find_head_end
from gateway.wire.message import HeaderLine

LIMITS = Limits()


@dataclass(frozen=True)
class Refused:
    """What became of bytes that are no head."""

    status: int


@dataclass(frozen=True)
class Accepted:
    """A head as values that can be compared, and the bytes behind it."""

    facts: dict[str, object]
    rest: bytes


Outcome = Refused | Accepted | None


def parser() -> RequestParser:
    """Return a parser with default limits and without a memory of lines."""
    return RequestParser(LIMITS, frozenset())


def parse(text: bytes) -> RequestHead:
    """Return the head of a whole request."""
    return parser().parse(text.removesuffix(b"\r\n\r\n"))


def request(*lines: str, first: str = "GET / HTTP/1.1", host: str | None = "Host: a") -> bytes:
    """Return a request of a first line, a Host and further lines."""
    return "\r\n".join([first, *([host] if host is not None else []), *lines, "", ""]).encode("latin-1")


def pieces(data: bytes, size: int = 1) -> list[bytes]:
    """Cut data into pieces of ``size`` bytes."""
    return [data[i : i + size] for i in range(0, len(data), size)]


def outcome(fed: Iterable[bytes], using: RequestParser | None = None) -> Outcome:
    """Return what becomes of the first head in bytes that arrive in pieces; None if it is not complete."""
    using = using or parser()
    buffer = b""
    waiting = list(fed)
    while waiting:
        buffer += waiting.pop(0)
        try:
            end = find_head_end(buffer, LIMITS)
            if end >= 0:
                head = using.parse(buffer[:end])
                return Accepted(facts(head), buffer[end + 4 :] + b"".join(waiting))
        except BadSyntax as error:
            return Refused(error.status)
    return None


def facts(head: RequestHead) -> dict[str, object]:
    """Return everything that a head says."""
    names = [name for kind in type(head).__mro__ for name in getattr(kind, "__annotations__", {})]
    names += ["close", "chunked", "version", "has_date", "content_type", "unusual", "method", "target", "path", "lines"]
    names += ["encoded_slash"]
    return {name: _plain(getattr(head, name)) for name in names}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return tuple((item.name, item.value) if isinstance(item, HeaderLine) else item for item in value)
    return list(value) if isinstance(value, list) else value
