"""What an upstream's response says about caches, and how it is kept out of shared ones (RFC 9111).

A response that sets the session's cookie must lie in no cache that several people share: a cache may keep the
Set-Cookie field with it, and hand it to the next one (RFC 9111 §7.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.wire.grammar import OWS
from gateway.wire.message import HeaderLine, MessageHead

SAYS: Final = 1
"""It says something about caching."""
CLOSED: Final = 2
"""No shared cache may store it (RFC 9111 §3: ``private`` or ``no-store``)."""
SHARED: Final = 4
"""It is meant for shared caches: ``public`` or ``s-maxage``."""
TARGETED: Final = 8
"""A field for some shared caches alone allows them to store it, whatever Cache-Control says (RFC 9213 §2.2)."""
PRIVATE: Final = b"Cache-Control: private"

_DECIDED_ANEW: Final = frozenset({b"public", b"s-maxage", b"proxy-revalidate", b"private"})
"""Directives that a response loses where it is made private: those for shared caches, and what it gets once."""


class CacheControlLine(HeaderLine):
    """Cache-Control of a response: forwarded as it is, and understood once."""

    __slots__ = ("caching", "line")

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, value)
        self.line = self.bytes()
        self.caching = SAYS | caching_of(value)

    def apply(self, head: MessageHead) -> None:
        """Forward it and note what it says."""
        head.lines.append(self.line)
        head.caching |= self.caching


class TargetedCacheLine(CacheControlLine):
    """A field that some shared caches heed in place of Cache-Control, as CDN-Cache-Control."""

    __slots__ = ()

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, value)
        # Caches that do not know the field go by Cache-Control, so it never closes a response by itself.
        self.caching = SAYS if self.caching & CLOSED else SAYS | TARGETED


class CachingLine(CacheControlLine):
    """Expires or Pragma: older ways to say something about caching."""

    __slots__ = ()

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, value)
        self.caching = SAYS


def is_closed(caching: int) -> bool:
    """Tell whether no shared cache may store a response that says this."""
    return caching & (CLOSED | TARGETED) == CLOSED


def is_for_shared(caching: int) -> bool:
    """Tell whether a response that says this is meant for shared caches."""
    return caching & (SHARED | TARGETED) != 0


def caching_of(value: bytes) -> int:
    """Return `CLOSED` and `SHARED` as the directives of a Cache-Control value have it (RFC 9111 §5.2.2)."""
    found: set[bytes] = set()
    for directive in directives(value):
        name, equals, _ = directive.partition(b"=")
        # ``private="Some-Field"`` keeps that field from shared caches, not the response.
        if not (equals and name.lower() == b"private"):
            found.add(name.strip(OWS).lower())
    # Whoever knows must-understand does not heed the no-store beside it (§5.2.2.3).
    closed = b"private" in found or (b"no-store" in found and b"must-understand" not in found)
    shared = b"public" in found or b"s-maxage" in found
    return (CLOSED if closed else 0) | (SHARED if shared else 0)


def directives(value: bytes) -> Iterator[bytes]:
    """Yield the directives of a Cache-Control value; a comma in quotes separates none."""
    piece = b""
    quoted = False
    for part in value.split(b","):
        piece = piece + b"," + part if quoted else part
        quoted = _ends_quoted(piece)
        if not quoted:
            yield piece.strip(OWS)
    if quoted:
        yield piece.strip(OWS)


def _ends_quoted(piece: bytes) -> bool:
    """Tell whether a quoted string is still open at the end."""
    quotes = piece.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"')
    return quotes % 2 == 1


def make_private(lines: list[bytes]) -> list[bytes]:
    """Return a response's header lines as no shared cache may store them; what else they say of caching stays."""
    kept: list[bytes] = []
    said: list[bytes] = [b"private"]
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"cache-control":
            said += [each for each in directives(value) if each.partition(b"=")[0].lower() not in _DECIDED_ANEW]
        elif name not in TARGETED_FIELDS:
            kept.append(line)
    return [*kept, b"Cache-Control: " + b", ".join(filter(None, said))]


TARGETED_FIELDS: Final = frozenset(
    {
        b"cdn-cache-control", b"surrogate-control", b"cloudflare-cdn-cache-control", b"vercel-cdn-cache-control",
        b"netlify-cdn-cache-control", b"akamai-cache-control", b"edge-control", b"x-litespeed-cache-control",
    }
)  # fmt: skip
"""RFC 9213's, and those of caches that have a name of their own for it; nginx' X-Accel-Expires is never passed on."""
CACHE_FIELDS: Final = TARGETED_FIELDS | {b"cache-control", b"expires", b"pragma"}
"""What is decided by these is what is sent: Connection cannot remove them from a response."""
