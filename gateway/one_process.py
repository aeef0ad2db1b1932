"""The data plane in the parent's own process and event loop: for the demo, and wherever one process is enough.

It has the shape of `Workers`; a burst of logins may delay what is proxied here.
"""

from __future__ import annotations

import asyncio
import socket

from gateway.assembly import build_plane, control_route, make_router, server_tls
from gateway.channel import Start
from gateway.core.metrics import Counters
from gateway.core.programs import Verify
from gateway.core.refresh import Refresh
from gateway.proxy.record import LineWriter
from gateway.sessions.store import SessionStore
from gateway.signed_identity import make_mint
from gateway.signing.keys import Keys


class OnePlane:
    """One data plane on the parent's event loop, over the parent's own store."""

    restarts = 0

    def __init__(
        self,
        start: Start,
        store: SessionStore,
        access_log: LineWriter | None,
        ended: Counters,
        verify: Verify,
        refresh: Refresh,
    ) -> None:
        """Build it. Raises ConfigError."""
        settings = start.settings
        self._ended = ended
        self._counters = Counters()
        self._tls = server_tls(settings)
        self._listening = False
        router = make_router(settings, control_route(start.control_socket))
        self._mint = make_mint(settings)
        loop = asyncio.get_running_loop()
        self._plane = build_plane(
            settings,
            router,
            store,
            start.pages,
            start.csp,
            self._counters,
            access_log,
            loop,
            self._mint,
            verify,
            refresh,
        )

    async def start(self, listeners: list[socket.socket]) -> None:
        """Serve."""
        for sock in listeners:
            await self._plane.listen(sock.dup(), self._tls)
        self._listening = True

    def ready(self) -> int:
        """Return how many planes serve."""
        return int(self._listening)

    async def refresh(self, but: object = None) -> None:
        """Do nothing: the store is the one that the session was ended in."""

    async def forget_credentials(self) -> None:
        """Ask again whose credentials are."""
        self._plane.credentials.forget()

    def sign(self, keys: Keys) -> None:
        """Sign identity tokens with these keys."""
        if self._mint is not None:
            self._mint.use(keys)

    async def add_counts(self, total: Counters) -> None:
        """Add what was counted."""
        total.add(self._counters)

    def leave(self) -> None:
        """Let no client keep its connection."""
        self._plane.leave()

    async def stop_accepting(self) -> None:
        """Take no more connections."""
        self._plane.stop_accepting()

    async def stop(self, drain: float, hurry: asyncio.Event) -> None:
        """Let requests in flight finish for ``drain`` seconds or until ``hurry``, then close."""
        await self._plane.drain(drain, hurry)
        await self._plane.close()
        self._listening = False
        self._ended.add(self._counters, ended=True)
