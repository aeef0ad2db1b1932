"""What all client connections of one worker share: limits, parsers, sessions, clocks, logs, counters."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.core.cookie import CookiePolicy
from gateway.core.limits import Limits
from gateway.core.metrics import Counters
from gateway.core.peer import TrustedProxies
from gateway.core.programs import Verify
from gateway.core.reasons import HEADER as REASON
from gateway.core.refresh import Refresh
from gateway.core.route import Router
from gateway.core.session import Lifetimes
from gateway.errors import SessionError
from gateway.proxy.credentials import Credentials, verify_nothing
from gateway.proxy.forward_auth import Askers
from gateway.proxy.plan import RoutePlan, TokenLines
from gateway.proxy.pool import UpstreamPools
from gateway.proxy.record import Clock, LineWriter
from gateway.proxy.refreshing import Logins, ask_nobody
from gateway.proxy.telling import Telling
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.proxy.watched import Watched
from gateway.sessions.store import Opened, SessionStore
from gateway.wire.caching import PRIVATE, SAYS, is_closed, is_for_shared, make_private
from gateway.wire.cookies import CookiePicker, PickedCookies
from gateway.wire.head import AnswerHead, AnswerParser, RequestHead, RequestParser
from gateway.wire.identity_headers import IdentityHeaders
from gateway.wire.replies import OwnAnswers

SWEEP_EVERY: Final = 0.25
LATE: Final = SWEEP_EVERY + 0.05
"""Seconds since the last sweep after which the process has got no time: what is beyond counts for nobody."""
RESERVED_DESCRIPTORS: Final = 48
BULK_BYTES: Final = 512 * 1024
"""As much of a large body as is read at once; with half of it, upstream and client are woken a third more often."""
CONTROL_ROUTE: Final = "gateway"
OWED_AT_MOST: Final = 0.25
"""Part of the idle time for which a renewed session waits for a response that may carry its cookie."""
TELL_COOKIES_EVERY: Final = 60.0
"""Seconds between two warnings about session cookies that are ambiguous."""


@dataclass(frozen=True, slots=True)
class PlaneParts:
    """Everything the data plane is made of; the composition root fills it in."""

    router: Router
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
    verify: Verify = verify_nothing
    """Who is asked about credentials of programs."""
    memory: int = 10_000
    """How many of those are remembered."""
    wall_clock: Callable[[], float] = time.time
    counters: Counters = field(default_factory=Counters)
    tokens: TokenLines | None = None
    """Makes the signed identity tokens, where routes want them."""
    websocket_activity: bool = True
    """Whether messages from a browser over a WebSocket count as use of its session."""
    refresh: Refresh = ask_nobody
    """Who is asked about sessions whose providers are to be asked again."""
    refresh_graces: Mapping[str, float] = field(default_factory=dict)
    """By provider, for how many seconds sessions go on without that after their access token's end."""
    askers: TrustedProxies = field(default_factory=TrustedProxies)
    """Which proxies may ask by forward auth; nobody where it is not configured."""


class Uploading(Protocol):
    """A client's connection, as far as the sweep deals with its request body."""

    def goes_on_uploading(self, seconds: float) -> bool:
        """Judge how fast a request body comes, ``seconds`` after the last time; return whether it is to be again."""


class Client(Uploading, Protocol):
    """A client's connection, as far as the sweep and the drain deal with it."""

    deadline: float
    stall_deadline: float
    on_expire: Callable[[], None]
    upstream: UpstreamConn | None
    watched: Watched | None
    """What is open for a session."""
    idle_since: float
    lingering: bool
    requests: int
    """Requests taken so far."""

    def is_idle(self) -> bool:
        """Tell whether no request is under way."""

    def close_idle(self) -> None:
        """Close between two requests."""

    def end_stream(self, cut_by: str) -> None:
        """End what may go on no more; ``cut_by`` is why, one of `core.reasons.CUTS`."""

    def end_tunnel(self) -> None:
        """Close a tunnel because the gateway stops."""

    def cut(self, cut_by: str) -> None:
        """Cut the connection, and note why."""


