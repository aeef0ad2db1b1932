"""The part of an exchange that answers for the gateway itself, and records what became of the request."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping
from time import perf_counter
from typing import Final

from gateway.core import reasons
from gateway.core.gate import Verdict
from gateway.core.policy import Rule
from gateway.core.step_up import StepUp
from gateway.errors import RequestError, UpstreamError
from gateway.proxy import outgoing
from gateway.proxy.credentials import NotProved, Presented
from gateway.proxy.downstream import Downstream
from gateway.proxy.forward_auth import check_websocket, login_response, passing
from gateway.proxy.plan import RoutePlan
from gateway.proxy.record import access_line, list_field, text_field
from gateway.proxy.telling import MAX_NAME, NO_ROUTE
from gateway.sessions.store import Opened
from gateway.wire.asked import AskedHead
from gateway.wire.authorization import bearer_error, step_up_error
from gateway.wire.cookies import PickedCookies
from gateway.wire.forward import dropped_names
from gateway.wire.head import AnswerHead, RequestHead
from gateway.wire.replies import ALLOWED, login_url, wants_page

OWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REFUSALS: Final = frozenset({400, 404, 405, 413, 415})
"""What our own pages answer to requests that nobody sends by mistake; the connection ends with them, as with a form
that is refused."""
RETRY_AFTER: Final = (b"Retry-After: 5",)
REASON_NAME: Final = reasons.HEADER.lower().encode("ascii")
MAX_NAMED: Final = 8
"""Dropped headers or cookies of one response that are named."""
OF_CREDENTIALS: Final[Mapping[int, str]] = {
    401: reasons.CREDENTIAL_INVALID,
    403: reasons.FORBIDDEN,
    429: reasons.THROTTLED,
    503: reasons.CREDENTIAL_UNVERIFIED,
}
OF_UPSTREAMS: Final[Mapping[int, str]] = {
    502: reasons.UPSTREAM_INVALID,
    503: reasons.UPSTREAM_BUSY,
    504: reasons.UPSTREAM_TIMEOUT,
}


class Answering:
    """One request, as far as it is answered and recorded without an upstream."""

    __slots__ = (
        "answered", "client", "error", "head", "more", "opened", "plan", "plane", "request_id", "sent", "started",
        "status", "upstream_took",
    )  # fmt: skip

    def __init__(self, client: Downstream, head: RequestHead) -> None:
        self.client = client
        self.head = head
        self.plane = client.plane
        self.started = perf_counter()
        self.request_id = self.plane.next_request_id()
        self.plan: RoutePlan | None = None
        self.opened: Opened | None = None
        self.answered = False
        """Whether a byte of the final answer was written."""
        self.status = 499
        """As logged; 499 stands for a client that left before its answer, as in nginx."""
        self.sent = 0
        self.error = ""
        self.more = ""
        """Further fields of the access log."""
        self.upstream_took: float | None = None

    def _turn_away(self, verdict: Verdict, rule: Rule, presented: Presented | None) -> bool:
        """Answer a request that is not forwarded."""
        if verdict is Verdict.REFUSE:
            return self._refuse(presented)
        # Somebody who is not logged in is asked for the right login at once, not for two.
        if presented is None or rule.step_up is None:
            return self._ask_for_login(rule.step_up)
        return self._ask_for_better(presented, rule.step_up)

    def _ask_for_login(self, step_up: StepUp | None) -> bool:
        """Send a browser to the login page, and tell a program where it is."""
        plane, head = self.plane, self.head
        asked = step_up.name if step_up is not None else ""
        reason = reasons.NO_SESSION if self.opened is None else reasons.STEP_UP
        scheme = outgoing.scheme(self.client, head)
        location = login_url(head, plane.login_page, scheme, plane.limits.target, asked)
        if isinstance(head, AskedHead):
            status, lines = login_response(head, location, scheme, self._challenges())
            return self._answer(status, lines, reason=reason)
        if wants_page(head) and not head.upgrade:
            return self._answer(302, (b"Location: " + location,), reason=reason)
        return self._answer(401, (b"X-Gateway-Login: " + location, *self._challenges()), reason=reason)

    def _ask_for_better(self, presented: Presented, step_up: StepUp) -> bool:
        """Refuse a credential that is right, but not enough (RFC 9470 §3).

        Its sender is not led to a page: who has logged in there would send the same credential again.
        """
        if presented.scheme != "bearer":
            return self._answer(403, reason=reasons.STEP_UP)
        return self._answer(401, step_up_error(presented.accepts.challenges, step_up), reason=reasons.STEP_UP)

    def _challenges(self) -> tuple[bytes, ...]:
        """Return what the route asks programs for. A page is not told of Basic: its browser would ask its user."""
        accepts = self.plan.accepts if self.plan is not None else None
        if accepts is None:
            return ()
        by_page = self.head.get(b"sec-fetch-mode") is not None
        return tuple(line for line in accepts.challenges if not by_page or b": Basic" not in line)

    def _refuse(self, presented: Presented | None) -> bool:
        """Refuse somebody whom the rule does not let in (RFC 6750 §3.1)."""
        if presented is None or presented.scheme != "bearer":
            return self._answer(403, reason=reasons.FORBIDDEN)
        lines = bearer_error(presented.accepts.challenges, b"insufficient_scope")
        return self._answer(403, lines, reason=reasons.FORBIDDEN)

    def _not_proved(self, error: NotProved) -> bool:
        """Refuse a credential that proves nothing (RFC 9110 §11.6.1, RFC 6750 §3.1)."""
        refused = error.refused
        self.error = str(error)
        extra: tuple[bytes, ...] = ()
        if refused.retry_after:
            extra = (b"Retry-After: %d" % refused.retry_after,)
        elif error.scheme == "bearer":
            extra = bearer_error(
                self._challenges(), b"insufficient_scope" if refused.status == 403 else b"invalid_token"
            )
        elif refused.status == 401:
            extra = self._challenges()
        return self._answer(refused.status, extra, reason=OF_CREDENTIALS[refused.status])

    def _failed(self, status: int, detail: str, reason: str = "") -> bool:
        """Answer a fault, or cut the connection if an answer has begun."""
        self.error = self.error or detail
        reason = reason or reasons.of_status(status)
        if self.client.upload is not None and (cut_by := reasons.CUT_BY_REFUSAL.get(reason)):
            self.client.note_cut(cut_by)
        if self.answered:
            self.client.abort()
            return False
        # What is wrong with a request that is asked about is none of the connection's.
        close = status < 500 and not isinstance(self.head, AskedHead)
        return self._answer(status, RETRY_AFTER if status == 503 else (), close=close, reason=reason)

    def _upstream_failed(self, error: UpstreamError) -> bool:
        """Count and answer an upstream's fault; an answer that was begun is cut, never completed."""
        if self.plan is not None:
            kind = "aborted" if self.answered else {502: "invalid", 503: "busy", 504: "timeout"}[error.status]
            self.plan.counters.upstream_error(kind)
        self.plane.log.warning("upstream: %s", error, extra={"request_id": self.request_id.decode("ascii")})
        if self.answered and error.status == 504:
            self.client.note_cut(reasons.RESPONSE_IDLE)
            self.error = "the upstream sent no more of its response in time"
        else:
            self.error = "upstream_aborted" if self.answered else str(error)
        reason = OF_UPSTREAMS[error.status] if error.sent or error.status == 503 else reasons.UPSTREAM_UNREACHABLE
        return self._failed(error.status, self.error, reason)

    def _lost(self, error: BaseException) -> None:
        """Note who ended an exchange that was broken off: we, or a client that left."""
        if not isinstance(error, CancelledError):
            self.client.note_cut(reasons.FAULT)
        self.error = self.error or ("ended by the gateway" if self.client.cut_by else "client_gone")

    def _answer(self, status: int, extra: tuple[bytes, ...] = (), *, close: bool = False, reason: str = "") -> bool:
        """Write one of the gateway's own answers; refusals have a ``reason``, one of `core.reasons.REFUSALS`."""
        client, head, plane = self.client, self.head, self.plane
        # A body that nobody has read must not be taken for the next request (RFC 9112 §9.3).
        close = close or head.has_body() or bool(head.upgrade) or not head.keeps_alive() or plane.is_last(client)
        if status == 426:
            extra = (*extra, b"Sec-WebSocket-Version: 13", b"Upgrade: websocket", b"Connection: Upgrade")
        if status in (204, 405):
            extra = (*extra, *ALLOWED)
        if reason:
            self.more += text_field("reason", reason)
            extra = (*extra, plane.refuse(self._route_name(), reason))
        data = plane.answers.answer(status, head, self.request_id, plane.http_date, close=close, extra=extra)
        self.status = status
        self.answered = True
        self.sent = len(data)
        client.write(data)
        return not close

    # Forward auth

    def _take_asked(self) -> None:
        """Go on with the request that another proxy asks about, in place of its own. Raises RequestError or BadSyntax.

        What frames the response stays.
        """
        client, head = self.client, self.head
        if isinstance(head, AskedHead):
            raise RequestError(403, "our own pages: an app would answer there", reasons.FORWARD_AUTH)
        if not client.peer_asks:
            self.plane.askers.turn_away(client.peer_text)
            raise RequestError(404, "a peer that is not in forward_auth.from", reasons.FORWARD_AUTH)
        self.head = asked = AskedHead(head)
        asked.read(self.plane.limits.target)

    def _let_pass(self, head: AskedHead, plan: RoutePlan, cookies: PickedCookies) -> bool:
        """Answer a proxy that the request it asks about may pass, and who sends it. Raises RequestError."""
        client, plane, opened = self.client, self.plane, self.opened
        if head.noted:
            plan.worker_scope.check(head)
        if head.websocket:
            check_websocket(head, plan.route, outgoing.scheme(client, head))
        close = head.has_body() or not head.keeps_alive() or plane.is_last(client)
        identity = plan.whole_identity(opened, plane.now)
        renewed = plane.renewed_cookies(opened) if opened is not None and opened.renewed is not None else ()
        # Of several, an app would take one that nobody has looked at.
        credential = head.credentials[0] if len(head.credentials) == 1 else b""
        data = passing(head, identity, cookies.others, credential, renewed, plane.http_date, self.request_id, close)
        self.status = 200
        self.answered = True
        self.sent = len(data)
        client.write(data)
        return not close

    # What messages lose

    def _sort_out(self, plan: RoutePlan, answer: AnswerHead) -> None:
        """Drop or cut what an app's response may not say; what upstreams' lose, our own pages may need."""
        if plan.route.control:
            answer.lines += [line.bytes() for line in answer.stripped]
            self._note_refusal(answer)
            return
        telling = self.plane.telling
        dropped = [line.name for line in answer.stripped if not self.plane.is_unwanted(line.name)]
        if dropped:
            plan.counters.drop(reasons.RESPONSE_HEADER)
            for name in dropped[:MAX_NAMED]:
                telling.header_dropped(plan.name, name.decode("latin-1"))
        if plan.worker_scope.rewrite(answer, self.head):
            plan.counters.drop(reasons.WORKER_ALLOWED)
            telling.worker_cut(plan.name)

    def _note_refusal(self, answer: AnswerHead) -> None:
        """Note why one of our own pages refused something."""
        for line in answer.stripped:
            if line.name == REASON_NAME and (reason := line.value.decode("latin-1")) in reasons.REFUSALS:
                self.more += text_field("reason", reason)
                self.plane.refuse(self._route_name(), reason)

    def _note_dropped(self, plan: RoutePlan, answer: AnswerHead, kept: tuple[bytes, ...]) -> None:
        """Say which cookies of an app no browser gets."""
        names = [name.decode("latin-1")[:MAX_NAME] for name in dropped_names(answer, kept)[:MAX_NAMED]]
        plan.counters.drop(reasons.SET_COOKIE)
        for name in names:
            self.plane.telling.cookie_dropped(plan.name, name)
        self.more += list_field("dropped_cookies", names)

    def _route_name(self) -> str:
        return self.plan.name if self.plan is not None else NO_ROUTE

    # The record

    def _record(self) -> None:
        """Count a finished exchange and write its line."""
        plan, head, client, plane = self.plan, self.head, self.client, self.plane
        seconds = perf_counter() - self.started
        route = NO_ROUTE
        if plan is not None:
            route = plan.name
            plan.counters.record(self.status, seconds)
            if head.stripped and not plan.passes(head.stripped):
                plan.counters.drop(reasons.IDENTITY_HEADER)
        if client.cut_by:
            self.more += text_field("cut_by", client.cut_by)
            plane.telling.cut(route, client.cut_by)
        if plane.access_log is None:
            return
        plane.access_log.write(
            access_line(
                plane.clock.stamp(plane.wall_clock()),
                outgoing.client_text(client, head),
                head.method,
                head.host,
                head.path,
                self.status,
                self.sent,
                seconds,
                self.upstream_took,
                self.opened.user if self.opened is not None else "",
                route,
                self.request_id.decode("ascii"),
                self.error,
                self.more,
            )
        )
