"""The request target: forwarded untouched; the path that routes and rules see is derived from it once.

A target that two parties could read differently is refused, or, where apps need such paths, must
lead to the same route and rule under every reading (see `Target.readings`). Sources: RFC 3986 §6,
RFC 9112 §3.2; oathkeeper CVE-2026-33494, traefik CVE-2025-66490, oauth2-proxy CVE-2026-41059.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.core.reasons import BAD_PATH, PATH_AMBIGUOUS
from gateway.wire.grammar import LETTERS, BadSyntax, consists_of, only

_SIMPLE: Final = LETTERS + b"0123456789-_~!$&'()*+,=:@./"
_SIMPLE_PATH: Final = only(_SIMPLE)
_SIMPLE_TARGET: Final = only(_SIMPLE + b"?")
"""A path and a query of the same characters: checked in one go."""
_PATH: Final = only(_SIMPLE + b'%;[]^`{|}"<>')
_QUERY: Final = only(bytes(range(0x21, 0x7F)).replace(b"#", b""))

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL_ESCAPE: Final = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff])")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_WIDE_ESCAPE: Final = re.compile(r"%[uU]([0-9A-Fa-f]{4})")
"""The escape of IIS and of JavaScript's ``escape``."""
_OVERLONG: Final = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
"""UTF-8 in more bytes than it takes, as old decoders read it: ``C0 AE`` is a dot to them."""
_ENCODED_SLASH: Final = re.compile(rb"%(2[Ff]|5[Cc])")
_SLASHES: Final = re.compile(r"/{2,}")
_PARAMETERS: Final = re.compile(r";[^/]*")
_DOTS: Final = re.compile(r"/[. ]+(?:[/;?#]|\Z)")
"""A name of dots alone, which ends at ``;?#`` for those who decode before they take a path apart."""
_QUERY_OR_FRAGMENT: Final = re.compile(r"[?#]")
_OVERLOOKED: Final = (
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010)),
    *(*range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0),
    *(*range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
)
"""Signs that are not to be seen (Unicode's Default_Ignorable_Code_Point).

File systems that disregard case leave them out of names: HFS+ (CVE-2014-9390), ext4 and f2fs.
"""
_BEST_FIT: Final[Mapping[int, str | None]] = {
    **dict.fromkeys(_OVERLOOKED),
    **dict.fromkeys((0x2044, 0x2215, 0x2216, 0xA5, 0x20A9), "/"),
    0x3002: ".",
}
"""What Windows puts in place of signs that its code page lacks, or has where others have a backslash."""
_TO_FIT: Final = re.compile("[" + "".join(map(chr, sorted(_BEST_FIT)[:-0x1000])) + "\U000e0000-\U000e0fff]")
"""With the tags as a range: one by one they would be compared with every character."""

MAX_GROWTH: Final = 4
"""How many times longer normalising may make a path; U+FDFA alone becomes 18 characters."""
FREE_GROWTH: Final = 256
"""Characters that a short path may grow to in any case."""
MAX_MARKS: Final = 30
"""Combining marks in a row (UAX #15 §13, Stream-Safe Text): to sort n of them takes n² steps."""
MAX_READINGS: Final = 32
MAX_READ: Final = 32768
"""Characters of all readings together. Beyond, a path is refused: some of 8 KiB took 10 ms, and all others waited."""


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
        raise BadSyntax("a character in the query that must be encoded", reason=BAD_PATH)
    if not path.startswith(b"/"):
        raise BadSyntax("a target that is no path", reason=BAD_PATH)
    if not consists_of(path, _PATH):
        raise BadSyntax("a character in the path that must be encoded", reason=BAD_PATH)
    if _BAD_ESCAPE.search(path) or _CONTROL_ESCAPE.search(path):
        raise BadSyntax("an escape in the path that can be read in two ways", reason=PATH_AMBIGUOUS)
    encoded_slash = _ENCODED_SLASH.search(path) is not None
    full = _decode(path)
    # Under the plain reading an encoded slash is part of its segment.
    plain = _decode(_ENCODED_SLASH.sub(rb"%25\1", path)) if encoded_slash else full
    readings = _of_all_depths(full)
    readings.add(plain)
    for variant in _VARIANTS:
        readings |= {variant(reading) for reading in readings}
        _check_number(readings)
    readings.discard(plain)
    return Target(plain, tuple(sorted(readings)), encoded_slash=encoded_slash)


