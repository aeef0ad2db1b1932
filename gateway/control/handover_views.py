"""Handing a session over: from ``public_url``, where people log in, to a host that shares no cookie with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web
from markupsafe import escape

from gateway.control.answers import because, page, redirect
from gateway.control.asking import STEP_UP
from gateway.control.facts import audit_event, host_name, host_of, login_path, request_id_of
from gateway.control.handover import HANDOVER_PATH, encoded, start_url
from gateway.control.middleware import AUDIT
from gateway.control.pages import REQUEST_ID_MARK, ContinuePage, error_page
from gateway.control.session_storage import adopt, current_opened, current_session
from gateway.control.site import HERE, SITE
from gateway.core.own_pages import LOGIN_PATH
from gateway.core.reasons import TRANSFER_REFUSED
from gateway.errors import BadToken
from gateway.sessions.handovers import Handover

CODE_BYTES = 32
_BROWSER = re.compile(r"[A-Za-z0-9_-]{43}")
_AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a session is not taken over: for the log, and for whoever sits there."""

    status: int
    reason: str
    detail: str


OVER = Refusal(
    400, "a code that is not there, was used or is too old", "It took too long, or was used already. Please try again."
)
ENDED = Refusal(400, "the session ended meanwhile", "You were signed out in the meantime. Please sign in again.")
OTHER_HOST = Refusal(403, "a code for another host", "It was meant for another site. Please sign in here.")
OTHER_BROWSER = Refusal(
    403, "a code that another browser asked for", "It was begun in another browser, or too long ago. Please try again."
)
NO_COOKIE = Refusal(
    403,
    "no cookie of a question",
    "Your browser did not keep this site's cookie. Allow cookies for this site, then sign in again.",
)


async def start_handover(request: web.Request) -> web.Response:
    """Send the browser back to the host that asked, with a code; to the login page first if need be."""
    site = request.app[SITE]
    if not site.is_public_host(request):
        raise web.HTTPNotFound
    host, browser = request.query.get("to", ""), request.query.get("browser", "")
    if not site.takes_over(host) or not _BROWSER.fullmatch(browser):
        raise web.HTTPBadRequest
    next_url = site.kept_next(request, request.query.get("next", ""), host)
    opened, asking = await current_opened(request), site.asking(request)
    session, step_up = opened.session if opened is not None else None, asking.name if asking is not None else ""
    if opened is None or not site.is_enough(session, asking):
        here = start_url(host, browser, next_url, step_up)
        if session is None and site.parts.session_cookie.same_site == "strict" and _AGAIN not in request.query:
            # Browsers withhold the cookie from what another site led here; from our own page they do not.
            return _bare(page(ContinuePage(host_of(request), f"{here}&{_AGAIN}=1", "One moment").render()))
        return _bare(redirect(login_path(here, step_up), 302))
    code = encoded(site.parts.random(CODE_BYTES))
    # What is given there is good there: whoever holds that host has no session of another one by it.
    token = site.parts.store.token_for(opened, host).token
    await site.parts.handovers.put(code, Handover(token, host, browser, next_url))
    more = f"&{STEP_UP}={step_up}" if step_up else ""
    return _bare(redirect(f"{site.origin_of(host)}{HANDOVER_PATH}?code={code}{more}"))


async def finish_handover(request: web.Request) -> web.Response:
    """Take over the session that a code stands for, if this browser has asked for it on this host."""
    site = request.app[SITE]
    if not site.hands_over(request):
        raise web.HTTPNotFound
    handover = await site.parts.handovers.take(request.query.get("code", ""))
    asked = site.questions.find(request, handover.browser) if handover else None
    session = await current_session(request)
    if session is not None and (not asked or site.is_enough(session, site.asking(request))):
        # Another tab was faster, or the page was loaded again: nobody's session is changed for another, but for one
        # that is enough where theirs is not.
        return _bare(redirect(site.next_url(request, handover.next_url if handover and asked else "")))
    if handover is None:
        return _refused(request, OVER)
    if handover.host != host_name(host_of(request)):
        return _refused(request, OTHER_HOST)
    if asked is None:
        return _refused(request, OTHER_BROWSER if site.questions.has_asked(request) else NO_COOKIE)
    return await _take_over(request, handover, asked)


async def _take_over(request: web.Request, handover: Handover, asked: str) -> web.Response:
    """Give the browser the session's cookie here too, and lead on."""
    site, now = request.app[SITE], request.app[SITE].parts.clock()
    try:
        opened = await site.parts.store.load(handover.token, now, host=handover.host)
    except BadToken:
        return _refused(request, ENDED)
    await adopt(request, opened)
    session = opened.session
    request[AUDIT] = audit_event(
        request, "handed_over", now, user=session.user, reason=handover.host, session=session.handle
    )
    location = site.next_url(request, handover.next_url)
    if site.parts.session_cookie.same_site == "strict":
        # As after a login at a provider: a redirect that another site began would come without the cookie.
        response = page(ContinuePage(host_of(request), location).render())
    else:
        response = redirect(location)
    site.questions.answered(request, response, asked, now)
    return _bare(response)


def _refused(request: web.Request, refusal: Refusal) -> web.Response:
    """Report it and say so, without repeating anything of the request; from here it goes on by hand only."""
    parts = request.app[SITE].parts
    parts.audit(audit_event(request, "handover_refused", parts.clock(), reason=refusal.reason))
    links = (("Sign in on this site", f"{LOGIN_PATH}?{HERE}=1"), ("Try again", LOGIN_PATH))
    html = error_page(refusal.status, title="You are not signed in here", detail=refusal.detail, links=links)
    text = html.decode("utf-8").replace(REQUEST_ID_MARK, str(escape(request_id_of(request))))
    return _bare(because(page(text, refusal.status), TRANSFER_REFUSED))


def _bare(response: web.Response) -> web.Response:
    """Keep the address, which holds a code or what becomes one, from whoever is asked next."""
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
