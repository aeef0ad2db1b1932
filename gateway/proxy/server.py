"""The data plane as a whole: what all connections share, listening, the sweep of time limits, draining."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.core.cookie import CookiePolicy
from gateway.core.limits import Limits
from gateway.core.metrics import Counters
from gateway.core.peer import TrustedProxies
from gateway.core.route import Router
from gateway.core.session import Lifetimes
from gateway.errors import RequestError, SessionError, UpstreamError
from gateway.proxy.downstream import NEVER, Downstream
from gateway.proxy.exchange import Exchange
from gateway.proxy.outgoing import client_address
from gateway.proxy.plan import RoutePlan
from gateway.proxy.record import Clock, LineWriter, access_line
from gateway.sessions.store import Opened, SessionStore
from gateway.wire.cookies import CookiePicker, KnownCookies
from gateway.wire.head import AnswerParser, RequestParser
from gateway.wire.identity_headers import IdentityHeaders
from gateway.wire.replies import OwnAnswers

SWEEP_EVERY = 0.25
SESSION_CHECK_EVERY = 1.0
"""Seconds between two looks at the sessions behind open connections."""
RESERVED_DESCRIPTORS = 48
CONTROL_ROUTE = "gateway"
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class PlaneParts:
    """Everything the data plane is made of; the composition root fills it in."""

    router: Router
    control: str
    """The name of the route that leads to the control plane."""
    store: SessionStore
    session_cookie: CookiePolicy
    lifetimes: Lifetimes
    identity: IdentityHeaders
    dropped_answer_names: frozenset[bytes]
    answers: OwnAnswers
    login_page: str
    """A path on the same host, or the URL of the one login page for all hosts."""
    trusted: TrustedProxies
    limits: Limits
    access_log: LineWriter | None
    random: Callable[[int], bytes]
    wall_clock: Callable[[], float] = time.time
    own_cookies: tuple[str, ...] = ("gateway_", "__Host-gateway_", "__Secure-gateway_")
    counters: Counters = field(default_factory=Counters)


class DataPlane:
    """Client connections of one worker, and what they share."""

    def __init__(self, parts: PlaneParts, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.log = logging.getLogger("gateway.proxy")
        self.router = parts.router
        self.store = parts.store
        self.answers = parts.answers
        self.login_page = parts.login_page
        self.trusted = parts.trusted
        self.limits = parts.limits
        self.counters = parts.counters
        self.picker = CookiePicker(parts.session_cookie.full_name, parts.own_cookies)
        self.cookies = KnownCookies(self.picker)
        self.requests = RequestParser(parts.limits, parts.identity.names())
        self.pseudonym = b"gateway-" + parts.random(4).hex().encode("ascii")
        self.now = loop.time()
        """Loop time, as of the last sweep."""
        self.access_log = parts.access_log
        self.wall_clock = parts.wall_clock
        self.wall = parts.wall_clock()
        """Seconds since the epoch, as of the last sweep."""
        self.draining = False
        self._parts = parts
        self._clock = Clock()
        self.http_date = self._clock.http_date(self.wall)
        self._id_prefix = parts.random(8).hex()
        self._id_next = 0
        self._clients: set[Downstream] = set()
        self._servers: list[asyncio.Server] = []
        self._max_clients = min(parts.limits.connections, _descriptor_limit())
        self._sweeping: asyncio.Task[None] | None = None
        self._renewals: set[asyncio.Task[None]] = set()
        self.plans = self._make_plans()

    def _make_plans(self) -> Mapping[str, RoutePlan]:
        parts = self._parts
        parser = AnswerParser(parts.limits, parts.identity.names() | parts.dropped_answer_names)
        return {
            route.name: RoutePlan(
                route, parts.identity, self.counters.route(route.name), parser, parts.limits, self.loop
            )
            for route in parts.router.all_routes()
        }

    # Listening

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve clients on a bound socket."""
        scheme = "https" if tls else "http"

        def make() -> Downstream:
            return Downstream(self, scheme, Exchange)

        if sock.family == socket.AF_UNIX:
            server = await self.loop.create_unix_server(make, sock=sock, ssl=tls, backlog=BACKLOG)
        else:
            server = await self.loop.create_server(make, sock=sock, ssl=tls, backlog=BACKLOG)
        self._servers.append(server)
        if self._sweeping is None:
            self._sweeping = self.loop.create_task(self._sweep_forever(), name="sweep")

    def admit(self, client: Downstream) -> bool:
        """Count a connection in, unless there are too many or we are stopping."""
        if len(self._clients) >= self._max_clients:
            return False
        self._clients.add(client)
        self.counters.connections = len(self._clients)
        self.counters.accepted += 1
        return True

    def forget(self, client: Downstream) -> None:
        """Count a connection out."""
        self._clients.discard(client)
        self.counters.connections = len(self._clients)

    def busy_answer(self) -> bytes:
        """Return the 503 for a connection over the limit."""
        return self.answers.answer(
            503, None, self.next_request_id(), self.http_date, close=True, extra=(b"Retry-After: 5",)
        )

    def answer_bad_request(self, client: Downstream, error: RequestError) -> None:
        """Answer a head that could not be understood."""
        request_id = self.next_request_id()
        client.write(self.answers.answer(error.status, None, request_id, self.http_date, close=True))
        if self.access_log is not None:
            stamp = self._clock.stamp(self.wall_clock())
            trace = request_id.decode("ascii")
            self.access_log.write(
                access_line(
                    stamp, client.peer_text, "-", "", "", error.status, 0, 0.0, None, "", "-", trace, str(error)
                )
            )

    def is_last(self, client: Downstream) -> bool:
        """Tell whether the answer under way is to be the connection's last."""
        return self.draining or client.requests >= self.limits.keep_alive_requests

    def next_request_id(self) -> bytes:
        """Return a new id: 32 hexadecimal digits, unique and fit for a trace id (W3C Trace Context)."""
        self._id_next += 1
        return f"{self._id_prefix}{self._id_next:016x}".encode("ascii")

    # Sessions

    def renew(self, opened: Opened) -> None:
        """Write a session anew, beside the request, if nobody has done so since it was due."""
        latest = opened.latest()
        if latest.renewing or latest.renew_at > self.wall:
            return
        latest.renewing = True
        task = self.loop.create_task(self._renew(latest), name="renew")
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _renew(self, opened: Opened) -> None:
        try:
            opened.renewed = await self.store.save(opened.session.touched(self.wall))
        except SessionError as error:
            self.log.warning("a session could not be renewed: %s", error)
        finally:
            opened.renewing = False

    def renewed_cookies(self, opened: Opened) -> tuple[bytes, ...]:
        """Return the Set-Cookie values for a session that was written anew."""
        latest = opened.latest()
        if latest.token == opened.token:
            return ()
        session = latest.session
        max_age = int(session.expires - self.wall) if session.remembered else None
        values = self._parts.session_cookie.set(latest.token, max_age=max_age, now=self.wall)
        return tuple(value.encode("ascii") for value in values)

    # Records

    def record(self, exchange: Exchange) -> None:
        """Count a finished exchange and write its line."""
        plan, head, client, opened = exchange.plan, exchange.head, exchange.client, exchange.opened
        seconds = self.loop.time() - exchange.started
        route = "-"
        if plan is not None:
            route = plan.name
            plan.counters.record(exchange.status, seconds)
        if self.access_log is None:
            return
        self.access_log.write(
            access_line(
                self._clock.stamp(self.wall_clock()),
                str(client_address(client, head) or "") if client.peer_trusted else client.peer_text,
                head.method,
                head.host,
                head.path,
                exchange.status,
                exchange.sent,
                seconds,
                exchange.upstream_took,
                opened.session.identity.user if opened is not None else "",
                route,
                exchange.request_id.decode("ascii"),
                exchange.error,
            )
        )

    # Time

    async def _sweep_forever(self) -> None:
        next_check = 0.0
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            check = self.now >= next_check
            if check:
                next_check = self.now + SESSION_CHECK_EVERY
            try:
                self.sweep(check_sessions=check)
            except Exception:
                self.log.exception("the sweep failed")

    def sweep(self, *, check_sessions: bool) -> None:
        """Look at every connection once: what has waited too long, whose session has ended."""
        now = self.now = self.loop.time()
        self.wall = self.wall_clock()
        self.http_date = self._clock.http_date(self.wall)
        for client in list(self._clients):
            if client.deadline <= now:
                client.deadline = NEVER
                client.on_expire()
            upstream = client.upstream
            if upstream is not None and upstream.deadline <= now:
                upstream.deadline = NEVER
                upstream.fail(UpstreamError(504, "the upstream did not answer in time", sent=True))
            opened = client.opened
            if check_sessions and opened is not None and self.store.is_over(opened, self.wall):
                client.opened = None
                client.end_stream()
        for plan in self.plans.values():
            for pool in plan.pools:
                pool.sweep(now)
        if self.access_log is not None:
            self.access_log.flush()
            self.counters.log_lines_dropped = self.access_log.dropped

    # The end

    def stop_accepting(self) -> None:
        """Take no more connections, and close those that carry no request."""
        self.draining = True
        for server in self._servers:
            server.close()
        for client in list(self._clients):
            if client.is_idle():
                client.close_idle()

    async def drain(self, seconds: float, hurry: asyncio.Event | None = None) -> None:
        """Let requests in flight finish, for at most ``seconds`` or until ``hurry``; then cut them."""
        self.stop_accepting()
        start = self.loop.time()
        while self._clients and self.loop.time() < start + seconds and not (hurry and hurry.is_set()):
            if self.loop.time() >= start + min(seconds, self.limits.tunnel_drain_time):
                self._end_tunnels()
            await asyncio.sleep(0.05)
        self._end_tunnels()
        for client in list(self._clients):
            if not client.lingering:
                client.abort()
        end = self.loop.time() + self.limits.linger_time
        while self._clients and self.loop.time() < end:  # noqa: ASYNC110 - the last of many sets no event
            await asyncio.sleep(0.02)

    def _end_tunnels(self) -> None:
        for client in list(self._clients):
            client.end_tunnel()

    async def close(self) -> None:
        """Give everything back."""
        await self.drain(0)
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.sleep(0)
        for plan in self.plans.values():
            for pool in plan.pools:
                pool.close()
        for server in self._servers:
            await server.wait_closed()


def _descriptor_limit() -> int:
    """Return how many clients fit into the process's descriptors, each with an upstream connection."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else max(8, (soft - RESERVED_DESCRIPTORS) // 2)