class Plane:
    """The shared part of a data plane."""

    def __init__(self, parts: PlaneParts, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.log = logging.getLogger("gateway.proxy")
        self.router = parts.router
        self.store = parts.store
        self.answers = parts.answers
        self.login_page = parts.login_page
        self.trusted = parts.trusted
        self.askers = Askers(parts.askers, parts.trusted, self.log)
        self.limits = parts.limits
        self.counters = parts.counters
        self.picker = CookiePicker(parts.session_cookie)
        self.requests = RequestParser(parts.limits, parts.identity.names())
        self.pseudonym = b"gateway-" + parts.random(4).hex().encode("ascii")
        self.now = loop.time()
        """Loop time, as of the last sweep."""
        self.bulk = memoryview(bytearray(BULK_BYTES))
        """Through which large bodies pass, piece by piece."""
        self.access_log = parts.access_log
        self.wall_clock = parts.wall_clock
        self.wall = parts.wall_clock()
        """Seconds since the epoch, as of the last sweep."""
        self.telling = Telling(self.log)
        self.draining = False
        self._cookies_told = 0.0
        self._parts = parts
        self.clock = Clock()
        self.http_date = self.clock.http_date(self.wall)
        self._id_prefix = parts.random(8).hex()
        self._id_next = 0
        self.clients: set[Client] = set()
        self.uploading: set[Uploading] = set()
        """Those whose request body did not come with its head; who is done is found out by the sweep."""
        self._max_clients = min(parts.limits.connections, _descriptor_limit())
        self.websocket_activity = parts.websocket_activity
        self._renewals: set[asyncio.Task[None]] = set()
        self.credentials = Credentials(parts.verify, parts.random(32), parts.memory)
        self.logins = Logins(parts.refresh, parts.refresh_graces, parts.store, parts.wall_clock, loop)
        names = parts.identity.names() | parts.dropped_answer_names
        self.pools = UpstreamPools(AnswerParser(parts.limits, names), parts.limits, loop)
        self.plans = self._make_plans()

    def _make_plans(self) -> Mapping[str, RoutePlan]:
        parts = self._parts
        return {
            route.name: RoutePlan(
                route,
                parts.identity,
                self.counters.route(route.name),
                self.pools,
                parts.limits,
                parts.tokens,
                parts.router.public_names,
            )
            for route in parts.router.all_routes()
        }

    def is_unwanted(self, name: bytes) -> bool:
        """Tell whether the operator has us drop a response header of this normalised name."""
        return name in self._parts.dropped_answer_names

    def admit(self, client: Client) -> bool:
        """Count a connection in, unless there are too many or we are stopping."""
        if len(self.clients) >= self._max_clients:
            return False
        self.clients.add(client)
        self.counters.connections = len(self.clients)
        self.counters.accepted += 1
        return True

    def forget(self, client: Client) -> None:
        """Count a connection out."""
        self.clients.discard(client)
        self.uploading.discard(client)
        self.counters.connections = len(self.clients)

    def refuse(self, route: str, reason: str) -> bytes:
        """Count a refusal, warn of it where that helps, and return the header line that names the reason."""
        self.counters.refuse(reason)
        if route != CONTROL_ROUTE:
            self.telling.refused(route, reason)
        return f"{REASON}: {reason}".encode("ascii")

    def is_last(self, client: Client) -> bool:
        """Tell whether the answer under way is to be the connection's last."""
        return self.draining or client.requests >= self.limits.keep_alive_requests

    def next_request_id(self) -> bytes:
        """Return a new id: 32 hexadecimal digits, unique and fit for a trace id (W3C Trace Context)."""
        self._id_next += 1
        return f"{self._id_prefix}{self._id_next:016x}".encode("ascii")

    def deadline(self, seconds: float) -> float:
        """Return when ``seconds`` from now are over: never before, and within `LATE` and a sweep after.

        `now` is as old as the last sweep; the time itself would have to be asked for with every piece that passes.
        """
        return self.now + LATE + seconds

    # Sessions

    def pick_cookies(self, head: RequestHead) -> PickedCookies:
        """Return the cookies of a request, with the one token that is ours; two of ours are none, which is logged."""
        cookies = self.picker.pick(head.cookie_lines)
        if cookies.candidates:
            self._settle(cookies, head.host)
        return cookies

    def _settle(self, cookies: PickedCookies, host: str) -> None:
        cookies.settle([token for token in cookies.candidates if self.store.is_ours(token, host)])
        if cookies.ambiguous and self._cookies_told <= self.now:
            self._cookies_told = self.now + TELL_COOKIES_EVERY
            self.log.warning(
                "two different session cookies of this gateway came with one request to %s, so neither counts: is "
                "there another gateway with these keys and this session.cookie.name, or was its domain changed?",
                host,
            )

    def renew(self, opened: Opened) -> None:
        """Write a session anew as used now, beside the request, if nobody has done so since it was due."""
        latest = opened.latest()
        if latest.renewing or latest.renew_at > self.wall or max(opened.until, latest.until) <= self.wall:
            # What is idle by now is no more in use; whoever opened it just now has asked when it was last used.
            return
        latest.renewing = True
        task = self.loop.create_task(self._renew(opened, latest), name="renew")
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _renew(self, known: Opened, opened: Opened) -> None:
        """Renew ``opened``, the newest state of what a token in use is known as."""
        try:
            saved = await self.store.save(opened.session.touched(self.wall), opened.token, host=opened.host)
            if opened.renewed is None:
                # Else it was refreshed meanwhile, and this is what it was before.
                opened.renewed = saved
                # What lies between is skipped: a browser may go on with its token for very many renewals.
                known.renewed = saved
                known.owed_since = known.owed_since or self.wall
        except SessionError as error:
            self.log.warning("a session could not be renewed: %s", error)
        finally:
            opened.renewing = False

    def owed_cookies(self, opened: Opened, answer: AnswerHead, plan: RoutePlan) -> tuple[bytes, ...]:
        """Return the Set-Cookie values for a session that was written anew, if a response may carry them.

        No shared cache may store it then: a response that is meant for one goes without, for as long as the cookie
        can wait, and is made private after that.
        """
        cookies = self.renewed_cookies(opened)
        if not cookies or answer.status == 101 or is_closed(answer.caching):
            return cookies
        if self.wall - opened.owed_since >= self._parts.lifetimes.idle * OWED_AT_MOST:
            answer.lines = make_private(answer.lines)
        elif plan.makes_private and answer.status != 304 and not is_for_shared(answer.caching):
            answer.lines.append(PRIVATE)
        else:
            return ()
        answer.caching |= SAYS
        return cookies

    def renewed_cookies(self, opened: Opened) -> tuple[bytes, ...]:
        """Return the Set-Cookie values for a session that was written anew."""
        latest = opened.latest()
        if latest.token == opened.token or latest.closed or self.store.is_over(latest, self.wall):
            # Ended meanwhile, or replaced: its cookie must not come back over the one of a new login, or of none.
            return ()
        session = latest.session
        max_age = int(session.expires - self.wall) if session.remembered else None
        values = self._parts.session_cookie.set(latest.token, max_age=max_age, now=self.wall)
        return tuple(value.encode("ascii") for value in values)


def _descriptor_limit() -> int:
    """Return how many clients fit into the process's descriptors, each with an upstream connection."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else max(8, (soft - RESERVED_DESCRIPTORS) // 2)