def _of_all_depths(path: str) -> set[str]:
    """Return a decoded path as it is and as lenient servers take it, decoded again and again until nothing changes.

    Raises BadSyntax for dot segments and control characters that come to light at any depth.
    """
    found: set[str] = set()
    waiting = [path]
    while waiting:
        text = waiting.pop()
        lenient = _lenient(text)
        if _DOTS.search(lenient):
            raise BadSyntax("a dot segment in the path", reason=PATH_AMBIGUOUS)
        for form in (text, lenient):
            if form not in found:
                found.add(form)
                if "%" in form:
                    waiting += _decoded_again(form)
        _check_number(found)
    return found


def _check_number(readings: set[str]) -> None:
    """Refuse a path whose readings would take long to judge."""
    if len(readings) > MAX_READINGS or sum(map(len, readings)) > MAX_READ:
        raise BadSyntax("a path that can be read in too many ways", reason=PATH_AMBIGUOUS)


def _decoded_again(text: str) -> list[str]:
    """Return what a decoded path becomes where it is decoded once more, by IIS' escapes as well as without them."""
    texts = [_with_escapes(text)]
    if _WIDE_ESCAPE.search(text):
        pieces = _WIDE_ESCAPE.split(text)
        for i in range(len(pieces)):
            pieces[i] = chr(int(pieces[i], 16)) if i % 2 else _with_escapes(pieces[i])
        wide = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        texts.append(wide)
    for decoded in texts:
        if _CONTROL.search(decoded):
            raise BadSyntax("a control character in the path that is escaped again", reason=PATH_AMBIGUOUS)
    return texts


def _with_escapes(text: str) -> str:
    """Return a text with its escapes decoded; bytes that are no text become U+FFFD."""
    data = unquote_to_bytes(text)
    if _OVERLONG.search(data):
        raise BadSyntax("an escape in the path that can be read in two ways", reason=PATH_AMBIGUOUS)
    return data.decode("utf-8", "replace")


def _decode(path: bytes) -> str:
    try:
        # Broken escapes, which it leaves as they are, have been refused.
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("a path that is not UTF-8", reason=BAD_PATH) from None


def _lenient(path: str) -> str:
    """Return what a lenient server could make of a path: backslashes are slashes, full-width signs plain ones."""
    if not path.isascii():
        _check_growth(path)
        path = unicodedata.normalize("NFKC", path)
        if _TO_FIT.search(path):
            path = path.translate(_BEST_FIT)
    return path.replace("\\", "/")


def _check_growth(path: str) -> None:
    """Refuse what is long or slow to normalise, before it is."""
    length = marks = 0
    for character in path:
        if character < "\x80":
            length += 1
            marks = 0
            continue
        length += len(unicodedata.normalize("NFKC", character))
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > MAX_MARKS:
            raise BadSyntax("a path with too many marks on one character", reason=PATH_AMBIGUOUS)
    if length > max(MAX_GROWTH * len(path), FREE_GROWTH):
        raise BadSyntax("a path that grows too much when it is normalised", reason=PATH_AMBIGUOUS)


def _without_query(path: str) -> str:
    """Return what those make of a path who decode before they cut query and fragment off (CVE-2024-38475)."""
    return _QUERY_OR_FRAGMENT.split(path, maxsplit=1)[0]


def _without_parameters(path: str) -> str:
    return _PARAMETERS.sub("", path)


def _without_last_dots(path: str) -> str:
    """Return a path without what Windows leaves out at the end of each name."""
    return "/".join([segment.rstrip(". ") for segment in path.split("/")])


def _without_empty_names(path: str) -> str:
    return _SLASHES.sub("/", path)


_VARIANTS: Final[tuple[Callable[[str], str], ...]] = (
    _without_query,
    _without_parameters,
    _without_last_dots,
    _without_empty_names,
)
"""What servers leave out of a path, in the order in which one thing may uncover another."""


def split_absolute(target: bytes) -> tuple[bytes, bytes]:
    """Split an absolute-form target into authority and origin-form (RFC 9112 §3.2.2)."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        raise BadSyntax("a target that is neither a path nor an http URL", reason=BAD_PATH)
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
