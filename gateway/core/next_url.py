"""The address to return to after a login: on this site or a configured host, else ``/``.

Judged as a browser would resolve it (WHATWG URL), not as Python's parsers do: those disagree about
backslashes, tabs and missing slashes, and each disagreement was an open redirect somewhere
(oauth2-proxy GHSA-qqxw-m5fj-f7gv, Authelia CVE-2021-29456, mod_auth_openidc CVE-2022-23527).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

# One slash, and no second one or backslash, which would make an authority; printable ASCII, for it goes into a header.
_PATH: Final = re.compile(r"/(?![/\\])(?:[!\"$&->@-\[\]-~]|%[0-9A-Fa-f]{2})*")
_REST: Final = re.compile(r"(?:\?[!\"$-~]*)?(?:#[!-~]*)?")
"""Query and fragment, which may hold anything: a browser that has come to them has left authority and path behind."""
_QUESTIONABLE: Final = re.compile(r"//|%(?:2f|5c|0[0-9a-f]|1[0-9a-f]|25|7f)", re.IGNORECASE)
"""What a path is refused for on some routes, and served with on others."""
_ABSOLUTE: Final = re.compile(r"(https?)://([A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/.*)?")
_END_OF_PATH: Final = re.compile(r"[?#]")
MAX_LENGTH: Final = 4096
MAX_ADDRESS: Final = 8000
"""An address in which it is quoted: what every server takes (RFC 9112 §3), and ours by default."""

Serves = Callable[[str, str], bool]
"""Tells whether a target is served on a lower-case host, rather than refused for what else it could be read as."""


def is_local_path(value: str) -> bool:
    """Tell whether ``value`` is a path on the same site for every browser, and stays what it is there."""
    path = _END_OF_PATH.split(value, maxsplit=1)[0]
    if not _PATH.fullmatch(path) or not _REST.fullmatch(value[len(path) :]):
        return False
    # Dot segments can leave an authority behind ("/..//host").
    return not any(_is_dots(segment) for segment in path.split("/"))


def _is_dots(segment: str) -> bool:
    return segment.lower().replace("%2e", ".").split(";", 1)[0] in (".", "..")


def safe_next(value: str, scheme: str, host: str, is_configured: Callable[[str], bool], serves: Serves) -> str:
    """Return ``value`` if it stays on this site or on a configured host, and is served there, else ``/``.

    ``scheme`` and ``host`` are those the gateway is reached by; an absolute URL must have the same scheme, so
    that a login never leads from https to http. ``is_configured`` takes a lower-case host name.
    """
    if not value or len(value) > MAX_LENGTH:
        return "/"
    here = value
    if not value.startswith("/"):
        match = _ABSOLUTE.fullmatch(value)
        if match is None or match[1] != scheme or not is_configured(match[2].lower()):
            return "/"
        host, here = match[2].lower(), match[4] or "/"
    if not is_local_path(here):
        return "/"
    if _QUESTIONABLE.search(_END_OF_PATH.split(here, maxsplit=1)[0]) and not serves(host, here.partition("#")[0]):
        return "/"
    return value


def way_back(target: str, fits: Callable[[str], bool]) -> str:
    """Return ``target``, or what ``fits`` of it: its path, which leads to the app at least, or else ``/``."""
    for way in (target, re.split(r"[?#]", target, maxsplit=1)[0]):
        if fits(way):
            return way
    return "/"
