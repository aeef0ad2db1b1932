"""The data plane as a whole: listening, the sweep of time limits, draining."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Final

from gateway.core import reasons
from gateway.errors import BadToken, IdleSession, SessionError, StoreUnavailable, UpstreamError
from gateway.proxy.client_transport import NEVER
from gateway.proxy.credentials import NotProved
from gateway.proxy.downstream import Downstream
from gateway.proxy.exchange import Exchange
from gateway.proxy.plane import LATE, SWEEP_EVERY, Client, Plane, PlaneParts
from gateway.proxy.watched import Watched
from gateway.sessions.store import Opened

SESSION_CHECK_EVERY: Final = 1.0
"""Seconds between two looks at the sessions behind open connections."""
KEEP_AHEAD: Final = 2.5
"""Seconds before a session becomes idle from which on a store is asked to keep it for a response under way."""
KEEP_AT_LEAST: Final = 60.0
"""Seconds for which it is asked to, where the idle time is shorter."""
READ_GRACE: Final = 0.02
RECHECKED_AT_ONCE: Final = 64
BACKLOG: Final = 1024
IDLE_GRACE: Final = 1.0
"""Seconds since its last answer after which a connection is taken for idle when the gateway stops."""


class DataPlane(Plane):
    """Client connections of one worker."""

    def __init__(self, parts: PlaneParts, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(parts, loop)
        self._servers: list[asyncio.Server] = []
        self._sweeping: asyncio.Task[None] | None = None
        self._rechecking: asyncio.Task[None] | None = None

    # Listening

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve clients on a bound socket."""
        scheme = "https" if tls else "http"

        def make() -> Downstream:
            return Downstream(self, scheme, Exchange)

        patience = self.limits.first_byte_time if tls else None
        create = self.loop.create_unix_server if sock.family == socket.AF_UNIX else self.loop.create_server
        server = await create(make, sock=sock, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=patience)
        self._servers.append(server)
        if self._sweeping is None:
            self._sweeping = self.loop.create_task(self._sweep_forever(), name="sweep")

    # Time

    async def _sweep_forever(self) -> None:
        next_check = 0.0
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            if self._postpone():
                # What has come meanwhile is read before anybody is taken for slow.
                await asyncio.sleep(READ_GRACE)
                self._postpone()
            check = self.now >= next_check
            if check:
                next_check = self.now + SESSION_CHECK_EVERY
            try:
                self.sweep(check_sessions=check)
            except Exception:
                self.log.exception("the sweep failed")

    def _postpone(self) -> bool:
        """Move all deadlines by the time that the process did not get, if that is so.

        One that was set meanwhile was reckoned from the last sweep, so it could be over before it began.
        """
        now = self.loop.time()
        missed = now - self.now - LATE
        if missed <= 0.0:
            return False
        self.now = now
        for client in self.clients:
            client.deadline += missed
            client.stall_deadline += missed
            if client.upstream is not None:
                client.upstream.deadline += missed
        return True

    def sweep(self, *, check_sessions: bool) -> None:
        """Look at every connection once: what has waited too long, whose session has ended."""
        now = self.loop.time()
        since, self.now = now - self.now, now
        self.wall = self.wall_clock()
        self.http_date = self.clock.http_date(self.wall)
        for client in list(self.clients):
            if client.deadline <= now:
                client.deadline = NEVER
                client.on_expire()
            if client.stall_deadline <= now:
                client.cut(reasons.WRITE_STALL)
            upstream = client.upstream
            if upstream is not None and upstream.deadline <= now:
                upstream.deadline = NEVER
                upstream.fail(UpstreamError(504, "the upstream did not answer in time", sent=True))
        for each in list(self.uploading):
            if not each.goes_on_uploading(since):
                self.uploading.discard(each)
        if check_sessions:
            self._check_sessions([client for client in self.clients if client.watched is not None])
        self.pools.sweep(now)
        if self.access_log is not None:
            self.access_log.flush()
            self.counters.log_lines_dropped = self.access_log.dropped

    # Sessions behind open connections

    def _check_sessions(self, clients: list[Client]) -> None:
        """End what may go on no more; where that is not known, begin to find out."""
        suspects: list[Client] = []
        for client in clients:
            watched = client.watched
            if watched is None:
                continue
            if not self._may_go_on(watched):
                self.log.info("a connection is closed, for its session may not have it any more")
                client.end_stream(reasons.RIGHTS_CHANGED)
            elif self._rechecking is None and self._is_in_doubt(watched):
                suspects.append(client)
        if suspects:
            self._rechecking = self.loop.create_task(self._recheck(suspects), name="recheck")

    def _is_in_doubt(self, watched: Watched) -> bool:
        """Tell whether the session of an open stream is not in memory as it was: ended, changed, run out, forgotten."""
        if watched.presented is not None:
            return self.credentials.peek(watched.presented, self.wall) is not watched.opened
        latest = watched.follow()
        # Of one whose token is closed, memory is told of changes, but new requests do not find it there.
        if latest.doubtful or (not latest.closed and self.store.peek(latest.token) is not latest):
            return True
        if not watched.ends_when_idle and latest.until - KEEP_AHEAD <= self.wall and watched.kept_until <= self.wall:
            return True
        return self.store.is_over(latest, self.wall)

    async def _recheck(self, clients: list[Client]) -> None:
        """Ask the store about the sessions of open streams, some at a time; end those that are over."""
        try:
            for start in range(0, len(clients), RECHECKED_AT_ONCE):
                some = clients[start : start + RECHECKED_AT_ONCE]
                await asyncio.gather(*[self._recheck_one(client) for client in some])
        finally:
            self._rechecking = None

    async def _recheck_one(self, client: Client) -> None:
        watched = client.watched
        if watched is None:
            return
        latest = watched.follow()
        try:
            if watched.presented is not None:
                found = await self.credentials.prove(watched.presented, self.wall)
            else:
                found = await self._load_watched(watched, latest)
        except (SessionError, NotProved) as error:
            self.log.info("a connection is closed, for its session is over: %s", error)
            if client.watched is watched:
                client.end_stream(self._why_over(watched, error))
            return
        if watched.presented is not None:
            watched.opened = found
        elif found is not latest and latest.renewed is None:
            latest.renewed = found

    def _why_over(self, watched: Watched, error: SessionError | NotProved) -> str:
        """Return why a session or credential is over, as a code."""
        if isinstance(error, NotProved):
            return reasons.CREDENTIAL_OVER
        if isinstance(error, IdleSession):
            return reasons.SESSION_IDLE
        if isinstance(error, StoreUnavailable):
            return reasons.SESSION_UNKNOWN
        return reasons.SESSION_EXPIRED if watched.opened.session.expires <= self.wall else reasons.SESSION_REVOKED

    async def _load_watched(self, watched: Watched, latest: Opened) -> Opened:
        """Return the session of what stays open as its store has it. Raises SessionError where that is to end.

        What does not end with an idle session needs the store to remember that it was not revoked.
        """
        try:
            found = await self.store.load(
                latest.token, self.wall, host=latest.host, grace=watched.store_grace, streaming=True
            )
        except IdleSession:
            if watched.ends_when_idle:
                raise
            found = latest
        if found.until <= self.wall and (watched.ends_when_idle or found.session.expires <= self.wall):
            # Known from before, while the store does not answer.
            raise BadToken("the session is over")
        if not watched.ends_when_idle and found.until - KEEP_AHEAD <= self.wall and watched.kept_until <= self.wall:
            # Never for less than a session that is in use may have: it may have been used elsewhere just now.
            seconds = max(KEEP_AT_LEAST, found.session.idle or 0.0)
            with suppress(StoreUnavailable):
                await self.store.keep(found, seconds)
                watched.kept_until = self.wall + seconds - KEEP_AHEAD
        return found

    def _may_go_on(self, watched: Watched) -> bool:
        """Tell whether what is open may stay so by what the session's provider told last; ask it where that is due."""
        if watched.presented is None and self.logins.is_too_old(watched.opened.latest()) and watched.needs_session():
            return False
        return watched.is_allowed()

    # The end

    def leave(self) -> None:
        """Let clients know that their connections end with the next answer; new ones are still taken."""
        self.draining = True

    def stop_accepting(self) -> None:
        """Take no more connections."""
        self.draining = True
        for server in self._servers:
            server.close()

    async def _close_idle(self) -> None:
        """Close connections that have been idle for a while.

        One that has just been used may have a request on its way; that is answered, with a `close`.
        """
        idle_before = self.loop.time() - IDLE_GRACE
        idle = [client for client in self.clients if client.is_idle() and client.idle_since < idle_before]
        # A process that got no time may have requests in its sockets that it has not read yet.
        await asyncio.sleep(READ_GRACE)
        for client in idle:
            if client.is_idle() and client.idle_since < idle_before:
                client.close_idle()

    async def drain(self, seconds: float, hurry: asyncio.Event | None = None) -> None:
        """Let requests in flight finish, for at most ``seconds`` or until ``hurry``; then cut them."""
        self.stop_accepting()
        start = self.loop.time()
        while self.clients and self.loop.time() < start + seconds and not (hurry and hurry.is_set()):
            await self._close_idle()
            if self.loop.time() >= start + min(seconds, self.limits.tunnel_drain_time):
                self._end_tunnels()
            await asyncio.sleep(0.03)
        self._end_tunnels()
        for client in list(self.clients):
            if not client.lingering:
                client.cut(reasons.SHUTDOWN)
        end = self.loop.time() + self.limits.linger_time
        while self.clients and self.loop.time() < end:  # noqa: ASYNC110 - the last of many sets no event
            await asyncio.sleep(0.02)

    def _end_tunnels(self) -> None:
        for client in list(self.clients):
            client.end_tunnel()

    async def close(self) -> None:
        """Give everything back."""
        await self.drain(0)
        self.logins.close()
        for task in (self._sweeping, self._rechecking):
            if task is not None:
                task.cancel()
        await asyncio.sleep(0)
        self.pools.close()
        for server in self._servers:
            await server.wait_closed()
