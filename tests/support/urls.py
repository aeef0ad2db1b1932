"""Where a browser would go: the parts of the WHATWG URL rules that redirects are attacked with."""

from __future__ import annotations

import re

_SPECIAL = ("http", "https", "ws", "wss", "ftp", "file")
_AUTHORITY = re.compile(r"([^/?#]*)")


def resolve_origin(location: str, base: str) -> str | None:
    """Return the origin to which ``location`` leads from ``base`` (``scheme://authority``), or None for none.

    As a browser does it: tabs and line ends vanish, controls and spaces around are cut, a backslash is
    a slash, slashes after the scheme may be missing or too many, and what precedes the last ``@`` of
    an authority is user information.
    """
    text = re.sub(r"[\t\n\r]", "", location).strip("".join(map(chr, range(0x21))))
    base_scheme, _, base_authority = base.partition("://")
    match = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*):", text)
    scheme = match[1].lower() if match else base_scheme
    if match:
        text = text[match.end() :]
        if scheme not in _SPECIAL:
            return None
    path, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    text = path.replace("\\", "/") + mark + rest
    if (match and scheme != base_scheme) or text.startswith("//"):
        authority = text.lstrip("/")
    else:
        return f"{base_scheme}://{base_authority}"
    host = _AUTHORITY.match(authority)
    return f"{scheme}://{(host[1] if host else '').rpartition('@')[2].lower()}"


def stays_on(location: str, base: str) -> bool:
    """Tell whether ``location`` leads to the origin ``base``; a path must not need that much trust.

    A path of two slashes, or of a slash and a backslash, is refused even where it would resolve well.
    """
    if location[:2] in ("//", "/\\"):
        return False
    return not re.search(r"[\x00-\x20\x7f]", location) and resolve_origin(location, base) == base.lower()
