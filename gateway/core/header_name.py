"""Header names as apps confuse them: one rule for what is stripped, dropped, reserved and compared."""

from __future__ import annotations

from typing import Final

_ALIASES: Final = bytes(
    byte if chr(byte).isascii() and chr(byte).isalnum() else ord("-") for byte in bytes(range(256)).lower()
)


def normalised(name: bytes) -> bytes:
    """Return a name as CGI and its kin would confuse it: lower case, ``-`` for all that is no letter and no digit.

    CGI, WSGI and PHP make ``_`` of ``-``, PHP of ``.``, and lighttpd's CGI of every such sign of a token
    (RFC 9110 §5.6.2), so that what differs only there is the same header to some app (oauth2-proxy
    CVE-2025-64484, Caddy CVE-2026-52845).
    """
    return name.translate(_ALIASES)


def normalised_text(name: str) -> str:
    """Return the same of a name as the configuration has it, which is ASCII."""
    return normalised(name.encode("ascii")).decode("ascii")
