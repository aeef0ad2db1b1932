"""What can be said of a request head that was refused: method, host and path, as far as they are there.

For the log alone, and read leniently: nothing is decided by it. No query, no user name or password of a URL,
no header but Host is shown; all of it is bounded, and its writer escapes it.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.wire.grammar import is_token

MAX_LINE: Final = 2048
MAX_SHOWN: Final = 256
MAX_METHOD: Final = 32
_HOST: Final = re.compile(rb"\n[ \t]*host[ \t]*:([^\r\n]*)", re.IGNORECASE)
_USER: Final = re.compile(rb"\A//[^/]*@")
_ABSOLUTE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)


def glimpse(head: bytes) -> tuple[str, str, str]:
    """Return method, host and path of what may be a request head; empty for what is not there."""
    line = re.split(rb"[\r\n]", head[:MAX_LINE].lstrip(b"\r\n"), maxsplit=1)[0]
    words = line.split()
    if not words or len(words[0]) > MAX_METHOD or not is_token(words[0]):
        # What is no method may be anything: another protocol, a secret, or a header line that came too early.
        return "", "", ""
    target = words[1] if len(words) > 1 else b""
    found = _HOST.search(head)
    host = found[1] if found else b""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        host, target = host or absolute[1], absolute[2] or b"/"
    path = re.split(rb"[?#]", target, maxsplit=1)[0] if target.startswith(b"/") else b""
    # Some take what follows two slashes for a host, with a user name and password before it.
    path = _USER.sub(b"//", path)
    return _shown(words[0]), _shown(re.split(rb"[/?#]", host.rpartition(b"@")[2].strip(), maxsplit=1)[0]), _shown(path)


def _shown(text: bytes) -> str:
    return text[:MAX_SHOWN].decode("utf-8", "replace")
