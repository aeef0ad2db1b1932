"""One request's way through the gateway, top to bottom: `Exchange.run` is where to read it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.core.gate import Verdict, rule_verdict
from gateway.core.policy import Rule
from gateway.core.retry import may_replay
from gateway.errors import BadToken, RequestError, StoreUnavailable, UpstreamError
from gateway.proxy import outgoing
from gateway.proxy.downstream import NEVER, Downstream
from gateway.proxy.plan import RoutePlan
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.relay import Relay, answer_body
from gateway.proxy.tunnel import Tunnel
from gateway.proxy.upload import Upload
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.sessions.store import Opened
from gateway.wire import websocket
from gateway.wire.cookies import PickedCookies
from gateway.wire.forward import AnswerFraming, answer_head, foreign_cookies, informational_head
from gateway.wire.framing import UntilClose
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import AnswerHead, RequestHead
from gateway.wire.replies import login_url, wants_page

if TYPE_CHECKING:
    from gateway.proxy.server import DataPlane

RETRY_AFTER = (b"Retry-After: 5",)
EVENT_STREAM = b"text/event-stream"


class Exchange:
    """One request and its answer on a client's connection."""

    __slots__ = (
        "answered", "client", "error", "head", "opened", "plan", "plane", "request_id", "sent", "started", "status",
        "upgrading", "upstream_started", "upstream_took",
    )  # fmt: skip

    def __init__(self, client: Downstream, head: RequestHead) -> None:
        self.client = client
        self.head = head
        self.plane: DataPlane = client.plane
        self.started = self.plane.loop.time()
        self.request_id = self.plane.next_request_id()
        self.plan: RoutePlan | None = None
        self.opened: Opened | None = None
        self.upgrading = False
        self.answered = False
        """Whether a byte of the final answer was written."""
        self.status = 0
        self.sent = 0
        self.error = ""
        self.upstream_started = 0.0
        self.upstream_took: float | None = None

    async def run(self) -> bool:
        """Serve the request; return whether the connection may carry another."""
        head = self.head
        try:
            if head.method in ("TRACE", "OPTIONS") and (status := outgoing.own_method_answer(head)):
                return self._answer(status)
            self.plan, rule = self._route()
            cookies = self.plane.cookies.of(head.cookie_lines)
            self.opened = await self._session(cookies, rule)
            session = self.opened.session if self.opened is not None else None
            address = outgoing.client_address(self.client, head) if rule.allow.networks else None
            verdict = rule_verdict(rule, session, head.method, address)
            if verdict is Verdict.LOGIN:
                return self._ask_for_login()
            if verdict is Verdict.REFUSE:
                return self._answer(403)
            self._check_extras(self.plan)
            if self.opened is not None:
                self.plane.renew_if_due(self.opened)
            upstream, answer = await self._send(self.plan, cookies)
            if answer.status == 101:
                return await self._tunnel(upstream, answer)
            return await self._relay(self.plan, upstream, answer)
        except (RequestError, BadSyntax) as error:
            return self._failed(error.status, str(error))
        except StoreUnavailable as error:
            return self._failed(503, f"session store: {error}")
        except UpstreamError as error:
            return self._upstream_failed(error)
        except BaseException:
            self.error = self.error or "client_gone"
            raise
        finally:
            self._done()

    # 2: the route

    def _route(self) -> tuple[RoutePlan, Rule]:
        """Find route and rule. Raises RequestError (421, 404, or 400 if two readings of the path differ)."""
        head = self.head
        hosts = self.plane.router.host(head.host)
        if hosts is None:
            raise RequestError(421, "a host that is not configured")
        route = hosts.find(head.path)
        if route is None:
            raise RequestError(404, "no route")
        rule = route.rule_for(head.path, head.method) if route.rules else route.default
        if head.readings:
            if head.encoded_slash and not route.pass_encoded_slashes:
                raise RequestError(400, "an encoded slash in the path")
            for reading in head.readings:
                if hosts.find(reading) is not route or route.rule_for(reading, head.method) is not rule:
                    raise RequestError(400, "a path that leads elsewhere when read in another way")
        return self.plane.plans[route.name], rule

    # 3: the session

    async def _session(self, cookies: PickedCookies, rule: Rule) -> Opened | None:
        """Return the caller's live session. Raises StoreUnavailable unless the rule is public anyway."""
        token = cookies.token
        if token is None:
            return None
        plane = self.plane
        opened = plane.store.peek(token)
        if opened is None:
            try:
                opened = await plane.store.load(token, plane.wall)
            except BadToken:
                return None
            except StoreUnavailable:
                if rule.public:
                    return None
                raise
        return opened if opened.until > plane.wall else None

    # 4: what the verdict does not cover

    def _check_extras(self, plan: RoutePlan) -> None:
        """Check upgrade, expectation, loop and body size. Raises RequestError or BadSyntax."""
        head = self.head
        if head.upgrade is not None and plan.route.websocket and websocket.asks_for_websocket(head):
            websocket.check_request(head)
            scheme = outgoing.scheme(self.client, head)
            if not websocket.origin_allowed(head, plan.route.origins, scheme):
                raise RequestError(403, "a WebSocket from another origin")
            self.upgrading = True
        if head.expect is not None and head.version and head.expect != b"100-continue":
            raise RequestError(417, "an unknown expectation")
        if b"via" in head.noted:
            outgoing.check_loop(head, self.plane.pseudonym)
        if head.chunked or head.content_length:
            if (head.content_length or 0) > plan.max_body:
                raise RequestError(413, "a request body over the limit")
            self.client.upload = Upload(head, plan.max_body, plan.route.response_timeout)

    # 5 and 6: to the upstream

    async def _send(self, plan: RoutePlan, cookies: PickedCookies) -> tuple[UpstreamConn, AnswerHead]:
        """Send the request to one of the route's addresses; return the connection and the answer's head.

        An address that cannot be reached gives way to the next; a connection that turns out to be
        dead is replaced once, if the request may be repeated. Raises UpstreamError, RequestError.
        """
        plane = self.plane
        repeatable = may_replay(self.head.method, has_body=self.client.upload is not None, answered=False)
        pieces = outgoing.prepare(self, plan, cookies)
        self.upstream_started = now = plane.loop.time()
        failure: UpstreamError | None = None
        for pool in plan.pools_in_turn(now):
            data = pieces.head_for(pool.address)
            conn = pool.lease_idle(now, repeatable=repeatable)
            if conn is not None:
                try:
                    return conn, await self._ask(pool, conn, data, plan)
                except UpstreamError as error:
                    if not repeatable or conn.answered or error.status != 502:
                        raise
            try:
                conn = await pool.connect(plan.route.connect_timeout)
            except UpstreamError as error:
                plan.counters.upstream_error("connect")
                if error.status != 503:
                    plan.mark_down(pool, now)
                failure = error
                continue
            return conn, await self._ask(pool, conn, data, plan)
        raise failure or UpstreamError(502, "no address", sent=False)

    async def _ask(self, pool: UpstreamPool, conn: UpstreamConn, data: bytes, plan: RoutePlan) -> AnswerHead:
        """Send the head and what has come of the body; wait for the answer's head."""
        client = self.client
        client.upstream = conn
        try:
            conn.deadline = self.plane.now + plan.route.response_timeout
            if client.upload is not None:
                data += self._begin_upload(client.upload, conn)
            conn.send(data)
            answer = await conn.answer_head(self._informational)
            if answer.status == 101:
                if not self.upgrading:
                    raise UpstreamError(502, "a 101 that was not asked for", sent=True)
                websocket.check_answer(self.head, answer)
        except BadSyntax as error:
            self._give_up(pool, conn)
            raise UpstreamError(502, str(error), sent=True) from error
        except BaseException:
            self._give_up(pool, conn)
            raise
        self.upstream_took = self.plane.loop.time() - self.upstream_started
        return answer

    def _begin_upload(self, upload: Upload, conn: UpstreamConn) -> bytes:
        """Return the first piece of the body; the rest flows from the client's connection."""
        client = self.client
        out, rest = upload.encode(client.take_buffer())
        if upload.done:
            client.put_back(rest)
            return out
        upload.upstream = conn
        conn.deadline = NEVER
        conn.source = client
        client.deadline = self.plane.now + self.plane.limits.body_idle_time
        client.on_expire = partial(conn.fail, RequestError(408, "a request body that did not arrive in time"))
        client.resume()
        return out

    def _informational(self, answer: AnswerHead) -> None:
        """Pass on a 1xx; HTTP/1.0 does not know them (RFC 9110 §15.2)."""
        if self.head.version:
            self.client.write(informational_head(answer))

    # 7: back to the client

    async def _relay(self, plan: RoutePlan, upstream: UpstreamConn, answer: AnswerHead) -> bool:
        """Pass the answer on; return whether the client's connection may carry another request."""
        client, head, plane = self.client, self.head, self.plane
        upload = client.upload
        unfinished = upload is not None and not upload.done
        if upload is not None and unfinished and answer.status >= 400:
            upload.stopped = True
            client.deadline = NEVER
            client.pause()
        close = unfinished or self.upgrading or not head.keeps_alive() or plane.is_last(client)
        framing = AnswerFraming(answer, head, close=close)
        body = answer_body(answer, framing)
        cookies = answer.set_cookies
        if cookies and not plan.route.control:
            cookies = foreign_cookies(answer, plane.picker)
        if self.opened is not None and self.opened.renewed is not None:
            cookies = cookies + plane.renewed_cookies(self.opened)
        if answer.connection:
            answer.drop_nominated()
        limits = plane.limits
        stream = answer.noted.get(b"content-type", b"").startswith(EVENT_STREAM)
        idle_time = limits.stream_idle_time if stream else limits.answer_idle_time
        relay = Relay(client, upstream, body, chunked_out=framing.chunked_out, idle_time=idle_time)
        pool = upstream.pool
        try:
            out = answer_head(answer, framing, cookies, plane.http_date, b"X-Request-Id: %b\r\n" % self.request_id)
            self.answered = True
            self.status = answer.status
            if not relay.start(out) and relay.finished is not None:
                client.opened = self.opened
                await relay.finished
        except BaseException:
            self.sent = relay.sent
            self._give_up(pool, upstream)
            raise
        self.sent = relay.sent
        done = upload is None or (upload.done and not unfinished)
        client.upstream = None
        if done and not relay.surplus and answer.keeps_alive() and not isinstance(body, UntilClose):
            pool.release(upstream, plane.now)
        else:
            if upload is not None:
                upload.stopped = True
            pool.discard(upstream)
        return not framing.close

    async def _tunnel(self, upstream: UpstreamConn, answer: AnswerHead) -> bool:
        """Join the two connections until one closes."""
        plane = self.plane
        tunnel = Tunnel(self.client, upstream, plane.limits.stream_idle_time)
        self.status = 101
        self.answered = True
        upstream.deadline = NEVER
        upstream.pool.detach(upstream)
        plane.counters.tunnels += 1
        self.client.opened = self.opened
        try:
            tunnel.start(websocket.switching_head(answer))
            await tunnel.finished
        finally:
            plane.counters.tunnels -= 1
            self.sent = tunnel.sent
            tunnel.close()
        return False

    def _give_up(self, pool: UpstreamPool, conn: UpstreamConn) -> None:
        """Close an upstream connection in the middle of an exchange."""
        self.client.upstream = None
        if self.client.source is conn:
            self.client.source = None
        pool.discard(conn)

    # Own answers

    def _ask_for_login(self) -> bool:
        """Send a browser to the login page, and tell a program where it is."""
        plane, head = self.plane, self.head
        location = login_url(head, plane.login_page, outgoing.scheme(self.client, head))
        if wants_page(head) and not head.upgrade:
            return self._answer(302, (b"Location: " + location,))
        return self._answer(401, (b"X-Gateway-Login: " + location,))

    def _failed(self, status: int, detail: str) -> bool:
        """Answer a fault, or cut the connection if an answer has begun."""
        self.error = self.error or detail
        if self.answered:
            self.client.abort()
            return False
        return self._answer(status, RETRY_AFTER if status == 503 else (), close=status in (400, 408, 431))

    def _upstream_failed(self, error: UpstreamError) -> bool:
        """Count and answer an upstream's fault; an answer that was begun is cut, never completed."""
        if self.plan is not None:
            kind = "aborted" if self.answered else {502: "invalid", 503: "busy", 504: "timeout"}[error.status]
            self.plan.counters.upstream_error(kind)
        self.plane.log.warning("upstream: %s", error, extra={"request_id": self.request_id.decode("ascii")})
        self.error = "upstream_aborted" if self.answered else str(error)
        return self._failed(error.status, self.error)

    def _answer(self, status: int, extra: tuple[bytes, ...] = (), *, close: bool = False) -> bool:
        """Write one of the gateway's own answers."""
        client, head, plane = self.client, self.head, self.plane
        # A body that nobody has read must not be taken for the next request (RFC 9112 §9.3).
        close = close or head.has_body() or bool(head.upgrade) or not head.keeps_alive() or plane.is_last(client)
        if status == 426:
            extra = (*extra, b"Sec-WebSocket-Version: 13", b"Upgrade: websocket")
        if status == 405 or status == 204:
            extra = (*extra, b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        data = plane.answers.answer(status, head, self.request_id, plane.http_date, close=close, extra=extra)
        self.status = status
        self.answered = True
        self.sent = len(data)
        client.write(data)
        return not close

    # 8: the record

    def _done(self) -> None:
        """Write the access log line and count the request."""
        self.client.opened = None
        if not self.status:
            self.status = 499
        self.plane.record(self)


async def serve(client: Downstream, head: RequestHead) -> bool:
    """Serve one request; return whether the connection may carry another."""
    return await Exchange(client, head).run()
