"""Building a data plane out of settings, in a worker's process or beside the control plane."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping

from gateway.core.metrics import Counters
from gateway.core.own_pages import FORM_BYTES, LOGIN_PATH
from gateway.core.policy import Rule
from gateway.core.programs import Verify
from gateway.core.refresh import Refresh
from gateway.core.route import GATEWAY_PREFIX, Route, Router
from gateway.core.upstream import UpstreamAddress
from gateway.errors import ConfigError, Problem
from gateway.proxy.plane import CONTROL_ROUTE, PlaneParts
from gateway.proxy.record import LineWriter
from gateway.proxy.server import DataPlane
from gateway.sessions.store import SessionStore
from gateway.settings.settings import Settings
from gateway.signing.mint import TokenMint
from gateway.wire.identity_headers import IdentityHeaders
from gateway.wire.replies import OwnAnswers


def control_route(socket_path: str) -> Route:
    """Return the route to the control plane; it decides itself who may see what, so it is public here."""
    return Route(
        name=CONTROL_ROUTE,
        upstreams=(UpstreamAddress(path=socket_path),),
        default=Rule(where="built in", public=True),
        path=GATEWAY_PREFIX,
        websocket=False,
        max_body=FORM_BYTES,
        control=True,
    )


def make_router(settings: Settings, control: Route | None) -> Router:
    """Return the router over the configured routes and the gateway's own pages."""
    return Router(settings.routes, settings.public_host, control)


def login_page(settings: Settings) -> str:
    """Return where people log in: on the same host, or on ``public_url`` where one cookie serves all hosts."""
    return f"{settings.public_url}{LOGIN_PATH}" if settings.session_cookie.domain else LOGIN_PATH


def identity_headers(settings: Settings) -> IdentityHeaders:
    """Return what upstreams are told of the user."""
    token = settings.identity_token
    return IdentityHeaders(settings.identity_headers, (token.header,) if token else ())


def build_plane(
    settings: Settings,
    router: Router,
    store: SessionStore,
    pages: Mapping[int, bytes],
    csp: str,
    counters: Counters,
    access_log: LineWriter | None,
    loop: asyncio.AbstractEventLoop,
    mint: TokenMint | None,
    verify: Verify,
    refresh: Refresh,
) -> DataPlane:
    """Build the data plane. Raises ConfigError where an upstream's certificate files cannot be used."""
    parts = PlaneParts(
        router=router,
        store=store,
        session_cookie=settings.session_cookie,
        lifetimes=settings.lifetimes,
        identity=identity_headers(settings),
        dropped_answer_names=frozenset(name.encode("ascii") for name in settings.drop_response_headers),
        answers=OwnAnswers(pages, csp),
        login_page=login_page(settings),
        trusted=settings.trusted_proxies,
        limits=settings.limits,
        access_log=access_log,
        random=os.urandom,
        counters=counters,
        tokens=mint,
        verify=verify,
        memory=settings.memory,
        websocket_activity=settings.websocket_activity,
        refresh=refresh,
        askers=settings.forward_auth,
        refresh_graces={provider.id: provider.refresh_grace for provider in settings.providers},
    )
    try:
        return DataPlane(parts, loop)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            [Problem("routes", "", f"a certificate file of an upstream cannot be used: {error}")]
        ) from error


def server_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the context for https listeners, or None. Raises ConfigError for unusable files."""
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError([Problem("tls", "", f"the certificate or key cannot be used: {error}")]) from error
    return context
