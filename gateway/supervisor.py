"""The running gateway: binds the sockets, runs both planes, reloads on SIGHUP, drains on SIGTERM.

It holds the sockets, so no connection is lost whichever worker or configuration comes and goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import uvloop
from aiohttp import web

from gateway import __version__, early_signals
from gateway.control.admin import make_admin_app
from gateway.control.parts import AdminParts
from gateway.core.metrics import Counters, RunState
from gateway.errors import ConfigError, GatewayError, StoreUnavailable
from gateway.generation import Generation
from gateway.listening import bind, close_listener, url_of
from gateway.logs import set_up_logging
from gateway.sessions.store import SessionStore
from gateway.settings import Settings, check_files, load_settings
from gateway.shared import Shared
from gateway.workers import WorkerProcess

_log = logging.getLogger("gateway")

REFRESH_EVERY = 1.0
"""Seconds between two looks at what others have ended, as another gateway with the same ``state_dir``."""

Announce = Callable[[str], None]


class Supervisor:
    """One running gateway."""

    def __init__(self, settings: Settings, config_path: Path, announce: Announce, *, one_process: bool = False) -> None:
        """``one_process`` is for the demo; else data planes are processes of their own. Raises ConfigError."""
        self._settings = settings
        self._one_process = one_process
        self._config_path = config_path
        self._announce = announce
        self._shared = Shared(settings)
        self._sockets: list[socket.socket] = []
        self._generation: Generation | None = None
        self._generations: list[Generation] = []
        """The one in force and those that finish what they have begun."""
        self._counters = Counters()
        self._restarts = 0
        """Of generations that have ended."""
        self._run = RunState(configured_at=time.time())
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
            self._take_signals(loop)
            settings = self._settings
            self._sockets = [bind(address, settings.where("listen"), "listen") for address in settings.listen]
            admin_sockets: list[socket.socket] = []
            if settings.admin_listen is not None:
                admin_sockets = [bind(settings.admin_listen, settings.where("admin_listen"), "admin_listen")]
            self._generation = self._make_generation(self._settings)
            self._generations.append(self._generation)
            # A reload that is asked for meanwhile waits until there is something to reload.
            async with self._reloading:
                await self._unless_stopped(self._generation.start(self._sockets))
            if not self._stop.is_set():
                admin = web.AppRunner(make_admin_app(self._admin_parts()), access_log=None)
                await admin.setup()
                for sock in admin_sockets:
                    await web.SockSite(admin, sock).start()
                for sock in self._sockets:
                    self._announce(f"listening on {url_of(sock, 'https' if self._settings.tls else 'http')}")
                for sock in admin_sockets:
                    self._announce(f"admin on {url_of(sock, 'http')}")
                follow = loop.create_task(self._follow(), name="follow")
                await self._stop.wait()
                follow.cancel()
            self._announce("stopping")
        finally:
            await self._shut_down(admin)

    def _make_generation(self, settings: Settings) -> Generation:
        return Generation(settings, self._shared, self._let_all_refresh, one_process=self._one_process)

    async def _let_all_refresh(self, but: WorkerProcess | None) -> None:
        """Let everybody on this host look at what was ended, but the one who says so."""
        stores = [generation.store.refresh() for generation in self._generations]
        planes = [generation.planes.refresh(but) for generation in self._generations]
        for error in await asyncio.gather(*stores, *planes, return_exceptions=True):
            if isinstance(error, BaseException):
                _log.error("ended sessions cannot be followed: %s", error)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY)
            for generation in list(self._generations):
                with contextlib.suppress(StoreUnavailable):
                    await generation.store.refresh()

    async def _count(self) -> None:
        """Bring together what all data planes have counted."""
        total = Counters()
        total.add(self._shared.ended, ended=True)
        await asyncio.gather(*[generation.planes.add_counts(total) for generation in self._generations])
        self._counters = total
        self._run.workers = sum(generation.planes.ready() for generation in self._generations)
        self._run.worker_restarts = self._restarts + sum(generation.planes.restarts for generation in self._generations)

    def _take_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take signals from now on, and see to those that came before."""
        takers = {
            signal.SIGTERM: self._stop_or_hurry,
            signal.SIGINT: self._stop_or_hurry,
            signal.SIGHUP: self._begin_reload,
        }
        for number, take in takers.items():
            loop.add_signal_handler(number, take)
        for noted in early_signals.take():
            takers[signal.Signals(noted)]()

    async def _unless_stopped(self, start: Coroutine[None, None, None]) -> None:
        """Start, or leave off with that when told to stop. Raises what ``start`` does."""
        loop = asyncio.get_running_loop()
        starting = loop.create_task(start, name="start")
        stopping = loop.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting

    def _stop_or_hurry(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _admin_parts(self) -> AdminParts:
        return AdminParts(
            store=self.current_store,
            audit=self._shared.audit,
            token=lambda: self._settings.admin_token,
            run=self._run,
            gather=self._count,
            counters=lambda: self._counters,
            logins=self._shared.logins,
            refreshes=self._shared.refreshing.counts,
            credentials=self._shared.credentials,
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
        limits = self._settings.limits
        if self._stop.is_set() and limits.leave_time and self._generation is not None:
            self._generation.planes.leave()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.leave_time):
                    await self._hurry.wait()
        for sock in self._sockets:
            close_listener(sock)
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        drain = limits.drain_time if self._stop.is_set() else 0.0
        await asyncio.gather(
            *[
                generation.stop(drain if generation is self._generation else 0.0, self._hurry)
                for generation in {*self._generations, *([self._generation] if self._generation else [])}
            ]
        )
        if admin is not None:
            await admin.cleanup()
        self._shared.close(self._settings.lifetimes.idle)
        for number in early_signals.NUMBERS:
            # Too late for any signal to change how this ends.
            asyncio.get_running_loop().remove_signal_handler(number)
        early_signals.ignore()

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
                generation = self._make_generation(settings)
                self._generations.append(generation)
                await generation.take_over(old, self._sockets)
            except (GatewayError, OSError) as error:
                for line in str(error).splitlines():
                    _log.error("%s", line)
                self._run.reload_successful = False
                _log.error("the configuration was not reloaded; the one before stays in force")
                if generation is not None:
                    await self._end_generation(generation, 0.0)
                return
            self._generation = generation
            if settings.listen != self._settings.listen or settings.admin_listen != self._settings.admin_listen:
                _log.warning("listen addresses only change with a restart")
            self._settings = settings
            if old is not None:
                # From here on whoever connects meets the new configuration.
                await old.planes.stop_accepting()
            self._run.reload_successful = True
            self._run.configured_at = time.time()
            self._announce("configuration reloaded")
        if old is not None:
            await self._end_generation(old, settings.limits.drain_time)

    async def _end_generation(self, generation: Generation, drain: float) -> None:
        try:
            await generation.stop(drain, self._hurry)
        finally:
            self._restarts += generation.planes.restarts
            self._generations.remove(generation)


def _load_checked(path: Path) -> Settings:
    """Load the configuration and look at the files it names. Raises ConfigError."""
    settings = load_settings(path, dict(os.environ))
    problems = check_files(settings)
    if problems:
        raise ConfigError(problems)
    return settings


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
