"""The admin listener: is it alive, is it ready, what did it count, and the API. Never reachable from the public one."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from gateway.control.admin_api import AdminApi
from gateway.control.metrics import CONTENT_TYPE, GatewayCollector, MetricsPage, StoreState
from gateway.control.parts import AdminParts
from gateway.errors import StoreUnavailable
from gateway.sessions.store import stats_of

CHECK_SECONDS = 2.0
"""How long the session store may take to say that it works."""
MAX_BODY = 1024
_log = logging.getLogger("gateway.control")


class AdminViews:
    """What orchestrators and Prometheus ask for."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._metrics = MetricsPage(
            GatewayCollector(parts.counters, parts.run, parts.logins, parts.refreshes, parts.credentials, parts.version)
        )

    async def healthz(self, request: web.Request) -> web.Response:
        """Say that the process answers; nothing else is asked, so that no orchestrator restarts it in vain."""
        return _text("ok")

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether requests may be sent here."""
        if self._parts.draining():
            return _text("draining", 503)
        if error := await self._store_error():
            _log.warning("not ready: the session store does not work: %r", error)
            return _text("the session store does not work", 503)
        return _text("ready")

    async def metrics(self, request: web.Request) -> web.Response:
        """Render the metrics, with the state of the store at this moment."""
        await self._parts.gather()
        works = await self._store_error() is None
        body = self._metrics.render(StoreState(works, self._stats()))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    def _stats(self) -> dict[str, float]:
        try:
            return dict(stats_of(self._parts.store()))
        except StoreUnavailable:
            return {}

    async def _store_error(self) -> Exception | None:
        """Return what keeps the session store from working, or None."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._parts.store().check()
        except (StoreUnavailable, TimeoutError) as error:
            return error
        return None


def make_admin_app(parts: AdminParts) -> web.Application:
    """Return the application for ``admin_listen``."""
    views, api = AdminViews(parts), AdminApi(parts)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[api.guard])
    app.router.add_get("/healthz", views.healthz)
    app.router.add_get("/readyz", views.readyz)
    app.router.add_get("/metrics", views.metrics)
    api.add_routes(app.router)
    app.on_response_prepare.append(_plain_headers)
    return app


def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text + "\n", status=status)


async def _plain_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.pop("Server", None)
