"""The request target: forwarded untouched; the path that routes and rules see is derived from it once.

A target that two parties could read differently is refused, or, where apps need such paths, must
lead to the same route and rule under every reading (see `Target.readings`). Sources: RFC 3986 §6,
RFC 9112 §3.2; oathkeeper CVE-2026-33494, traefik CVE-2025-66490, oauth2-proxy CVE-2026-41059.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from gateway.wire.grammar import LETTERS, BadSyntax, consists_of, only

_SIMPLE: Final = LETTERS + b"0123456789-_~!$&'()*+,=:@./"
_SIMPLE_PATH: Final = only(_SIMPLE)
_SIMPLE_TARGET: Final = only(_SIMPLE + b"?")
"""A path and a query of the same characters: checked in one go."""
_PATH: Final = only(_SIMPLE + b'%;[]^`{|}"<>')
_QUERY: Final = only(bytes(range(0x21, 0x7F)).replace(b"#", b""))

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL_ESCAPE: Final = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff])")
_SECOND_ESCAPE: Final = re.compile(r"%(?:2[EeFf5]|5[Cc]|[01][0-9A-Fa-f]|7[Ff]|[uU])")
_ENCODED_SLASH: Final = re.compile(rb"%(?:2[Ff]|5[Cc])")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_SLASHES: Final = re.compile(r"/{2,}")
_PARAMETERS: Final = re.compile(r";[^/]*")
_END_OF_NAME: Final = re.compile(r"[;?#]")
"""Where a segment's name ends for those who decode before they take a path apart."""
_OVERLOOKED: Final = (0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
"""Signs that are not to be seen, and that some file systems leave out of names (CVE-2014-9390)."""
_BEST_FIT: Final[Mapping[int, str | None]] = {
    **dict.fromkeys(_OVERLOOKED),
    **dict.fromkeys((0x2044, 0x2215, 0x2216, 0xA5, 0x20A9), "/"),
    0x3002: ".",
}
"""What Windows puts in place of signs that its code page lacks, or has where others have a backslash."""


class Target:
    """A target that was checked."""

    __slots__ = ("encoded_slash", "path", "readings")

    def __init__(self, path: str, readings: tuple[str, ...] = (), *, encoded_slash: bool = False) -> None:
        self.path = path
        """The decoded path, without the query."""
        self.readings = readings
        """Other paths that an upstream may understand; all must lead to the same route and rule."""
        self.encoded_slash = encoded_slash


def simple_path(target: bytes) -> str:
    """Return the path of a target that starts with ``/`` and has one reading only, as nearly all; else ``""``."""
    path, _, query = target.partition(b"?")
    if not consists_of(target, _SIMPLE_TARGET) and not (consists_of(path, _SIMPLE_PATH) and consists_of(query, _QUERY)):
        return ""
    # Not "in": on bytes it first tries its operand as a number, for 1 600 instructions.
    if path.find(b"//") >= 0 or (path.find(b".") >= 0 and _has_odd_dot(path)):
        return ""
    return path.decode("ascii")


def _has_odd_dot(path: bytes) -> bool:
    """Tell whether a segment begins or ends with a dot."""
    return path.find(b"/.") >= 0 or path.find(b"./") >= 0 or path.endswith(b".")


def parse_target(target: bytes) -> Target:
    """Check an origin-form target. Raises BadSyntax where it can be read in two ways."""
    path, mark, query = target.partition(b"?")
    if mark and not consists_of(query, _QUERY):
        raise BadSyntax("a character in the query that must be encoded")
    if not path.startswith(b"/"):
        raise BadSyntax("a target that is no path")
    if not consists_of(path, _PATH):
        raise BadSyntax("a character in the path that must be encoded")
    if _BAD_ESCAPE.search(path) or _CONTROL_ESCAPE.search(path):
        raise BadSyntax("an escape in the path that can be read in two ways")
    encoded_slash = _ENCODED_SLASH.search(path) is not None
    full = _decode(path)
    # Under the plain reading an encoded slash is part of its segment.
    plain = _decode(_ENCODED_SLASH.sub(lambda match: b"%25" + match[0][1:], path)) if encoded_slash else full
    lenient = _lenient(full)
    if _SECOND_ESCAPE.search(full) or _SECOND_ESCAPE.search(lenient):
        raise BadSyntax("an escape in the path that is escaped again")
    for segment in lenient.split("/"):
        bare = _END_OF_NAME.split(segment, maxsplit=1)[0]
        if bare.strip(". ") == "" != bare:
            raise BadSyntax("a dot segment in the path")
    readings = {plain, full, lenient}
    if "%" in full:
        again = _decode_again(full)
        readings |= {again, _lenient(again)}
    # Some decode before they cut query and fragment off (CVE-2024-38475).
    readings |= {re.split(r"[?#]", reading, maxsplit=1)[0] for reading in readings}
    readings |= {_PARAMETERS.sub("", reading) for reading in readings}
    readings |= {_without_last_dots(reading) for reading in readings}
    readings |= {_SLASHES.sub("/", reading) for reading in readings}
    readings.discard(plain)
    return Target(plain, tuple(sorted(readings)), encoded_slash=encoded_slash)


def _decode(path: bytes) -> str:
    decoded = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), path)
    try:
        return decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("a path that is not UTF-8") from None


def _lenient(path: str) -> str:
    """Return what a lenient server could make of a path: backslashes are slashes, full-width signs plain ones."""
    return unicodedata.normalize("NFKC", path).translate(_BEST_FIT).replace("\\", "/")


def _without_last_dots(path: str) -> str:
    """Return a path without what Windows leaves out at the end of each name."""
    return "/".join(segment.rstrip(". ") for segment in path.split("/"))


def _decode_again(text: str) -> str:
    """Return what a server that decodes twice would make of it; bytes that are no text become U+FFFD."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8")).decode("utf-8", "replace")


def split_absolute(target: bytes) -> tuple[bytes, bytes]:
    """Split an absolute-form target into authority and origin-form (RFC 9112 §3.2.2)."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        raise BadSyntax("a target that is neither a path nor an http URL")
    end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
    authority, origin = rest[:end], rest[end:]
    return authority, origin if origin.startswith(b"/") else b"/" + origin


def without_prefix(target: bytes, prefix: str) -> bytes:
    """Return the target with a route's prefix removed: as many segments as the prefix has."""
    path, mark, query = target.partition(b"?")
    count = prefix.rstrip("/").count("/")
    rest = path.split(b"/", count + 1)[count + 1 :]
    # Never "//": an upstream's redirect to it would leave the site.
    return b"/" + b"".join(rest).lstrip(b"/") + mark + query
