"""The two applications of the control plane: the pages under ``/_gateway``, and the admin listener.

The first is reached through the data plane only, which tells it the caller's address and session in
headers of its own (see `facts`).
"""

from __future__ import annotations

from aiohttp import web
from aiohttp_session import session_middleware

from gateway.control.admin import make_admin_app
from gateway.control.give_back import GivingBack
from gateway.control.handover import HANDOVER_PATH, START_PATH
from gateway.control.handover_views import finish_handover, start_handover
from gateway.control.jwks_view import show_jwks
from gateway.control.login_views import show_login, submit_login
from gateway.control.logout_there import GIVING_BACK, settle, signed_out
from gateway.control.logout_told import backchannel_logout, frontchannel_logout
from gateway.control.logout_views import show_logout, submit_logout
from gateway.control.middleware import answer, hide_server
from gateway.control.oidc_views import begin_login, finish_login
from gateway.control.parts import AdminParts, ControlParts
from gateway.control.portal import show_me, show_portal, to_portal
from gateway.control.session_storage import StoreStorage
from gateway.control.sessions_views import show_sessions, submit_sessions
from gateway.control.site import SITE, Site
from gateway.core.own_pages import (
    BACKCHANNEL_LOGOUT,
    FORM_BYTES,
    LOGIN_PATH,
    LOGOUT_PATH,
    OIDC_PATH,
    PORTAL_PATH,
    SESSIONS_PATH,
)

__all__ = ["AdminParts", "ControlParts", "make_admin_app", "make_control_app"]

ROUTES = (
    ("GET", LOGIN_PATH, show_login),
    ("POST", LOGIN_PATH, submit_login),
    ("GET", LOGOUT_PATH, show_logout),
    ("POST", LOGOUT_PATH, submit_logout),
    ("GET", SESSIONS_PATH, show_sessions),
    ("POST", SESSIONS_PATH, submit_sessions),
    ("GET", "/_gateway/me", show_me),
    ("GET", "/_gateway/jwks.json", show_jwks),
    ("GET", PORTAL_PATH, show_portal),
    ("GET", "/_gateway", to_portal),
)


def make_control_app(parts: ControlParts) -> web.Application:
    """Return the application behind ``/_gateway``."""
    site = Site(parts)
    storage = StoreStorage(parts.store, parts.session_cookie, parts.clock, site.session_host)
    app = web.Application(middlewares=[answer, session_middleware(storage)], client_max_size=FORM_BYTES)
    app[SITE] = site
    for method, path, view in ROUTES:
        if method == "GET":
            app.router.add_get(path, view)
        else:
            app.router.add_route(method, path, view)
    # No HEAD here: what only looks at a link must neither begin a login nor use up a code.
    app.router.add_route("GET", OIDC_PATH + "/{provider}/start", begin_login)
    app.router.add_route("GET", OIDC_PATH + "/{provider}/callback", finish_login)
    app.router.add_route("GET", OIDC_PATH + "/{provider}/signed-out", signed_out)
    app.router.add_route("GET", OIDC_PATH + "/{provider}/frontchannel-logout", frontchannel_logout)
    app.router.add_route("POST", OIDC_PATH + "/{provider}" + BACKCHANNEL_LOGOUT, backchannel_logout)
    app[GIVING_BACK] = GivingBack()
    app.on_cleanup.append(settle)
    app.router.add_route("GET", START_PATH, start_handover)
    app.router.add_route("GET", HANDOVER_PATH, finish_handover)
    app.on_response_prepare.append(hide_server)
    return app
