"""Everything that one version of the configuration made: a control plane, its sessions, and the data planes.

A reload starts a new one on the same sockets, and lets the old one finish what it has begun.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Protocol

from aiohttp import web

from gateway.assembly import control_route, make_router, server_tls
from gateway.channel import Start
from gateway.control.app import make_control_app
from gateway.control.jwks import JwkSet
from gateway.control.pages import CSP, ERRORS, error_page
from gateway.control.parts import ControlParts
from gateway.control.refresh_once import RefresherParts
from gateway.control.refresher import Refresher
from gateway.core.metrics import Counters
from gateway.login.oidc.methods import make_logins
from gateway.login.password import PasswordLogin
from gateway.login.programs.verifier import CredentialVerifier
from gateway.one_process import OnePlane
from gateway.programs import make_verifier
from gateway.sessions.seal import KeyRing
from gateway.settings import load_users
from gateway.settings.settings import Settings
from gateway.shared import Shared
from gateway.signed_identity import make_keeper, make_mint
from gateway.signing.keys import Keys
from gateway.stores import make_handovers, make_once, make_store, make_throttle, make_vault
from gateway.wire.serving import serving
from gateway.workers import WorkerProcess, Workers

_numbers = count(1)


class Planes(Protocol):
    """The data planes of a generation, wherever they run."""

    restarts: int
    """Workers that died by themselves."""

    async def start(self, listeners: list[socket.socket]) -> None:
        """Serve. Raises ConfigError where that cannot be."""

    def ready(self) -> int:
        """Return how many serve."""

    async def refresh(self, but: WorkerProcess | None = None) -> None:
        """Let all but one look at what was ended; return when they have."""

    async def forget_credentials(self) -> None:
        """Let them ask again whose credentials are; return when they have forgotten."""

    def sign(self, keys: Keys) -> None:
        """Let them sign identity tokens with these keys."""

    async def add_counts(self, total: Counters) -> None:
        """Add what they have counted."""

    def leave(self) -> None:
        """Let no client keep its connection."""

    async def stop_accepting(self) -> None:
        """Let them take no more connections; return when they take none."""

    async def stop(self, drain: float, hurry: asyncio.Event) -> None:
        """Let requests in flight finish for ``drain`` seconds or until ``hurry``, then end."""


class Generation:
    """Both planes as one version of the configuration makes them."""

    def __init__(
        self,
        settings: Settings,
        shared: Shared,
        ended: Callable[[WorkerProcess | None], Awaitable[None]],
        *,
        one_process: bool,
    ) -> None:
        """Build them. Raises ConfigError; nothing has been started then.

        ``ended`` lets all processes but one look at what was ended.
        """
        self.settings = settings
        self._shared = shared

        async def announce() -> None:
            await ended(None)

        server_tls(settings)
        self.store = make_store(settings, announce, shared.last_seen)
        self._socket_path = str(shared.private / f"control-{next(_numbers)}.sock")
        self._throttle = make_throttle(settings)
        self._handovers = make_handovers(settings, shared.handovers)
        self._logout_tokens = make_once(settings, shared.logout_tokens)
        self.login = self._make_login()
        self.providers = make_logins(settings.providers)
        self._vault = make_vault(settings, shared.waiting)
        self._refresher = self._make_refresher()
        self.refresh = self._refresher.refresh
        """Asks providers again, for the data planes."""
        self._verifier = self._make_verifier()
        self._mint = make_mint(settings)
        self._keeper = make_keeper(settings, self._sign)
        # What our own parser has let pass, aiohttp's takes too.
        room = settings.limits.head + settings.session_cookie.budget + 4096
        self._runner = web.AppRunner(
            make_control_app(self._control_parts()),
            access_log=None,
            max_line_size=room,
            max_field_size=room,
            auto_decompress=False,
        )
        pages = {status: error_page(status) for status in ERRORS}
        start = Start(settings, self._socket_path, (), pages, CSP)
        self.planes: Planes
        if one_process:
            log = shared.access_log(settings)
            self.planes = OnePlane(start, self.store, log, shared.ended, self._verifier.verify, self.refresh)
        else:
            self.planes = Workers(
                start, settings.workers, ended, shared.ended, self._verifier.verify, self.refresh, shared.last_seen
            )

    def _sign(self, keys: Keys) -> None:
        """Sign with these keys here, as in the answers to forward-auth, and in the data planes."""
        if self._mint is not None:
            self._mint.use(keys)
        self.planes.sign(keys)

    async def _forget_credentials(self) -> None:
        """Let nobody take a credential for right because it was so before: users have changed."""
        self._verifier.forget()
        await self._forget_verdicts()

    async def _forget_verdicts(self) -> None:
        """Let the data planes ask again about every credential: API keys have changed."""
        await self.planes.forget_credentials()

    def _make_verifier(self) -> CredentialVerifier:
        shared = self._shared
        return make_verifier(
            self.settings, self.login, self._throttle, shared.audit, self._forget_verdicts, shared.credentials.count
        )

    def _make_login(self) -> PasswordLogin | None:
        settings = self.settings
        if settings.users_file is None:
            return None

        async def end_sessions(user: str) -> None:
            await self.store.revoke_user(user, time.time())

        return PasswordLogin(
            settings.users_file,
            load_users,
            rights=self._shared.rights,
            end_sessions=end_sessions,
            changed=self._forget_credentials,
            audit=self._shared.audit,
            clock=time.time,
        )

    def _make_refresher(self) -> Refresher:
        parts = RefresherParts(
            store=self.store,
            vault=self._vault,
            logins=self.providers,
            cookie=self.settings.session_cookie,
            state=self._shared.refreshing,
            audit=self._shared.audit,
            clock=time.time,
        )
        return Refresher(parts)

    def _control_parts(self) -> ControlParts:
        settings, shared = self.settings, self._shared
        router = make_router(settings, control_route(self._socket_path))
        return ControlParts(
            store=self.store,
            session_cookie=settings.session_cookie,
            lifetimes=settings.lifetimes,
            router=router,
            public_url=settings.public_url,
            login=self.login,
            providers=self.providers,
            vault=self._vault,
            pending_keys=KeyRing(settings.keys, os.urandom),
            throttle=self._throttle,
            audit=shared.audit,
            csrf_keys=KeyRing(settings.keys, os.urandom).derive("csrf"),
            serves=serving(router),
            handovers=self._handovers,
            logout_tokens=self._logout_tokens,
            logins=shared.logins,
            jwks=self._jwks(),
        )

    def _jwks(self) -> JwkSet | None:
        keeper, policy = self._keeper, self.settings.identity_token
        return JwkSet(keeper.published, int(policy.cache_time())) if keeper and policy else None

    async def take_over(self, before: Generation | None, listeners: list[socket.socket]) -> None:
        """Start in place of another one, or leave that as it is. Raises ConfigError.

        Passwords are verified by one of them at a time: what `start` finds changed of an account ends its
        sessions, and none may begin by what was true before. Logins wait meanwhile.
        """
        gives_way = before.login if before is not None else None
        if gives_way is None:
            await self.start(listeners)
            return
        gives_way.give_way()
        try:
            await self.start(listeners)
        except BaseException:
            await gives_way.take_back()
            raise
        gives_way.hand_over(self.login)

    async def start(self, listeners: list[socket.socket]) -> None:
        """Start the control plane, then serve on the given sockets. Raises ConfigError."""
        await self.store.start()
        await self._runner.setup()
        site = web.UnixSite(self._runner, self._socket_path)
        await site.start()
        os.chmod(self._socket_path, 0o600)  # noqa: PTH101 - a str, as it goes to the workers
        if self.login is not None:
            await self.login.start()
        if self._keeper is not None:
            await self._keeper.start()
        await self._verifier.start()
        for provider in self.providers.values():
            await provider.start()
        await self.planes.start(listeners)

    async def stop(self, drain: float, hurry: asyncio.Event) -> None:
        """Let requests in flight finish for ``drain`` seconds or until ``hurry``; then close all."""
        await self.planes.stop(drain, hurry)
        await self._refresher.close()
        await self._verifier.close()
        if self._keeper is not None:
            await self._keeper.close()
        if self.login is not None:
            await self.login.close()
        await self._runner.cleanup()
        for provider in self.providers.values():
            await provider.close()
        await self._throttle.close()
        await self._handovers.close()
        await self._logout_tokens.close()
        if self._vault is not None:
            await self._vault.close()
        await self.store.close()
