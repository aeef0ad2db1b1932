"""The Authorization field of a request, and the challenges that ask for one (RFC 9110 §11, RFC 6750, RFC 7617)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.core.programs import BASIC
from gateway.core.step_up import StepUp
from gateway.wire.grammar import LETTERS, consists_of, only

REALM: Final = b'realm="gateway"'
TOKEN68: Final = only(LETTERS + b"0123456789-._~+/")


def split_authorization(value: bytes) -> tuple[str, bytes]:
    """Return the scheme in lower case, and what follows it.

    A tab counts as a space here, so that no odd spelling of a scheme hides from us what another reader may find.
    """
    words = value.split(None, 1)
    if not words:
        return "", b""
    return words[0].decode("latin-1").lower(), words[1] if len(words) > 1 else b""


def is_token68(value: bytes) -> bool:
    """Tell whether ``value`` is one credential, not a list or parameters (RFC 9110 §11.2)."""
    body = value.rstrip(b"=")
    return bool(body) and consists_of(body, TOKEN68)


def challenges(sources: Iterable[str]) -> tuple[bytes, ...]:
    """Return the WWW-Authenticate lines for what a route accepts, Bearer first."""
    found = set(sources)
    lines = []
    if found - {BASIC}:
        lines.append(b"WWW-Authenticate: Bearer " + REALM)
    if BASIC in found:
        lines.append(b"WWW-Authenticate: Basic " + REALM + b', charset="UTF-8"')
    return tuple(lines)


def bearer_error(lines: Iterable[bytes], error: bytes) -> tuple[bytes, ...]:
    """Return challenges whose Bearer says what was wrong with the token (RFC 6750 §3.1)."""
    more = b', error="' + error + b'"'
    return tuple(line + more if line.startswith(b"WWW-Authenticate: Bearer") else line for line in lines)


def step_up_error(lines: Iterable[bytes], step_up: StepUp) -> tuple[bytes, ...]:
    """Return the Bearer challenge that says which login a token must come from (RFC 9470 §3)."""
    bearer = (line for line in lines if line.startswith(b"WWW-Authenticate: Bearer"))
    more = b""
    if step_up.acr_values:
        more += b', acr_values="' + " ".join(step_up.acr_values).encode("ascii") + b'"'
    if step_up.max_age is not None:
        more += b', max_age="%d"' % int(step_up.max_age)
    return tuple(line + more for line in bearer_error(bearer, b"insufficient_user_authentication"))
