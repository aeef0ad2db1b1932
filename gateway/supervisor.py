"""The running gateway: binds the sockets, runs both planes, reloads on SIGHUP, drains on SIGTERM.

A `Generation` is everything that one version of the configuration made. A reload starts a new one on
the same sockets and lets the old one finish what it has begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop
from aiohttp import web

from gateway import __version__
from gateway.control.admin import make_admin_app
from gateway.control.app import make_control_app
from gateway.control.metrics import LoginCounts
from gateway.control.pages import CSP, ERRORS, error_page
from gateway.control.parts import AdminParts, ControlParts
from gateway.core.metrics import Counters
from gateway.core.route import Route
from gateway.core.session import Session
from gateway.errors import ConfigError, GatewayError, Problem, StoreUnavailable
from gateway.listening import bind, close_listener, url_of
from gateway.login.password import PasswordLogin
from gateway.login.rights import RightsWatch
from gateway.login.throttle import MemoryThrottle
from gateway.logs import audit_writer, open_log, set_up_logging
from gateway.proxy.record import LineWriter
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import SessionStore
from gateway.settings import Settings, check_files, load_settings, load_users
from gateway.wire.identity_headers import IdentityHeaders
from gateway.wire.target import parse_target
from gateway.worker import build_plane, control_route, make_router, make_store, server_tls

_log = logging.getLogger("gateway")

LEDGER_EVERY = 1.0
"""Seconds between two looks at what others have written into the ledger of ended sessions."""

Announce = Callable[[str], None]


class Shared:
    """What outlives a reload: counters, logs, the ledger of ended sessions, the login throttle."""

    def __init__(self, settings: Settings) -> None:
        """Open it all. Raises ConfigError."""
        try:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            where = settings.where("state_dir")
            raise ConfigError([Problem(where, "state_dir", f"cannot be used: {error.strerror}")]) from error
        self.counters = Counters()
        self.logins = LoginCounts()
        self.throttle = MemoryThrottle(time.monotonic)
        self.access_log: LineWriter | None = open_log(settings.log.access)
        audit_log = self.access_log if settings.log.audit == settings.log.access else open_log(settings.log.audit)
        self.audit_log: LineWriter | None = audit_log
        self.audit = audit_writer(audit_log)
        self.rights = RightsWatch(settings.state_dir / "rights.json")
        self.draining = False
        self.private = Path(tempfile.mkdtemp(prefix="gateway-"))
        longest = max(settings.lifetimes.absolute, settings.lifetimes.remember or 0.0)
        try:
            self.revocations = Revocations(settings.state_dir / "revocations.sqlite", longest, time.time())
        except StoreUnavailable as error:
            raise ConfigError([Problem(settings.where("state_dir"), "state_dir", str(error))]) from error

    async def follow_ledger(self) -> None:
        """Learn within a second what another gateway with the same ``state_dir`` has ended."""
        while True:
            await asyncio.sleep(LEDGER_EVERY)
            try:
                await self.revocations.refresh()
            except StoreUnavailable as error:
                _log.error("%s", error)

    def close(self) -> None:
        """Close it all."""
        self.revocations.close()
        for log in {self.access_log, self.audit_log} - {None}:
            if log is not None:
                log.close()
        shutil.rmtree(self.private, ignore_errors=True)


class Generation:
    """Both planes as one version of the configuration makes them."""

    _count = 0

    def __init__(self, settings: Settings, shared: Shared) -> None:
        """Build them. Raises ConfigError; nothing has been started then."""
        Generation._count += 1
        self.settings = settings
        self._shared = shared
        self._socket_path = shared.private / f"control-{Generation._count}.sock"
        self.tls = server_tls(settings)
        self.store: SessionStore = make_store(settings, shared.revocations)
        self.router = make_router(settings, control_route(self._socket_path))
        self.login = self._make_login()
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
        loop = asyncio.get_running_loop()
        self.plane = build_plane(
            settings, self.router, self.store, pages, CSP, shared.counters, shared.access_log, loop
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
            audit=self._shared.audit,
            clock=time.time,
        )

    def _control_parts(self) -> ControlParts:
        settings, shared = self.settings, self._shared
        identity = IdentityHeaders(settings.identity_headers)

        def headers_for(session: Session, route: Route) -> list[tuple[str, str]]:
            return identity.pairs(session.identity)

        def paths_of(target: str) -> tuple[str, ...]:
            found = parse_target(target.encode("ascii"))
            return (found.path, *found.readings)

        return ControlParts(
            store=self.store,
            session_cookie=settings.session_cookie,
            lifetimes=settings.lifetimes,
            router=self.router,
            public_url=settings.public_url,
            login=self.login,
            throttle=shared.throttle,
            audit=shared.audit,
            csrf_keys=KeyRing(settings.keys, os.urandom).derive("csrf"),
            identity_headers=headers_for,
            target_paths=paths_of,
            logins=shared.logins,
        )

    def retire_login(self, *, retired: bool) -> None:
        """Let nobody log in here any more, or again: the next generation may know other users."""
        if self.login is not None:
            self.login.retire(retired=retired)

    async def start(self, sockets: list[socket.socket]) -> None:
        """Start the control plane, then serve on the given sockets."""
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket_path)).start()
        self._socket_path.chmod(0o600)
        if self.login is not None:
            await self.login.start()
        for sock in sockets:
            await self.plane.listen(sock.dup(), self.tls)

    async def stop(self, drain: float, hurry: asyncio.Event) -> None:
        """Let requests in flight finish for ``drain`` seconds or until ``hurry``; then close all but the ledger."""
        await self.plane.drain(drain, hurry)
        await self.plane.close()
        if self.login is not None:
            await self.login.close()
        await self._runner.cleanup()


class Supervisor:
    """One running gateway."""

    def __init__(self, settings: Settings, config_path: Path, announce: Announce) -> None:
        self._settings = settings
        self._config_path = config_path
        self._announce = announce
        self._shared = Shared(settings)
        self._sockets: list[socket.socket] = []
        self._generation: Generation | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        """Set by a second signal: stop without waiting for requests in flight."""
        self._reloading = asyncio.Lock()

    async def run(self) -> None:
        """Serve until told to stop. Raises ConfigError where it cannot start."""
        loop = asyncio.get_running_loop()
        admin: web.AppRunner | None = None
        try:
            settings = self._settings
            self._sockets = [bind(address, settings.where("listen"), "listen") for address in settings.listen]
            admin_sockets: list[socket.socket] = []
            if settings.admin_listen is not None:
                admin_sockets = [bind(settings.admin_listen, settings.where("admin_listen"), "admin_listen")]
            self._generation = Generation(self._settings, self._shared)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop_or_hurry)
            loop.add_signal_handler(signal.SIGHUP, self._begin_reload)
            await self._generation.start(self._sockets)
            admin = web.AppRunner(make_admin_app(self._admin_parts()), access_log=None)
            await admin.setup()
            for sock in admin_sockets:
                await web.SockSite(admin, sock).start()
            for sock in self._sockets:
                self._announce(f"listening on {url_of(sock, 'https' if self._settings.tls else 'http')}")
            for sock in admin_sockets:
                self._announce(f"admin on {url_of(sock, 'http')}")
            follow = loop.create_task(self._shared.follow_ledger(), name="ledger")
            await self._stop.wait()
            follow.cancel()
            self._announce("stopping")
        finally:
            await self._shut_down(admin)

    def _stop_or_hurry(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _admin_parts(self) -> AdminParts:
        return AdminParts(
            store=_CurrentStore(self),
            counters=lambda: self._shared.counters,
            logins=self._shared.logins,
            draining=lambda: self._shared.draining,
            version=__version__,
        )

    def current_store(self) -> SessionStore:
        """Return the store of the configuration in force."""
        if self._generation is None:
            raise StoreUnavailable("the gateway is starting")
        return self._generation.store

    async def _shut_down(self, admin: web.AppRunner | None) -> None:
        self._shared.draining = True
        for sock in self._sockets:
            close_listener(sock)
        if self._generation is not None:
            await self._generation.stop(self._settings.limits.drain_time if self._stop.is_set() else 0.0, self._hurry)
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        if admin is not None:
            await admin.cleanup()
        self._shared.close()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Too late for any signal to change how this ends.
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _begin_reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload(), name="reload")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _reload(self) -> None:
        """Read the configuration again; a bad one changes nothing."""
        async with self._reloading:
            old = self._generation
            generation: Generation | None = None
            try:
                settings = await asyncio.to_thread(_load_checked, self._config_path)
                generation = Generation(settings, self._shared)
                if old is not None:
                    old.retire_login(retired=True)
                await generation.start(self._sockets)
            except (GatewayError, OSError) as error:
                for line in str(error).splitlines():
                    _log.error("%s", line)
                _log.error("the configuration was not reloaded; the one before stays in force")
                if generation is not None:
                    await generation.stop(0.0, self._hurry)
                if old is not None:
                    old.retire_login(retired=False)
                return
            self._generation = generation
            if settings.listen != self._settings.listen or settings.admin_listen != self._settings.admin_listen:
                _log.warning("listen addresses only change with a restart")
            self._settings = settings
            self._announce("configuration reloaded")
        if old is not None:
            await old.stop(settings.limits.drain_time, self._hurry)


def _load_checked(path: Path) -> Settings:
    """Load the configuration and look at the files it names. Raises ConfigError."""
    settings = load_settings(path, dict(os.environ))
    problems = check_files(settings)
    if problems:
        raise ConfigError(problems)
    return settings


class _CurrentStore:
    """Asks the store of the configuration in force whether it works; for readiness."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def check(self) -> None:
        """Raise StoreUnavailable unless it does."""
        await self._supervisor.current_store().check()


def announce_on_stderr(text: str) -> None:
    """Say something to whoever started the gateway."""
    print(f"gateway: {text}", file=sys.stderr, flush=True)


def run(settings: Settings, config_path: Path, announce: Announce = announce_on_stderr) -> int:
    """Run the gateway until SIGTERM; return its exit code: 0, or 1 with the reasons on stderr."""
    set_up_logging(settings.log.level)

    async def serve() -> None:
        await Supervisor(settings, config_path, announce).run()

    try:
        uvloop.run(serve())
    except ConfigError as error:
        for problem in error.problems:
            announce(str(problem))
        return 1
    return 0
