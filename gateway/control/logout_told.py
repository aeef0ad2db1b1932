"""Being told by a provider that a login is over: to our face (back channel), or through the browser (front channel)."""

from __future__ import annotations

import logging
from contextlib import suppress

from aiohttp import hdrs, web

from gateway.control.answers import because, problem
from gateway.control.facts import audit_event
from gateway.control.form import read_form
from gateway.control.middleware import AUDIT, RETRY_SECONDS
from gateway.control.oidc_views import login_of
from gateway.control.session_storage import current_session, sign_out
from gateway.control.site import SITE
from gateway.core.provider import ended_marks
from gateway.core.reasons import LOGOUT_TOKEN, PROVIDER_DOWN
from gateway.errors import LoginRefused, ProviderDown, StoreUnavailable
from gateway.login.redirect import LogoutToken, RedirectLogin

FRAMED = {
    hdrs.CONTENT_TYPE: "text/html; charset=utf-8",
    # There is nothing in it to see or to click, so whoever likes may frame it: which of its hosts do, a provider says
    # nowhere.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors *; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
REMEMBERED = 60.0
"""Seconds for which a token that was used is known at least, should clocks differ."""
_log = logging.getLogger("gateway.control")


async def backchannel_logout(request: web.Request) -> web.Response:
    """End what a logout token names (OIDC Back-Channel Logout §2.5 to §2.8)."""
    site, now = request.app[SITE], request.app[SITE].parts.clock()
    login, tokens = login_of(request), site.parts.logout_tokens
    if not site.is_public_host(request):
        raise web.HTTPNotFound
    try:
        token = (await read_form(request)).get("logout_token", "")
        told = await login.logout_token(token)
        used = f"{login.provider.id} {told.id}"
        until = max(told.until, now + REMEMBERED)
        if not await tokens.use_up(used, until, now):
            raise LoginRefused("the logout token was used before (jti)")
    except web.HTTPException as error:
        return _refused(request, login, f"not a form ({error.status})")
    except LoginRefused as error:
        return _refused(request, login, str(error))
    except ProviderDown as error:
        _log.warning("a logout token could not be checked: %s: %s", login.provider.id, error)
        response = because(problem(request, 503, "The logout token cannot be checked right now."), PROVIDER_DOWN)
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_SECONDS)
        return response
    try:
        ended = await _end(request, login, told, now)
    except BaseException:
        # The provider may send it again; where that cannot be written, in some seconds.
        with suppress(StoreUnavailable):
            await tokens.give_back(used)
        raise
    with suppress(StoreUnavailable):
        # The sessions are ended, and would be no more so if it came again.
        await tokens.keep(used, until, now)
    _report(request, login, told, ended, now)
    return web.Response()


async def _end(request: web.Request, login: RedirectLogin, told: LogoutToken, now: float) -> int:
    marks = ended_marks(login.provider.id, told.issuer, told.subject, told.sid)
    return await request.app[SITE].parts.store.revoke_logins(marks, now)


def _report(request: web.Request, login: RedirectLogin, told: LogoutToken, ended: int, now: float) -> None:
    whom = ", ".join(f"{name} {value}" for name, value in (("sub", told.subject), ("sid", told.sid)) if value)
    reason = f"{login.provider.id}: back-channel logout of {whom}"
    request.app[SITE].parts.audit(
        audit_event(request, "sessions_ended", now, reason=reason, by="provider", ended=ended)
    )


def _refused(request: web.Request, login: RedirectLogin, reason: str) -> web.Response:
    """Refuse a logout token, without saying why: whoever sent it is not known."""
    parts = request.app[SITE].parts
    reason = f"{login.provider.id}: {reason}"
    _log.warning("a logout token was refused: %s", reason)
    parts.audit(audit_event(request, "logout_refused", parts.clock(), reason=reason))
    response = problem(request, 400, "The logout token is not accepted.", error="invalid_request")
    return because(response, LOGOUT_TOKEN)


async def frontchannel_logout(request: web.Request) -> web.Response:
    """End the browser's session if it is the one that is named (OIDC Front-Channel Logout §2).

    Only where the browser sends its cookie along, which it does if the provider's page is of the same site.
    Nothing is ended by name alone: who knows a ``sid`` is not for that the provider.
    """
    login = login_of(request)
    issuer, sid = request.query.get("iss", ""), request.query.get("sid", "")
    if not issuer or not sid:
        raise web.HTTPBadRequest
    session = await current_session(request)
    remains = session.login if session is not None else None
    named = remains is not None and (remains.provider, remains.issuer, remains.sid) == (login.provider.id, issuer, sid)
    if session is not None and named:
        now = request.app[SITE].parts.clock()
        reason = f"{login.provider.id}: front-channel logout"
        request[AUDIT] = audit_event(request, "logout", now, user=session.user, session=session.handle, reason=reason)
        await sign_out(request)
    return web.Response(body=b"<!doctype html><title>Signed out</title>", headers=FRAMED)
