"""Judging the claims of an ID token whose signature holds, step by step as OIDC Core §3.1.3.7 numbers them."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256, sha384, sha512
from math import isfinite

from gateway.errors import LoginRefused, LoginTooWeak
from gateway.login.redirect import encoded

LEEWAY = 60.0
"""Seconds by which the provider's clock may differ from ours."""
MAX_SUBJECT = 255
_OTHER_KINDS = frozenset({"at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "token-introspection+jwt"})
"""Tokens for another use, which must not be taken for an ID token (RFC 8725 §3.11)."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token must say."""

    issuer: str
    client_id: str
    nonce: str | None
    """None where it need not say one."""
    now: float
    access_token: str = ""
    algorithm: str = ""
    """By which it is signed; its hash makes ``at_hash``."""
    acr_values: tuple[str, ...] = ()
    max_age: float | None = None


def check_kind(kind: str) -> None:
    """Refuse a token that says it is for another use."""
    if kind in _OTHER_KINDS:
        raise LoginRefused(f"a token of the kind {kind!r} in place of an ID token")


def check_id_token(claims: Mapping[str, object], expected: Expected) -> None:
    """Raise LoginRefused unless the claims are those of a login that was begun here just now."""
    check_issuer(claims, expected.issuer)
    check_audience(claims, expected.client_id)
    check_times(claims, expected.now)
    _check_nonce(claims, expected)
    subject_of(claims)
    _check_access_token(claims, expected)
    _check_strength(claims, expected)


def _check_nonce(claims: Mapping[str, object], expected: Expected) -> None:
    nonce = claims.get("nonce")
    if expected.nonce is None:
        return
    if not isinstance(nonce, str) or not _same(nonce, expected.nonce):
        raise LoginRefused("the ID token is of another login (nonce)")


def _same(told: str, right: str) -> bool:
    return hmac.compare_digest(told.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def check_issuer(claims: Mapping[str, object], issuer: str) -> None:
    """Check step 2: the issuer is exactly the provider's."""
    if not issuer or claims.get("iss") != issuer:
        raise LoginRefused(f"the token is of another issuer: {str(claims.get('iss'))[:200]!r}")


def check_audience(claims: Mapping[str, object], client_id: str) -> None:
    """Check steps 3 to 5: it is for us; where it is for others too, it was given to us."""
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in audiences:
        raise LoginRefused(f"the token is for another audience: {str(audience)[:200]!r}")
    party = claims.get("azp")
    if (party is not None or len(audiences) > 1) and party != client_id:
        raise LoginRefused(f"the token was given to another party (azp): {str(party)[:200]!r}")


def check_times(claims: Mapping[str, object], now: float) -> None:
    """Check steps 9 and 10: it is not over, and not from the future."""
    expires, issued = number(claims, "exp"), number(claims, "iat")
    if expires is None or issued is None:
        raise LoginRefused("the token does not say when it was issued and when it ends")
    if now >= expires + LEEWAY:
        raise LoginRefused(f"the token ended {now - expires:.0f} s ago")
    if issued > now + LEEWAY or (number(claims, "nbf") or 0.0) > now + LEEWAY:
        raise LoginRefused("the token is from the future")


def subject_of(claims: Mapping[str, object]) -> str:
    """Return who the token is about, by the provider's own unchanging name."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject or len(subject) > MAX_SUBJECT:
        raise LoginRefused("the token does not say whom it is about")
    return subject


def number(claims: Mapping[str, object], name: str) -> float | None:
    """Return a time, None where there is none. Raises LoginRefused for anything else under that name."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or abs(value) > 2**53:
        raise LoginRefused(f"{name} is not a time")
    return float(value)


def _check_access_token(claims: Mapping[str, object], expected: Expected) -> None:
    """Check that ID token and access token were made together, where it tells (OIDC Core §3.1.3.8)."""
    told = claims.get("at_hash")
    if told is None:
        return
    # EdDSA hashes with SHA-512 itself.
    hashes = {"256": sha256, "384": sha384}
    digest = hashes.get(expected.algorithm[-3:], sha512)(expected.access_token.encode()).digest()
    right = encoded(digest[: len(digest) // 2])
    if not isinstance(told, str) or not _same(told, right):
        raise LoginRefused("the access token is not the one of the ID token (at_hash)")


def _check_strength(claims: Mapping[str, object], expected: Expected) -> None:
    """Check steps 11 and 12: they logged in the way, and as lately, as was asked for."""
    if expected.acr_values and claims.get("acr") not in expected.acr_values:
        raise LoginTooWeak(f"the login was not made in the way that was asked for: {str(claims.get('acr'))[:100]!r}")
    at = number(claims, "auth_time")
    if expected.max_age is None:
        return
    if at is None or at > expected.now + LEEWAY or expected.now - at > expected.max_age + LEEWAY:
        raise LoginTooWeak("the login at the provider was made too long ago (auth_time)")
