"""Forward-auth: another proxy asks about a request that it holds, and gets a verdict and the identity.

Whose word counts is the data plane's business: it passes the request on only from ``trusted_proxies``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import hdrs, web

from gateway.control.answers import failure, failure_page, problem, redirect
from gateway.control.facts import (
    ORIGINAL_HOST,
    ORIGINAL_METHOD,
    ORIGINAL_URI,
    client_of,
    host_name,
    is_navigation,
    scheme_of,
)
from gateway.control.parts import TargetPaths
from gateway.control.session_storage import current_session
from gateway.control.site import SITE, Site
from gateway.core.gate import Ruling, Verdict, judge
from gateway.core.route import Route
from gateway.errors import GatewayError

LOGIN_HEADER = "X-Gateway-Login"
REDIRECT = "redirect"
"""The parameter by which a proxy that hands on all but 2xx asks for a 302 to the login in place of a 401."""
NOT_TOLD = (
    "The request to verify is missing: X-Forwarded-Method, -Host and -Uri are taken from trusted_proxies only, "
    "and must be there once each."
)
NO_ROUTE = "No app of this site is at that address, so nobody is let in there."

# It becomes part of the login's address: nothing may turn it into another host's.
_HOST = re.compile(r"(?:[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# As for proxied requests: some servers take "post" for POST, so rules about POST would be passed by.
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
_METHOD = re.compile(r"[A-Z0-9!#$%&'*+.^_`|~-]{1,32}")


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that is asked about."""

    method: str
    host: str
    target: str


async def verify(request: web.Request) -> web.Response:
    """Answer 200 with the identity headers, 401 or 302 with the login's address, 403, or 400."""
    site = request.app[SITE]
    asked = _asked(request)
    if asked is None:
        return problem(request, 400, NOT_TOLD)
    if not _METHOD.fullmatch(asked.method):
        return problem(request, 400, "The method is none that rules could know.")
    if asked.method in _REFUSED_METHODS:
        return failure(request, 403, "This method is not served here.")
    try:
        paths = site.parts.target_paths(asked.target)
    except (ValueError, GatewayError):
        return problem(request, 400, "The target can be read in two ways.")
    route = _route(site, asked, paths)
    if route is None:
        return failure(request, 403, NO_ROUTE)
    if paths.encoded_slash and not route.pass_encoded_slashes:
        return problem(request, 400, "The target can be read in two ways.")
    session = await current_session(request)
    ruling = judge(route, session, paths.path, asked.method, client_of(request), site.parts.clock())
    if ruling.verdict is Verdict.FORWARD:
        headers = site.parts.identity_headers(session, route) if session else []
        return web.Response(status=200, headers=headers)
    if ruling.verdict is Verdict.REFUSE:
        return failure(request, 403)
    return _login(request, site, asked, ruling)


def _asked(request: web.Request) -> Asked | None:
    """Return the request that is asked about, or None unless everything was told once."""
    told = [request.headers.getall(name, []) for name in (ORIGINAL_METHOD, ORIGINAL_HOST, ORIGINAL_URI)]
    if any(len(values) != 1 or not values[0] for values in told):
        return None
    asked = Asked(*(values[0] for values in told))
    return asked if _HOST.fullmatch(asked.host) else None


def _route(site: Site, asked: Asked, paths: TargetPaths) -> Route | None:
    """Return the app's route if every reading of the path leads to it, and to the same rule of it.

    Our own pages are none: under their address, or under one that the proxy takes for another, an app would answer.
    """
    routes = site.parts.router.host(host_name(asked.host))
    route = routes.find(paths.path) if routes is not None else None
    if routes is None or route is None or route.control:
        return None
    rule = route.rule_for(paths.path, asked.method)
    led = (routes.leads_to(route, rule, path, asked.method) for path in (paths.path, *paths.readings))
    return route if all(led) else None


def _login(request: web.Request, site: Site, asked: Asked, ruling: Ruling) -> web.Response:
    """Return 401 with the login's address: as a page to browsers, for some proxies show them what they get here.

    It stays a 401 unless the proxy asks for a redirect, for nginx knows 2xx, 401 and 403 only, and takes anything
    else for a failure.
    """
    step_up = ruling.step_up.name if ruling.step_up is not None else ""
    login = site.login_url_of(scheme_of(request), asked.host, asked.target, step_up)
    detail = "This needs a login." if ruling.verdict is Verdict.LOGIN else "This needs a stronger or fresher login."
    if not _is_navigation(request, asked):
        response = problem(request, 401, detail, login=login)
    elif request.query.get(REDIRECT) == "1":
        response = redirect(login, 302)
    else:
        response = failure_page(request, 401, detail, links=(("Sign in", login),), leads_to=login)
    response.headers[hdrs.LOCATION] = login
    response.headers[LOGIN_HEADER] = login
    return response


def _is_navigation(request: web.Request, asked: Asked) -> bool:
    """Tell whether a browser shows the answer; the proxy's own request may be a GET for whatever it asks about."""
    return is_navigation(request) and ("Sec-Fetch-Mode" in request.headers or asked.method in ("GET", "HEAD"))
