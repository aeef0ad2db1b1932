"""Gateways without pages: a store, a vault and a refresher each, and people who logged in at a provider."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from gateway.control.refresh_once import LEASE, RefresherParts, RefreshState
from gateway.control.refresher import Refresher
from gateway.core.audit import AuditEvent
from gateway.core.cookie import CookiePolicy
from gateway.core.identity import Identity
from gateway.core.session import Lifetimes, Session, start_session
from gateway.errors import BadToken
from gateway.login.oidc.openid import OpenIdLogin, Timing
from gateway.login.redirect import PendingLogin, RedirectLogin
from gateway.sessions.recent import RecentSessions
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_memory import records_prefix
from gateway.sessions.redis_store import RedisStore
from gateway.sessions.redis_vault import RedisTokenVault
from gateway.sessions.seal import KeyRing
from gateway.sessions.steady_vault import SteadyVault
from gateway.sessions.store import SessionStore
from gateway.sessions.token_vault import KeptLogin, TokenVault
from tests.control.harness import Clock, Settings, make_store, make_vault
from tests.control.oidc import QUICK, settings_of
from tests.support.provider import FakeProvider
from tests.support.redis_server import Servers

BACK = "https://apps.example.com/_gateway/oidc/sso/callback"
LIFE = 100
"""Seconds that the provider's tokens are good."""
LIFETIMES = Lifetimes()


@dataclass
class Gateway:
    """What one process on one host has."""

    store: SessionStore
    behind: TokenVault
    """The vault itself."""
    vault: TokenVault
    login: RedirectLogin
    clock: Clock
    ticks: Clock
    state: RefreshState
    cookie: CookiePolicy
    lease: float
    events: list[AuditEvent] = field(default_factory=list)
    refresher: Refresher = field(init=False)

    def __post_init__(self) -> None:
        self.refresher = self.another_refresher()

    def another_refresher(self) -> Refresher:
        """Return one that shares everything, as that of the generation after a reload."""
        logins = {"sso": self.login}
        return Refresher(
            RefresherParts(
                self.store, self.vault, logins, self.cookie, self.state, self.events.append, self.clock, self.lease
            )
        )

    async def session(self, token: str) -> Session | None:
        """Return what a token opens."""
        try:
            return (await self.store.load(token, self.clock())).session
        except BadToken:
            return None

    async def identity(self, token: str) -> Identity:
        session = await self.session(token)
        assert session
        return session.identity

    async def kept(self, session: Session) -> KeptLogin:
        kept = await self.vault.get(session)
        assert kept
        return kept

    def outcomes(self) -> dict[str, int]:
        """Return the calls that were counted, by their outcome."""
        return {outcome: count for (_, outcome), count in self.state.counts.by_provider().items() if count}

    async def close(self) -> None:
        await self.refresher.close()
        await self.login.close()
        await self.vault.close()
        await self.store.close()


class World:
    """Gateways, one provider, one time."""

    def __init__(self, provider: FakeProvider, folder: Path) -> None:
        self.provider = provider
        self.folder = folder
        self.clock = Clock(time.time())
        self.ticks = Clock(1000.0)
        self.gateways: list[Gateway] = []
        provider.tokens = {"expires_in": LIFE}

    async def gateway(self, *, sqlite: bool = True, **more: Any) -> Gateway:
        """Start a gateway of one host; ``more`` changes how it knows the provider."""
        store = make_store(self.folder, Settings(sqlite=sqlite), self.clock)
        return await self._add(store, make_vault(self.folder, self.clock), **more)

    async def over_redis(self, servers: Servers, **more: Any) -> Gateway:
        """Start one of several hosts."""
        keys, recent = KeyRing([b"k" * 32], os.urandom), RecentSessions(100)
        client = RedisClient(servers.address, follow=records_prefix(servers.address))
        store = RedisStore(client, keys, recent, LIFETIMES, 60.0, self.clock, os.urandom)
        await store.start()
        vault = RedisTokenVault(RedisClient(servers.address), keys, self.clock, os.urandom)
        return await self._add(store, vault, **more)

    async def _add(
        self,
        store: SessionStore,
        behind: TokenVault,
        cookie: CookiePolicy | None = None,
        lease: float = LEASE,
        timing: Timing = QUICK,
        **more: Any,
    ) -> Gateway:
        login = OpenIdLogin(settings_of(self.provider, **more), replace(timing, wall=self.clock))
        await login.start()
        vault = SteadyVault(behind, {}, self.clock)
        state = RefreshState(self.ticks)
        made = Gateway(store, behind, vault, login, self.clock, self.ticks, state, cookie or CookiePolicy(), lease)
        self.gateways.append(made)
        return made

    async def begin(self, gateway: Gateway, *, remember: bool = False) -> tuple[Session, str]:
        """Log somebody in; return the session and its token."""
        pending = PendingLogin("sso", b"s" * 32, "/", self.clock())
        back = self.provider.visit(await gateway.login.begin(pending, BACK))
        proof = await gateway.login.finish(pending, dict(parse_qsl(urlsplit(back).query)), BACK)
        session = start_session(
            os.urandom(16), proof.identity, LIFETIMES, remember=remember, now=self.clock(), login=proof.session
        )
        tokens = proof.tokens.worth_keeping(refresh=gateway.login.provider.refresh)
        await gateway.vault.put(session, KeptLogin(proof.identity, proof.session, tokens))
        return session, (await gateway.store.save(session)).token

    def wait(self, seconds: float = LIFE * 0.85) -> None:
        """Let time pass: by itself so much that what the provider told is due."""
        self.clock.move(seconds)
        self.ticks.move(seconds)

    def calls(self) -> int:
        """Return how often the provider was asked to refresh a login; never twice with the same token."""
        assert self.provider.counts["reused"] == 0
        return self.provider.counts["refresh"]

    async def close(self) -> None:
        for gateway in self.gateways:
            await gateway.close()
