"""Logging out: asked for by a page, done by a form."""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from gateway.control.answers import because, page, redirect
from gateway.control.csrf import FIELD
from gateway.control.facts import audit_event, host_of
from gateway.control.form import read_form
from gateway.control.login_views import SIGNED_OUT
from gateway.control.logout_there import leave_provider
from gateway.control.middleware import AUDIT, BROWSER
from gateway.control.pages import LogoutPage
from gateway.control.session_storage import current_session, sign_out
from gateway.control.site import SITE
from gateway.core.own_pages import LOGIN_PATH
from gateway.core.reasons import CSRF
from gateway.core.session import Session

PURPOSE = "logout"
STALE = "Nothing was done, for this page had been open for too long. It is fresh now: please confirm."


async def show_logout(request: web.Request) -> web.Response:
    """Ask whether to log out; without a session there is nothing to ask."""
    session = await current_session(request)
    next_url = request.query.get("next", "")
    if session is None:
        return redirect(_signed_out(request, next_url))
    return _logout_page(request, session, next_url)


async def submit_logout(request: web.Request) -> web.Response:
    """End the session at the server, then remove its cookies."""
    site = request.app[SITE]
    form = await read_form(request)
    session = await current_session(request)
    if session is not None:
        user = session.identity.user
        if refusal := site.csrf.refusal(request, form.get(FIELD, ""), PURPOSE, session.id):
            site.parts.audit(audit_event(request, "csrf_refused", site.parts.clock(), user=user, reason=refusal))
            return because(_logout_page(request, session, form.get("next", ""), 403, notice=STALE), CSRF)
        request[AUDIT] = audit_event(request, "logout", site.parts.clock(), user=user, session=session.handle)
    return await leave(request, session, form.get("next", ""))


async def leave(request: web.Request, session: Session | None, next_url: str = "") -> web.Response:
    """End the caller's session with the answer, which leads to the login page, or to its provider before."""
    await sign_out(request)
    signed_out = _signed_out(request, next_url)
    response = await leave_provider(request, session, signed_out) or redirect(signed_out)
    # What the apps let the browser keep is not for who sits there next, nor for its back button.
    response.headers["Clear-Site-Data"] = '"cache"'
    request.app[SITE].questions.forget(request, response)
    return response


def _signed_out(request: web.Request, next_url: str) -> str:
    """Return the login page that says so, and that leads on to ``next_url`` if one was given and is safe."""
    site = request.app[SITE]
    more = "&next=" + quote(site.next_url(request, next_url), safe="/") if next_url else ""
    return f"{site.login_elsewhere(request)}{LOGIN_PATH}?{SIGNED_OUT}=1{more}"


def _logout_page(
    request: web.Request, session: Session, next_url: str, status: int = 200, *, notice: str = ""
) -> web.Response:
    site = request.app[SITE]
    request[BROWSER] = browser = site.csrf.browser(request) or site.csrf.new_browser()
    shown = LogoutPage(
        site=host_of(request),
        user=session.identity.name or session.identity.user,
        csrf_token=site.csrf.token(browser, PURPOSE, session.id),
        next_url=site.next_url(request, next_url) if next_url else "",
        notice=notice,
    )
    return page(shown.render(), status, csp=site.form_csp)
