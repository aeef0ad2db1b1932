"""The admin listener: is it alive, is it ready, what did it count. Never reachable from the public one."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from gateway.control.metrics import CONTENT_TYPE, MetricsPage
from gateway.control.parts import AdminParts
from gateway.errors import StoreUnavailable

CHECK_SECONDS = 2.0
"""How long the session store may take to say that it works."""
_log = logging.getLogger("gateway.control")


class AdminViews:
    """The answers of the admin listener."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts
        self._metrics = MetricsPage(parts.counters, parts.logins, parts.version)

    async def healthz(self, request: web.Request) -> web.Response:
        """Say that the process answers; nothing else is asked, so that no orchestrator restarts it in vain."""
        return _text("ok")

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether requests may be sent here."""
        if self._parts.draining():
            return _text("draining", 503)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._parts.store.check()
        except (StoreUnavailable, TimeoutError) as error:
            _log.warning("not ready: the session store does not work: %r", error)
            return _text("the session store does not work", 503)
        return _text("ready")

    async def metrics(self, request: web.Request) -> web.Response:
        """Render the metrics."""
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})


def make_admin_app(parts: AdminParts) -> web.Application:
    """Return the application for ``admin_listen``."""
    views = AdminViews(parts)
    app = web.Application(client_max_size=1024)
    app.router.add_get("/healthz", views.healthz)
    app.router.add_get("/readyz", views.readyz)
    app.router.add_get("/metrics", views.metrics)
    app.on_response_prepare.append(_plain_headers)
    return app


def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text + "\n", status=status)


async def _plain_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.pop("Server", None)
