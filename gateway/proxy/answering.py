"""The part of an exchange that answers for the gateway itself, and records what became of the request."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from gateway.core.gate import Verdict
from gateway.core.policy import Rule
from gateway.core.step_up import StepUp
from gateway.errors import RequestError, UpstreamError
from gateway.proxy import outgoing
from gateway.proxy.credentials import NotProved, Presented
from gateway.proxy.downstream import Downstream
from gateway.proxy.forward_auth import check_websocket, login_response, passing
from gateway.proxy.plan import RoutePlan
from gateway.proxy.record import access_line
from gateway.sessions.store import Opened
from gateway.wire.asked import AskedHead
from gateway.wire.authorization import bearer_error, step_up_error
from gateway.wire.cookies import PickedCookies
from gateway.wire.head import RequestHead
from gateway.wire.replies import ALLOWED, login_url, wants_page

RETRY_AFTER: Final = (b"Retry-After: 5",)


class Answering:
    """One request, as far as it is answered and recorded without an upstream."""

    __slots__ = (
        "answered", "client", "error", "head", "opened", "plan", "plane", "request_id", "sent", "started", "status",
        "upstream_took",
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
        scheme = outgoing.scheme(self.client, head)
        location = login_url(head, plane.login_page, scheme, plane.limits.target, asked)
        if isinstance(head, AskedHead):
            status, lines = login_response(head, location, scheme, self._challenges())
            return self._answer(status, lines)
        if wants_page(head) and not head.upgrade:
            return self._answer(302, (b"Location: " + location,))
        return self._answer(401, (b"X-Gateway-Login: " + location, *self._challenges()))

    def _ask_for_better(self, presented: Presented, step_up: StepUp) -> bool:
        """Refuse a credential that is right, but not enough (RFC 9470 §3).

        Its sender is not led to a page: who has logged in there would send the same credential again.
        """
        if presented.scheme != "bearer":
            return self._answer(403)
        return self._answer(401, step_up_error(presented.accepts.challenges, step_up))

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
            return self._answer(403)
        return self._answer(403, bearer_error(presented.accepts.challenges, b"insufficient_scope"))

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
        return self._answer(refused.status, extra)

    def _failed(self, status: int, detail: str) -> bool:
        """Answer a fault, or cut the connection if an answer has begun."""
        self.error = self.error or detail
        if self.answered:
            self.client.abort()
            return False
        # What is wrong with a request that is asked about is none of the connection's.
        close = status < 500 and not isinstance(self.head, AskedHead)
        return self._answer(status, RETRY_AFTER if status == 503 else (), close=close)

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
            extra = (*extra, b"Sec-WebSocket-Version: 13", b"Upgrade: websocket", b"Connection: Upgrade")
        if status in (204, 405):
            extra = (*extra, *ALLOWED)
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
            raise RequestError(403, "our own pages: an app would answer there")
        if not client.peer_asks:
            self.plane.askers.turn_away(client.peer_text)
            raise RequestError(404, "a peer that is not in forward_auth.from")
        self.head = asked = AskedHead(head)
        asked.read(self.plane.limits.target)

    def _let_pass(self, head: AskedHead, plan: RoutePlan, cookies: PickedCookies) -> bool:
        """Answer a proxy that the request it asks about may pass, and who sends it. Raises RequestError."""
        client, plane, opened = self.client, self.plane, self.opened
        if head.websocket:
            check_websocket(head, plan.route, outgoing.scheme(client, head))
        close = head.has_body() or not head.keeps_alive() or plane.is_last(client)
        identity = plan.whole_identity(opened, plane.now)
        renewed = plane.renewed_cookies(opened) if opened is not None and opened.renewed is not None else ()
        data = passing(head, identity, cookies.others, renewed, plane.http_date, self.request_id, close)
        self.status = 200
        self.answered = True
        self.sent = len(data)
        client.write(data)
        return not close

    # The record

    def _record(self) -> None:
        """Count a finished exchange and write its line."""
        plan, head, client, plane = self.plan, self.head, self.client, self.plane
        seconds = perf_counter() - self.started
        route = "-"
        if plan is not None:
            route = plan.name
            plan.counters.record(self.status, seconds)
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
            )
        )
