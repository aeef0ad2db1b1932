"""Seeing and ending one's own sessions."""

from __future__ import annotations

from aiohttp import web

from gateway.control.answers import because, exact_time, page, problem, redirect
from gateway.control.csrf import FIELD
from gateway.control.facts import audit_event, host_of, is_navigation
from gateway.control.form import read_form
from gateway.control.logout_views import PURPOSE as LOGOUT
from gateway.control.logout_views import leave
from gateway.control.middleware import AUDIT, BROWSER
from gateway.control.pages import Moment, SessionRow, SessionsPage, ago, in_words
from gateway.control.portal import NO_SESSION
from gateway.control.session_storage import current_session
from gateway.control.site import SITE
from gateway.core import reasons
from gateway.core.audit import AuditKind
from gateway.core.device import UNKNOWN
from gateway.core.own_pages import SESSIONS_PATH
from gateway.core.session import Session, SessionSummary
from gateway.sessions.store import can_list

PURPOSE = "sessions"
SHOWN = 100
"""The most other sessions on one page; "all others" ends those beyond, too."""
STALE = "Nothing was ended, for this page had been open for too long. It is fresh now: please try again."
DONE = {
    "one": "That device is signed out.",
    "others": "All other devices are signed out.",
    "none": "That session had ended already.",
}


async def show_sessions(request: web.Request) -> web.Response:
    """Show the caller's sessions, this one first."""
    session = await current_session(request)
    if session is None:
        return _login(request)
    return await _sessions_page(request, session, notice=DONE.get(request.query.get("done", ""), ""))


async def submit_sessions(request: web.Request) -> web.Response:
    """End one of the caller's sessions, all others, or all."""
    site = request.app[SITE]
    form = await read_form(request)
    session = await current_session(request)
    if session is None:
        return _login(request)
    if refusal := site.csrf.refusal(request, form.get(FIELD, ""), PURPOSE, session.id):
        site.parts.audit(audit_event(request, "csrf_refused", site.parts.clock(), user=session.user, reason=refusal))
        return because(await _sessions_page(request, session, 403, error=STALE), reasons.CSRF)
    end, handle = form.get("end", ""), form.get("handle", "")
    if end == "everywhere":
        return await _end_everywhere(request, session)
    if end == "others" and can_list(site.parts.store):
        await _end_others(request, session)
        return redirect(f"{SESSIONS_PATH}?done=others")
    if not handle:
        raise web.HTTPBadRequest
    if handle == session.handle:
        request[AUDIT] = audit_event(request, "logout", site.parts.clock(), user=session.user, session=handle)
        return await leave(request, session)
    return redirect(f"{SESSIONS_PATH}?done={await _end_one(request, session, handle)}")


def _login(request: web.Request) -> web.Response:
    login = request.app[SITE].login_url(request, SESSIONS_PATH)
    if not is_navigation(request):
        return problem(request, 401, NO_SESSION, login=login)
    return because(redirect(login, 303 if request.method == "POST" else 302), reasons.NO_SESSION)


async def _end_one(request: web.Request, session: Session, handle: str) -> str:
    """End the session of a handle if it is the caller's own; return what to say."""
    store = request.app[SITE].parts.store
    found = next((entry for entry in await store.list(session.user) if entry.handle == handle), None)
    if found is None:
        return "none"
    await store.revoke(found, spare=session.handle)
    _report(request, "session_ended", session.user, session=handle, reason=found.device)
    return "one"


async def _end_others(request: web.Request, session: Session) -> None:
    """End every listed session but the caller's. One that begins meanwhile stays: it is newer than the wish."""
    store = request.app[SITE].parts.store
    ended = 0
    try:
        for entry in await store.list(session.user):
            if entry.handle != session.handle:
                await store.revoke(entry, spare=session.handle)
                ended += 1
    finally:
        # Where the store failed half-way, the log has what was ended until then.
        if ended:
            _report(request, "sessions_ended", session.user, ended=ended, reason="all others")


async def _end_everywhere(request: web.Request, session: Session) -> web.Response:
    """End all sessions of the caller, this one too."""
    parts = request.app[SITE].parts
    await parts.store.revoke_user(session.user, parts.clock())
    _report(request, "sessions_ended", session.user, reason="all")
    return await leave(request, session)


def _report(
    request: web.Request, kind: AuditKind, user: str, *, reason: str, session: str = "", ended: int = 0
) -> None:
    parts = request.app[SITE].parts
    parts.audit(
        audit_event(request, kind, parts.clock(), user=user, reason=reason, session=session, by="user", ended=ended)
    )


async def _sessions_page(
    request: web.Request, session: Session, status: int = 200, *, notice: str = "", error: str = ""
) -> web.Response:
    site = request.app[SITE]
    now = site.parts.clock()
    found = [entry for entry in await site.parts.store.list(session.user) if entry.handle != session.handle]
    found.sort(key=lambda entry: entry.seen, reverse=True)
    request[BROWSER] = browser = site.csrf.browser(request) or site.csrf.new_browser()
    shown = SessionsPage(
        site=host_of(request),
        user=session.user,
        name=session.identity.name,
        email=session.identity.email,
        csrf_token=site.csrf.token(browser, PURPOSE, session.id),
        logout_token=site.csrf.token(browser, LOGOUT, session.id),
        here=_row(session.touched(now).summary(), now, here=True),
        others=tuple(_row(entry, now) for entry in found[:SHOWN]),
        hidden=max(0, len(found) - SHOWN),
        listable=can_list(site.parts.store),
        local=session.identity.method == "password",
        notice=notice,
        error=error,
    )
    return page(shown.render(), status, csp=site.form_csp)


def _row(entry: SessionSummary, now: float, *, here: bool = False) -> SessionRow:
    return SessionRow(
        handle=entry.handle,
        device=entry.device or UNKNOWN,
        address=entry.address or "unknown",
        began=Moment(ago(now - entry.created), exact_time(entry.created)),
        seen=Moment(ago(now - entry.seen), exact_time(entry.seen)),
        ends=Moment(f"in {in_words(entry.expires - now)} at the latest", exact_time(entry.expires)),
        here=here,
    )
