"""The site as its visitors see it: which hosts it has, where its login page is, which links lead where."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from gateway.control.asking import STEP_UP, Asking, asking_routes
from gateway.control.csrf import CsrfGuard
from gateway.control.facts import client_of, host_name, host_of, login_path, scheme_of
from gateway.control.handover import START_PATH, Questions
from gateway.control.pages import content_security_policy
from gateway.control.parts import ControlParts
from gateway.control.pending import PendingLogins
from gateway.core.gate import Verdict, judge
from gateway.core.next_url import safe_next
from gateway.core.own_pages import PORTAL_PATH
from gateway.core.route import LOOPBACK_NAMES, Route
from gateway.core.session import Session

HERE = "here"
"""The parameter with which the login page stays on the host it was asked for on."""
# Of a wildcard's hosts only those that are host names: what is in front of it comes from an address.
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\]")


class Site:
    """What the views share: the parts, and what follows from them."""

    def __init__(self, parts: ControlParts) -> None:
        self.parts = parts
        self.csrf = CsrfGuard(parts.csrf_keys, secure=parts.session_cookie.secure, random=parts.random)
        self.pending = PendingLogins(parts.pending_keys, secure=parts.session_cookie.secure)
        self.questions = Questions(secure=parts.session_cookie.secure, random=parts.random)
        self._asking = asking_routes(parts.router.routes)
        public = urlsplit(parts.public_url)
        self._public_scheme = public.scheme
        self._public_host = host_name(public.netloc)
        self._public_origin = f"{public.scheme}://{public.netloc}"
        self._port = f":{public.port}" if public.port else ""
        # Chromium holds a form's redirects against form-action too, and a login may lead to any of our
        # hosts; on any port, as `safe_next` has it, for a port may be mapped on the way here.
        hosts = [self._public_host, *(route.host for route in parts.router.routes if route.host)]
        self.form_csp = content_security_policy(["'self'", *(f"{public.scheme}://{host}:*" for host in hosts)])

    def origin_of(self, host: str) -> str:
        """Return the origin of one of our hosts, which all have scheme and port of ``public_url``."""
        return f"{self._public_scheme}://{host}{self._port}"

    def is_public_host(self, request: web.Request) -> bool:
        """Tell whether a request came to the host of ``public_url``, the only one that providers lead back to."""
        return host_name(host_of(request)) == self._public_host

    def on_public_url(self, path: str) -> str:
        """Return a path as a URL below ``public_url``."""
        return self._public_origin + path

    def is_configured(self, host: str) -> bool:
        """Tell whether a lower-case host name is one of ours."""
        return self.parts.router.host(host) is not None

    def takes_over(self, host: str) -> bool:
        """Tell whether a host gets its sessions from ``public_url``: one of ours that shares no cookie with it.

        Of a wildcard's hosts only where its routes say so: any of them may be in other hands.
        """
        # Where the cookie does not reach our pages, they see no session.
        if self._shares_sessions(host) or self.parts.session_cookie.path != "/":
            return False
        return _HOST.fullmatch(host) is not None and self.parts.router.transfers(host)

    def _shares_sessions(self, host: str) -> bool:
        """Tell whether the sessions of a host are those of ``public_url``: the names of this machine are one place."""
        if self.parts.session_cookie.domain or host == self._public_host:
            return True
        return host in LOOPBACK_NAMES and self._public_host in LOOPBACK_NAMES

    def session_host(self, request: web.Request) -> str:
        """Return the host that a token given to this browser is good for: this one, or empty for every host."""
        host = host_name(host_of(request))
        return "" if self._shares_sessions(host) else host

    def is_apart(self, request: web.Request) -> bool:
        """Tell whether a login on ``public_url`` leads to no session here: on hosts of a wildcard without transfer."""
        host = host_name(host_of(request))
        return not self._shares_sessions(host) and self.is_configured(host) and not self.parts.router.transfers(host)

    def hands_over(self, request: web.Request) -> bool:
        """Tell whether a request came to such a host, in the way that browsers are sent there."""
        host = host_name(host_of(request))
        own_port = ":443" if self._public_scheme == "https" else ":80"
        named = host_of(request) if self._port else host_of(request).removesuffix(own_port)
        return scheme_of(request) == self._public_scheme and named == host + self._port and self.takes_over(host)

    def kept_next(self, request: web.Request, value: str, host: str = "") -> str:
        """Return what is carried on of a ``next``: nothing stays nothing, anything else is made safe."""
        return self.next_url(request, value, host) if value else ""

    def destination(self, request: web.Request, next_url: str) -> str:
        """Return the host that a login is for."""
        path, _, query = next_url.partition("?")
        asked = parse_qs(query).get("to", [""])[0] if path == START_PATH else ""
        return asked + self._port if self.takes_over(asked) else host_of(request)

    def next_url(self, request: web.Request, value: str, host: str = "") -> str:
        """Return where a login leads: ``value`` if that is safe, else ``/``; the portal if nothing was asked for.

        A site need not have an app at ``/``. A path is one of ``host``, if that is given, else of the request's own.
        """
        if not value and self.parts.router.find(host_name(host_of(request)), "/") is None:
            return PORTAL_PATH
        here = host or host_name(host_of(request))
        return safe_next(value, scheme_of(request), here, self.is_configured, self.parts.serves)

    def login_elsewhere(self, request: web.Request) -> str:
        """Return the origin of the login page where it is on another host than this request's, else nothing.

        With a cookie for a whole domain all hosts share the page on ``public_url``.
        """
        if not self.parts.session_cookie.domain or host_name(host_of(request)) == self._public_host:
            return ""
        return self._public_origin

    def asking(self, request: web.Request) -> Asking | None:
        """Return what asks for more than a login, as far as the address names something that does."""
        return self._asking.get(request.query.get(STEP_UP, ""))

    def asking_for(self, name: str) -> Asking | None:
        """Return what is named so, or None."""
        return self._asking.get(name)

    def is_enough(self, session: Session | None, asking: Asking | None) -> bool:
        """Tell whether there is nothing to log in for."""
        return session is not None and (asking is None or asking.is_met(session, self.parts.clock()))

    def login_url(self, request: web.Request, next_url: str, step_up: str = "") -> str:
        """Return where to log in so as to come back to a safe URL, or a path of this host."""
        elsewhere = self.login_elsewhere(request)
        if elsewhere and next_url.startswith("/"):
            next_url = f"{scheme_of(request)}://{host_of(request)}{next_url}"
        return elsewhere + login_path(next_url, step_up)

    def link_to(self, request: web.Request, route: Route) -> str | None:
        """Return a link to an app: on this host if it is served here, else on its own; None if there is none."""
        here = host_name(host_of(request))
        # Without the slash, the links of an app that knows nothing of its prefix would miss it.
        path = route.path.rstrip("/") + "/" if route.strip_prefix else route.path
        if self.parts.router.find(here, route.path) is route:
            return path
        host = route.host or self._public_host
        if host.startswith("*.") or self.parts.router.find(host, route.path) is not route:
            return None
        return self.origin_of(host) + path

    def may_open(self, request: web.Request, session: Session | None, route: Route) -> bool:
        """Tell whether a GET of the route's own path would be forwarded, if need be after another login."""
        ruling = judge(route, session, route.path, "GET", client_of(request), self.parts.clock())
        return ruling.verdict in (Verdict.FORWARD, Verdict.STEP_UP)


SITE = web.AppKey("site", Site)
