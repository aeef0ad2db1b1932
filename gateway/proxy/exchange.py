"""One request's way through the gateway, top to bottom: `Exchange.run` is where to read it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from gateway.core import reasons
from gateway.core.gate import Verdict, rule_verdict
from gateway.core.own_pages import LOGOUT_PATH, takes_form
from gateway.core.policy import Rule
from gateway.errors import BadToken, RequestError, StoreUnavailable, UpstreamError
from gateway.proxy import outgoing
from gateway.proxy.answering import OWN_METHODS, REFUSALS, Answering
from gateway.proxy.client_transport import NEVER
from gateway.proxy.credentials import Accepts, NotProved, Presented
from gateway.proxy.downstream import Downstream
from gateway.proxy.leasing import connect, lease_idle, may_replace
from gateway.proxy.plan import RoutePlan
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.relay import Relay, answer_body
from gateway.proxy.tunnel import Tunnel
from gateway.proxy.upload import Upload
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.proxy.watched import Watched
from gateway.sessions.store import Opened
from gateway.wire import websocket
from gateway.wire.asked import AskedHead, asks
from gateway.wire.caching import PRIVATE
from gateway.wire.cookies import PickedCookies
from gateway.wire.forward import AnswerFraming, answer_head, foreign_cookies, informational_head
from gateway.wire.framing import UntilClose
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import AnswerHead, RequestHead


class Exchange(Answering):
    """One request and its answer on a client's connection."""

    __slots__ = ("presented", "upgrading", "upstream_started")

    def __init__(self, client: Downstream, head: RequestHead) -> None:
        super().__init__(client, head)
        self.presented: Presented | None = None
        """The credential that counts in place of a session."""
        self.upgrading = False
        self.upstream_started = 0.0

    async def run(self) -> bool:  # noqa: C901, PLR0912, PLR0915 - one place to read it, one coroutine to pay for
        """Serve the request; return whether the connection may carry another."""
        head, plane = self.head, self.plane
        try:
            if head.method in ("TRACE", "OPTIONS") and (status := outgoing.own_method_answer(head)):
                return self._answer(status)
            plan, rule = self._route()
            head = self.head  # where another proxy asks, that of the request in question
            cookies = plane.pick_cookies(head)
            if head.credentials and plan.accepts is not None and (presented := self._credential(plan, plan.accepts)):
                self.opened = plane.credentials.peek(presented, plane.wall) or await self._prove(presented, rule)
            elif cookies.token is not None:
                opened = plane.store.peek(cookies.token)
                if opened is None or opened.is_due(plane.wall) or (opened.host and opened.host != head.host):
                    opened = await self._load(cookies.token, opened, plan, rule)
                self.opened = opened
            verdict = self._verdict(rule)
            if verdict is not Verdict.FORWARD:
                return self._turn_away(verdict, rule, self.presented)
            if head.unusual:
                if isinstance(head, AskedHead):
                    return self._let_pass(head, plan, cookies)
                self._check_extras(plan)
                if plan.route.control and takes_form(head.method, head.path):
                    await self.client.read_whole()
            pools = plan.pools_in_turn(plane.now)
            upstream = self._lease_idle(pools[0]) or await connect(self.client, plan, pools)
            try:
                answer = await self._ask(upstream, plan, cookies)
            except UpstreamError as error:
                upstream = await self._replace_dead(plan, pools, upstream, error)
                answer = await self._ask(upstream, plan, cookies)
            self.upstream_took = perf_counter() - self.upstream_started
            if answer.status == 101:
                return await self._tunnel(plan, rule, upstream, answer)
            framing, data = self._answer_head(plan, answer)
            # Nearly every answer is here as a whole already: it goes out in one write, without a relay.
            body = upstream.take_rest(framing.size)
            if body is not None:
                self.answered = True
                self.client.write_answer(data, body)
                self.sent = len(body)
                reusable = True
            else:
                reusable = await self._stream(plan, rule, upstream, answer, framing, data)
            self._give_back(upstream, reusable=reusable and framing.reusable and answer.keeps_alive())
            return not framing.close
        except (RequestError, BadSyntax) as error:
            return self._failed(error.status, str(error), error.reason)
        except NotProved as error:
            return self._not_proved(error)
        except StoreUnavailable as error:
            return self._failed(503, f"session store: {error}", reasons.STORE_DOWN)
        except UpstreamError as error:
            return self._upstream_failed(error)
        except BaseException as error:
            self._lost(error)
            raise
        finally:
            self._end()

    def _end(self) -> None:
        """Leave nothing open, and write the record."""
        client = self.client
        if client.upstream is not None:
            self._give_back(client.upstream, reusable=False)
        client.watched = None
        self._record()

    # 2: the route

    def _route(self) -> tuple[RoutePlan, Rule]:
        """Find route and rule. Raises RequestError (421, 404, or 400 if two readings of the path differ)."""
        head = self.head
        hosts = self.plane.router.host(head.host)
        if hosts is None:
            # A proxy that asks may name us as it reaches us; which host it asks about is in X-Forwarded-Host.
            if not asks(head.target):
                raise RequestError(421, "a host that is not configured", reasons.UNKNOWN_HOST)
            hosts = self.plane.router.own_pages
        route = hosts.find(head.path)
        if route is None:
            raise RequestError(404, "no route")
        if route.control and asks(head.target):
            return self._route_of_asked()
        rule = route.rule_for(head.path, head.method) if route.rules else route.default
        if head.readings:
            if head.encoded_slash and not route.pass_encoded_slashes:
                self.plan = self.plane.plans[route.name]
                raise RequestError(400, "an encoded slash in the path", reasons.ENCODED_SLASH)
            for reading in head.readings:
                if not hosts.leads_to(route, rule, reading, head.method):
                    raise RequestError(400, "a path that leads elsewhere when read otherwise", reasons.PATH_AMBIGUOUS)
        if hosts.caseless is not None and not hosts.caseless.lead_to(route, rule, head.path, head.method):
            raise RequestError(400, "a path that leads elsewhere in upper or lower case", reasons.PATH_AMBIGUOUS)
        if route.control and head.method not in OWN_METHODS:
            raise RequestError(405, "a method that none of our own pages knows")
        self.plan = plan = self.plane.plans[route.name]
        return plan, rule

    def _route_of_asked(self) -> tuple[RoutePlan, Rule]:
        """Find route and rule of the request that another proxy asks about: from here on, it is the one judged.

        Raises RequestError, 403 where none of our apps is, or BadSyntax.
        """
        self._take_asked()
        try:
            plan, rule = self._route()
        except RequestError as error:
            if error.status not in (404, 405, 421):
                raise
            raise RequestError(403, str(error), error.reason or reasons.of_status(error.status)) from None
        if plan.route.control:
            raise RequestError(403, "our own pages: an app would answer there", reasons.FORWARD_AUTH)
        return plan, rule

    # 3: the session

    async def _load(self, token: str, opened: Opened | None, plan: RoutePlan, rule: Rule) -> Opened | None:
        """Open a session that is not in memory; ask its provider again where that is due.

        Raises StoreUnavailable unless the rule is public anyway.
        """
        plane = self.plane
        try:
            host = self.head.host
            if opened is None or opened.until <= plane.wall or (opened.host and opened.host != host):
                opened = await plane.store.load(token, plane.wall, host=host, grace=plan.route.store_grace)
        except BadToken:
            return None
        except StoreUnavailable:
            if rule.public:
                return None
            raise
        # Whoever is too long without a word of their provider may still leave.
        if opened.refresh_at <= plane.wall and not (plan.route.control and self.head.path == LOGOUT_PATH):
            return await plane.logins.current(opened)
        return opened

    def _credential(self, plan: RoutePlan, accepts: Accepts) -> Presented | None:
        """Return the credential that counts in place of a cookie, kept from the upstream. Raises RequestError."""
        presented = self.client.bearer
        if presented is None or not presented.is_repeated(accepts, self.head.credentials):
            presented = self.plane.credentials.presented(accepts, self.head)
            self.client.bearer = presented if presented is not None and presented.scheme == "bearer" else None
        if presented is not None and presented.scheme == "basic":
            scheme = outgoing.scheme(self.client, self.head)  # older browsers send Origin and no Sec-Fetch-Site
            if not websocket.origin_allowed(self.head, plan.route.origins, scheme):
                raise RequestError(403, "a password with a request of another site's page", reasons.CROSS_SITE)
        if presented is not None and not accepts.keeps:
            self.head.credentials = ()
        self.presented = presented
        return presented

    async def _prove(self, presented: Presented, rule: Rule) -> Opened | None:
        """Ask whose a credential is. Raises NotProved unless the rule is public anyway."""
        presented.client = str(outgoing.client_address(self.client, self.head) or self.client.peer_text)
        try:
            return await self.plane.credentials.prove(presented, self.plane.wall)
        except NotProved:
            if rule.public:
                return None
            raise

    # 4: the verdict, and what it does not cover

    def _verdict(self, rule: Rule) -> Verdict:
        """Judge the request; a session that goes on is renewed on the way, when that is due."""
        client, opened = self.client, self.opened
        address = outgoing.client_address(client, self.head) if rule.allow.networks else None
        if opened is None:
            return rule_verdict(rule, None, self.head.method, address, self.plane.wall)
        if opened.renew_at <= self.plane.wall:
            self.plane.renew(opened)
        return opened.verdict(rule, self.head.method, address, self.plane.wall)

    def _check_extras(self, plan: RoutePlan) -> None:
        """Check upgrade, expectation, loop and body size. Raises RequestError or BadSyntax."""
        head = self.head
        if b"service-worker" in head.noted:
            plan.worker_scope.check(head)
        if head.upgrade is not None and plan.route.websocket and websocket.asks_for_websocket(head):
            websocket.check_request(head)
            scheme = outgoing.scheme(self.client, head)
            if not websocket.origin_allowed(head, plan.route.origins, scheme):
                raise RequestError(403, "a WebSocket from another origin", reasons.ORIGIN)
            self.upgrading = True
        if head.expect is not None and head.version and head.expect != b"100-continue":
            raise RequestError(417, "an unknown expectation")
        if plan.route.control and head.has_body() and head.get(b"content-encoding"):
            raise RequestError(415, "an encoded body for our own pages")
        if b"via" in head.noted:
            outgoing.check_loop(head, self.plane.pseudonym)
        if head.chunked or head.content_length:
            if (head.content_length or 0) > plan.max_body:
                raise RequestError(413, "a request body over the limit")
            self.client.upload = Upload(head, plan.max_body, plan.route.response_timeout)
        if plan.route.control:
            # They need not be asked: those with a form want its body, and the others answer by the head.
            head.expect = None

    # 5 and 6: to the upstream

    def _lease_idle(self, pool: UpstreamPool) -> UpstreamConn | None:
        """Lease an idle connection to an address; None if there is none."""
        self.upstream_started = perf_counter()
        return lease_idle(self.client, self.head, pool)

    async def _replace_dead(
        self, plan: RoutePlan, pools: Sequence[UpstreamPool], conn: UpstreamConn, error: UpstreamError
    ) -> UpstreamConn:
        """Return a new connection in place of a pooled one that was dead; raises ``error`` again if that may not be."""
        if not may_replace(self.client, self.head, conn, error):
            raise error
        self._give_back(conn, reusable=False)
        return await connect(self.client, plan, pools)

    def _ask(self, conn: UpstreamConn, plan: RoutePlan, cookies: PickedCookies) -> asyncio.Future[AnswerHead]:
        """Send the head and what has come of the body; return a future of the answer's head."""
        data = outgoing.request_head(
            self.client, self.head, plan, cookies, self.opened, self.request_id, conn.pool.address, self.upgrading
        )
        conn.deadline = self.plane.deadline(plan.route.response_timeout)
        if self.client.upload is not None:
            data += self.client.begin_upload(self.client.upload, conn)
        conn.send(data)
        return conn.answer_head(self._informational)

    def _give_back(self, conn: UpstreamConn, *, reusable: bool) -> None:
        """Return the leased connection to its pool, or close it in the middle of an exchange."""
        client = self.client
        client.upstream = None
        upload = client.upload
        if upload is not None and not upload.done:
            upload.stopped = True
            reusable = False
        if client.source is conn:
            client.source = None
        if reusable:
            conn.pool.release(conn, self.plane.now)
        else:
            conn.pool.discard(conn)

    def _informational(self, answer: AnswerHead) -> None:
        """Pass on a 1xx; HTTP/1.0 does not know them (RFC 9110 §15.2)."""
        if self.head.version:
            self.client.write(informational_head(answer))
            if answer.status == 100 and self.client.upload is not None:
                self.client.continue_upload(self.client.upload)

    # 7: back to the client

    def _answer_head(self, plan: RoutePlan, answer: AnswerHead) -> tuple[AnswerFraming, bytes]:
        """Return how the answer goes to the client, and its head."""
        client, head, plane = self.client, self.head, self.plane
        upload = client.upload
        close = self.upgrading or not head.keeps_alive() or plane.is_last(client)
        if plan.route.control and (answer.status in REFUSALS or (answer.status == 403 and upload is not None)):
            close = True
        if upload is not None and not upload.done:
            close = True
            if answer.status >= 400:
                client.stop_upload()
        framing = AnswerFraming(answer, head, close)
        if answer.stripped or answer.noted or answer.is_script:
            self._sort_out(plan, answer)
        cookies = self._cookies(plan, answer)
        self.status = answer.status
        return framing, answer_head(answer, framing, cookies, plane.http_date, self.request_id)

    def _cookies(self, plan: RoutePlan, answer: AnswerHead) -> tuple[bytes, ...]:
        """Return the cookies that go with an answer: the upstream's, and ours where the session was renewed."""
        cookies, opened = answer.set_cookies, self.opened
        if cookies and not plan.route.control:
            cookies = foreign_cookies(answer, self.plane.picker)
            if len(cookies) != len(answer.set_cookies):
                self._note_dropped(plan, answer, cookies)
        if opened is not None:
            if opened.renewed is not None:
                cookies += self.plane.owed_cookies(opened, answer, plan)
            if not answer.caching and plan.makes_private and answer.status != 304:
                answer.lines.append(PRIVATE)
        return cookies

    async def _stream(
        self,
        plan: RoutePlan,
        rule: Rule,
        upstream: UpstreamConn,
        answer: AnswerHead,
        framing: AnswerFraming,
        data: bytes,
    ) -> bool:
        """Relay a body as it comes; return whether the upstream's connection can be used again."""
        limits = self.plane.limits
        events = answer.streams_events()
        body = answer_body(answer, framing)
        relay = Relay(
            self.client,
            upstream,
            body,
            chunked_out=framing.chunked_out,
            idle_time=limits.stream_idle_time if events else limits.answer_idle_time,
        )
        try:
            if not relay.start(data) and relay.finished is not None:
                self._watch(plan, rule, ends_when_idle=events)
                await relay.finished
        finally:
            # Where the coding is broken from the start, nothing was written: that can still be told.
            self.answered = relay.begun
            self.sent = relay.sent
        return not relay.surplus and not isinstance(body, UntilClose)

    def _watch(self, plan: RoutePlan, rule: Rule, *, ends_when_idle: bool) -> None:
        """Let the sweep end what stays open once its session is over, or may have it no more."""
        client, head, opened, grace = self.client, self.head, self.opened, plan.route.store_grace
        if opened is not None:
            address = outgoing.client_address(client, head) if rule.allow.networks else None
            client.watched = Watched(opened, self.presented, grace, rule, head.method, address, ends_when_idle)

    async def _tunnel(self, plan: RoutePlan, rule: Rule, upstream: UpstreamConn, answer: AnswerHead) -> bool:
        """Join the two connections until one closes. Raises UpstreamError for a 101 that must not be."""
        plane = self.plane
        if not self.upgrading:
            raise UpstreamError(502, "a 101 that was not asked for", sent=True)
        try:
            websocket.check_answer(self.head, answer)
        except BadSyntax as error:
            raise UpstreamError(502, str(error), sent=True) from error
        tunnel = Tunnel(self.client, upstream, plane.limits.stream_idle_time)
        self.status = 101
        self.answered = True
        upstream.deadline = NEVER
        upstream.pool.detach()
        self.client.upstream = None
        plane.counters.tunnels += 1
        self._watch(plan, rule, ends_when_idle=True)
        try:
            tunnel.start(websocket.switching_head(answer, self._cookies(plan, answer)))
            await tunnel.finished
        finally:
            plane.counters.tunnels -= 1
            self.sent = tunnel.sent
            tunnel.close()
        return False
