"""An admin listener over a real store, and calls of its API."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from gateway.control.app import AdminParts, make_admin_app
from gateway.control.metrics import LoginCounts
from gateway.core.audit import AuditEvent
from gateway.core.identity import Identity
from gateway.core.metrics import Counters
from gateway.core.session import Lifetimes, Session, start_session
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.store import SessionStore
from tests.control.harness import Clock, Settings, make_store

SESSIONS = "/api/sessions"


@dataclass
class Admin:
    """An admin listener over a real store."""

    store: SessionStore
    clock: Clock
    token: str | None = None
    starting: bool = False
    events: list[AuditEvent] = field(default_factory=list)
    client: TestClient[Request, Application] = field(init=False)

    def current_store(self) -> SessionStore:
        if self.starting:
            raise StoreUnavailable("the gateway is starting")
        return self.store

    def parts(self) -> AdminParts:
        return AdminParts(
            self.current_store,
            Counters,
            LoginCounts(),
            lambda: False,
            "1.2.3",
            audit=self.events.append,
            token=lambda: self.token,
            clock=self.clock,
        )

    async def call(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Return status and JSON of a call; every error is a problem."""
        async with self.client.request(method, path, headers={"Host": "localhost", **(headers or {})}) as response:
            self.headers = response.headers
            problem = response.status >= 400
            assert response.headers["Content-Type"] == f"application/{'problem+json' if problem else 'json'}"
            assert response.headers["Cache-Control"] == "no-store"
            assert "Server" not in response.headers
            return response.status, json.loads(await response.text())

    async def begin(self, user: str, device: str = "curl") -> tuple[Session, str]:
        """Begin a session; return it and its token."""
        session = start_session(
            secrets.token_bytes(16),
            Identity(user),
            Lifetimes(),
            remember=False,
            now=self.clock(),
            address="192.0.2.7",
            device=device,
        )
        return session, (await self.store.save(session)).token

    async def is_over(self, token: str) -> bool:
        try:
            await self.store.load(token, self.clock())
        except BadToken:
            return True
        return False


@asynccontextmanager
async def admin_listener(folder: Path, settings: Settings) -> AsyncIterator[Admin]:
    """Serve the API over the store of some settings, in a folder."""
    clock = Clock()
    admin = Admin(make_store(folder, settings, clock), clock)
    async with TestClient(TestServer(make_admin_app(admin.parts()))) as client:
        admin.client = client
        yield admin
    await admin.store.close()
