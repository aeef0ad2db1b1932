"""The request target: forwarded untouched; the path that routes and rules see is derived from it once.

A target that two parties could read differently is refused, or, where apps need such paths, must
lead to the same route and rule under every reading (see `Target.readings`). Sources: RFC 3986 §6,
RFC 9112 §3.2; oathkeeper CVE-2026-33494, traefik CVE-2025-66490, oauth2-proxy CVE-2026-41059.
"""

from __future__ import annotations

import re
import unicodedata

from gateway.wire.grammar import LETTERS, BadSyntax, consists_of, only

_SIMPLE = LETTERS + b"0123456789-_~!$&'()*+,=:@./"
_SIMPLE_PATH = only(_SIMPLE)
_SIMPLE_TARGET = only(_SIMPLE + b"?")
"""A path and a query of the same characters: checked in one go."""
_PATH = only(_SIMPLE + b'%;[]^`{|}"<>')
_QUERY = only(bytes(range(0x21, 0x7F)).replace(b"#", b""))

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL_ESCAPE = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff])")
_SECOND_ESCAPE = re.compile(r"%(?:2[EeFf5]|5[Cc]|[01][0-9A-Fa-f]|7[Ff]|[uU])")
_ENCODED_SLASH = re.compile(rb"%(?:2[Ff]|5[Cc])")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_SLASHES = re.compile(r"/{2,}")
_PARAMETERS = re.compile(r";[^/]*")


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
    if path.find(b"//") >= 0 or path.find(b"/.") >= 0:
        return ""
    return path.decode("ascii")


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
    # What a lenient server could make of it: backslashes as slashes, full-width signs as plain ones.
    lenient = unicodedata.normalize("NFKC", full).replace("\\", "/")
    if _SECOND_ESCAPE.search(full) or _SECOND_ESCAPE.search(lenient):
        raise BadSyntax("an escape in the path that is escaped again")
    for segment in lenient.split("/"):
        bare = segment.split(";", 1)[0]
        if bare.strip(". ") == "" != bare:
            raise BadSyntax("a dot segment in the path")
    readings = {plain, full, lenient}
    if "%" in full:
        readings.add(_decode_again(full))
    # Some decode before they cut query and fragment off (CVE-2024-38475).
    readings |= {re.split(r"[?#]", reading, maxsplit=1)[0] for reading in readings}
    readings |= {_PARAMETERS.sub("", reading) for reading in readings}
    readings |= {_SLASHES.sub("/", reading) for reading in readings}
    readings.discard(plain)
    return Target(plain, tuple(sorted(readings)), encoded_slash=encoded_slash)


def _decode(path: bytes) -> str:
    decoded = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), path)
    try:
        return decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("a path that is not UTF-8") from None


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
