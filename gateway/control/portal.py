"""What somebody who is logged in may see of themselves: the apps they may open, and who they are."""

from __future__ import annotations

from aiohttp import web

from gateway.control.answers import because, exact_time, json_answer, page, problem, redirect
from gateway.control.facts import host_of, is_navigation
from gateway.control.logout_views import PURPOSE
from gateway.control.middleware import BROWSER
from gateway.control.pages import App, PortalPage
from gateway.control.session_storage import current_session
from gateway.control.site import SITE
from gateway.core import reasons
from gateway.core.own_pages import PORTAL_PATH
from gateway.core.session import Session

NO_SESSION = "This needs a login."


async def show_portal(request: web.Request) -> web.Response:
    """Show the apps whose own address the caller may open."""
    site = request.app[SITE]
    session = await current_session(request)
    if session is None:
        login = site.login_url(request, PORTAL_PATH)
        response = redirect(login, 302) if is_navigation(request) else problem(request, 401, NO_SESSION, login=login)
        return because(response, reasons.NO_SESSION)
    request[BROWSER] = browser = site.csrf.browser(request) or site.csrf.new_browser()
    identity = session.identity
    shown = PortalPage(
        site=host_of(request),
        user=identity.user,
        name=identity.name,
        email=identity.email,
        csrf_token=site.csrf.token(browser, PURPOSE, session.id),
        apps=_apps(request, session),
    )
    return page(shown.render(), csp=site.form_csp)


def _apps(request: web.Request, session: Session) -> tuple[App, ...]:
    site = request.app[SITE]
    found = []
    for route in site.parts.router.routes:
        link = site.link_to(request, route)
        if link is not None and site.may_open(request, session, route):
            place = link.partition("://")[2] or host_of(request) + link
            found.append(App(route.title or route.name, link, place.rstrip("/")))
    return tuple(found)


async def to_portal(request: web.Request) -> web.Response:
    """Lead from the address without its slash to the portal."""
    return redirect(PORTAL_PATH, 302)


async def show_me(request: web.Request) -> web.Response:
    """Tell programs and apps who the caller is. Times are RFC 3339."""
    session = await current_session(request)
    if session is None:
        login = request.app[SITE].login_url(request, PORTAL_PATH)
        return problem(request, 401, NO_SESSION, login=login)
    identity = session.identity
    times = {
        "created": exact_time(session.created),
        "last_seen": exact_time(session.seen),
        "ends_if_idle": None if session.idle is None else exact_time(session.ends()),
        "expires": exact_time(session.expires),
        "remembered": session.remembered,
    }
    return json_answer(
        {
            "user": identity.user,
            "name": identity.name,
            "email": identity.email,
            "groups": list(identity.groups),
            "method": identity.method,
            "session": times,
        }
    )
