"""Judging logout tokens, by which a provider says that a login is over (OIDC Back-Channel Logout 1.0 §2.6)."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import LoginRefused
from gateway.login.oidc.id_token import LEEWAY, check_audience, check_issuer, check_times, number
from gateway.login.redirect import LogoutToken

EVENT = "http://schemas.openid.net/event/backchannel-logout"
KINDS = frozenset({"logout+jwt", "jwt", ""})
MAX_AGE = 600.0
"""Seconds; one that was issued longer ago is a replay, whatever it says about its end."""
MAX_ID = 512


def check_logout_token(kind: str, claims: Mapping[str, object], issuer: str, client_id: str, now: float) -> LogoutToken:
    """Return what a token whose signature holds ends. Raises LoginRefused unless it is sound."""
    if kind not in KINDS:
        raise LoginRefused(f"a token of the kind {kind!r} in place of a logout token")
    check_issuer(claims, issuer)
    check_audience(claims, client_id)
    check_times(claims, now)
    issued = number(claims, "iat") or 0.0
    if now - issued > MAX_AGE + LEEWAY:
        raise LoginRefused("the logout token was issued too long ago")
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping):
        raise LoginRefused("not a logout token (events)")
    if "nonce" in claims:
        # So that no ID token is taken for one (§2.4).
        raise LoginRefused("a logout token with a nonce")
    found = LogoutToken(issuer, _id(claims, "sub"), _id(claims, "sid"), _id(claims, "jti"), issued + MAX_AGE + LEEWAY)
    if not found.id or not (found.subject or found.sid):
        raise LoginRefused("a logout token that does not say which (jti), or whom")
    return found


def _id(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not value or len(value) > MAX_ID:
        raise LoginRefused(f"a logout token with an odd {name}")
    return value
