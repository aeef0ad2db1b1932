"""What a refreshed login must say, and what it changes (OIDC Core §12.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.core.claims import claim_at
from gateway.core.identity import Identity
from gateway.core.provider import Provider, ProviderSession
from gateway.errors import LoginDenied, LoginRefused
from gateway.login.oidc.id_token import check_issuer, number
from gateway.login.oidc.jws import seen_claims
from gateway.login.oidc.people import admitted

Claims = Mapping[str, object]


def nonce_again(claims: Claims, id_token: str) -> str | None:
    """Return the nonce that a refreshed ID token must have: that of the login, if it says one at all."""
    if "nonce" not in claims or not id_token:
        return None
    try:
        nonce = seen_claims(id_token).get("nonce")
    except LoginRefused:
        return None
    return nonce if isinstance(nonce, str) else None


def acr_again(provider: Provider, session: ProviderSession, claims: Claims) -> tuple[str, ...]:
    """Return the ways to have logged in that are accepted, none where it matters not or the token says nothing new."""
    if not provider.acr_values or claims.get("acr") is None:
        return ()
    return (*provider.acr_values, session.acr)


def check_same(session: ProviderSession, claims: Claims) -> None:
    """Require that an ID token is about the login's own person.

    Raises LoginRefused for another issuer, LoginDenied for another subject.
    """
    check_issuer(claims, session.issuer)
    if claims.get("sub") != session.subject:
        raise LoginDenied("the refreshed ID token is about somebody else (sub)")


def identity_again(provider: Provider, before: Identity, claims: Claims, more: Claims) -> Identity:
    """Return who somebody is now, by the claims of an ID token and of the userinfo endpoint; both may be empty.

    Raises LoginDenied where that is nobody we let in any more, or somebody else.
    """
    path = provider.claims.user
    if claim_at(claims, path) is None and claim_at(more, path) is None:
        # The provider stands by the login, and tells nothing about the person: nothing new is known.
        return before
    after = admitted(provider, {"sub": more.get("sub", ""), **claims}, more)
    if after.user != before.user:
        raise LoginDenied(f"the provider names {before.user!r} {after.user!r} now")
    return after


def session_again(
    before: ProviderSession, claims: Claims, access_expires: float | None, refresh_at: float | None
) -> ProviderSession:
    """Return what remains of the login now; what the token does not say is as it was.

    When somebody logged in stays what it was even where the token says otherwise: nobody has since (§12.2).
    """
    sid, acr, auth_time = claims.get("sid"), claims.get("acr"), number(claims, "auth_time")
    return replace(
        before,
        sid=sid if isinstance(sid, str) and sid else before.sid,
        acr=acr if isinstance(acr, str) else before.acr,
        auth_time=auth_time if before.auth_time is None else before.auth_time,
        access_expires=access_expires,
        refresh_at=refresh_at,
    )
