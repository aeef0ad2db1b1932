"""Logging out at the provider where a session began (OIDC RP-Initiated Logout 1.0), and coming back."""

from __future__ import annotations

import logging

from aiohttp import web

from gateway.control.answers import page, redirect
from gateway.control.facts import host_of, scheme_of
from gateway.control.give_back import GivingBack
from gateway.control.login_views import SIGNED_OUT
from gateway.control.oidc_views import login_of
from gateway.control.pages import ContinuePage
from gateway.control.site import SITE
from gateway.core.own_pages import LOGIN_PATH, OIDC_PATH
from gateway.core.provider import ProviderTokens
from gateway.core.session import Session
from gateway.errors import BadToken, StoreUnavailable

PURPOSE = "signed out"
MAX_STATE = 1500
"""Characters of the address to come back to; a longer one is the login page."""
GIVING_BACK = web.AppKey("giving_back", GivingBack)
_log = logging.getLogger("gateway.control")


async def leave_provider(request: web.Request, session: Session | None, signed_out: str) -> web.Response | None:
    """Return what leads a browser out of its provider as well and back to ``signed_out``; None where nothing does."""
    parts = request.app[SITE].parts
    remains = session.login if session is not None else None
    login = parts.providers.get(remains.provider) if remains is not None else None
    if session is None or login is None or remains is None:
        return None
    tokens = await _taken(request, session)
    request.app[GIVING_BACK].give_back(login, tokens)
    return_to = request.app[SITE].on_public_url(f"{OIDC_PATH}/{login.provider.id}/signed-out")
    there = login.end_session_url(remains, tokens, return_to, _state(request, signed_out))
    if there is None:
        return None
    # Not a redirect: Chromium holds that of a form against form-action, and providers redirect to where they like.
    return page(ContinuePage(host_of(request), there, title="Signing you out").render())


async def _taken(request: web.Request, session: Session) -> ProviderTokens:
    """Take the tokens of a session out of the vault; none where that fails, for a logout waits for nobody.

    A refresh under way finds them gone then, and gives back what it gets.
    """
    vault = request.app[SITE].parts.vault
    kept = None
    if vault is not None:
        try:
            kept = await vault.drop(session)
        except StoreUnavailable as error:
            _log.warning("the tokens of a session that ends stay where they are: %s", error)
    return kept.tokens if kept is not None else ProviderTokens()


def _state(request: web.Request, signed_out: str) -> str:
    """Return the address to come back to, sealed: what a provider or an address says leads nowhere else."""
    keys = request.app[SITE].parts.pending_keys
    if signed_out.startswith("/"):
        signed_out = f"{scheme_of(request)}://{host_of(request)}{signed_out}"
    if keys is None or len(signed_out) > MAX_STATE:
        return ""
    return keys.seal(PURPOSE, signed_out.encode("utf-8", "replace"))


async def settle(app: web.Application) -> None:
    """Let what is on its way arrive, for a moment, when the application ends."""
    await app[GIVING_BACK].settle()


async def signed_out(request: web.Request) -> web.Response:
    """Take the browser back from the provider, to where the logout began."""
    site = request.app[SITE]
    login_of(request)
    if not site.is_public_host(request):
        raise web.HTTPNotFound
    default = f"{LOGIN_PATH}?{SIGNED_OUT}=1"
    try:
        kept = site.parts.pending_keys.open(PURPOSE, request.query.get("state", "")) if site.parts.pending_keys else b""
    except BadToken:
        return redirect(default)
    location = site.next_url(request, kept.decode("utf-8", "replace"))
    return redirect(location if SIGNED_OUT in location else default)
