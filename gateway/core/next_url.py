"""The address to return to after a login: on this site or a configured host, else ``/``.

Judged as a browser would resolve it (WHATWG URL), not as Python's parsers do: those disagree about
backslashes, tabs and missing slashes, and each disagreement was an open redirect somewhere
(oauth2-proxy GHSA-qqxw-m5fj-f7gv, Authelia CVE-2021-29456, mod_auth_openidc CVE-2022-23527).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

# What may follow in a path, query or fragment: printable ASCII without backslash, quotes and brackets.
_LOCAL_PATH: Final = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?#\[\]|{}^`]|%[0-9A-Fa-f]{2})*")
_ABSOLUTE: Final = re.compile(r"(https?)://([A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/.*)?")
MAX_LENGTH: Final = 4096
MAX_ADDRESS: Final = 8000
"""An address in which it is quoted: what every server takes (RFC 9112 §3), and ours by default."""


def is_local_path(value: str) -> bool:
    """Tell whether ``value`` is a path on the same site for every browser and every parser."""
    if not _LOCAL_PATH.fullmatch(value):
        return False
    path = re.split(r"[?#]", value, maxsplit=1)[0]
    segments = path.split("/")
    # A second slash makes an authority; dot segments can leave one behind ("/..//host").
    if "" in segments[1:-1] or any(_is_dots(segment) for segment in segments):
        return False
    return "%" not in path or not re.search(r"%(?:2f|5c|0[0-9a-f]|1[0-9a-f]|25|7f)", path, re.IGNORECASE)


def _is_dots(segment: str) -> bool:
    return segment.lower().replace("%2e", ".").split(";", 1)[0] in (".", "..")


def safe_next(value: str, scheme: str, is_configured: Callable[[str], bool]) -> str:
    """Return ``value`` if it stays on this site or on a configured host, else ``/``.

    ``scheme`` is the one the gateway is reached by; an absolute URL must have the same one, so
    that a login never leads from https to http. ``is_configured`` takes a lower-case host name.
    """
    if not value or len(value) > MAX_LENGTH:
        return "/"
    if is_local_path(value):
        return value
    match = _ABSOLUTE.fullmatch(value)
    if match is None or match[1] != scheme or not is_configured(match[2].lower()):
        return "/"
    rest = match[4] or "/"
    return value if is_local_path(rest) else "/"


def way_back(target: str, fits: Callable[[str], bool]) -> str:
    """Return ``target``, or what ``fits`` of it: its path, which leads to the app at least, or else ``/``."""
    for way in (target, re.split(r"[?#]", target, maxsplit=1)[0]):
        if fits(way):
            return way
    return "/"
