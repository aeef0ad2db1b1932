"""The request as the upstream gets it: what is dropped, what only the gateway may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.policy import Address
from gateway.core.upstream import UpstreamAddress
from gateway.errors import RequestError
from gateway.wire import forward
from gateway.wire.cookies import PickedCookies
from gateway.wire.grammar import consists_of
from gateway.wire.head import RequestHead
from gateway.wire.target import without_prefix

if TYPE_CHECKING:
    from gateway.proxy.downstream import Downstream
    from gateway.proxy.exchange import Exchange
    from gateway.proxy.plan import RoutePlan


class PreparedRequest:
    """A request that is ready but for the address it goes to."""

    __slots__ = ("_added", "_cookie", "_head", "_host", "_target", "_websocket", "answer_time")

    def __init__(
        self,
        head: RequestHead,
        target: bytes,
        host: bytes | None,
        cookie: bytes,
        added: bytes,
        websocket: bool,
        answer_time: float,
    ) -> None:
        self._head = head
        self._target = target
        self._host = host
        self._cookie = cookie
        self._added = added
        self._websocket = websocket
        self.answer_time = answer_time
        """Seconds that the upstream has for the answer's head."""

    def head_for(self, address: UpstreamAddress) -> bytes:
        """Return the head's bytes."""
        host = self._host if self._host is not None else address.authority().encode("ascii")
        return forward.request_head(self._head, self._target, host, self._cookie, self._added, self._websocket)


def prepare(exchange: Exchange, plan: RoutePlan, cookies: PickedCookies) -> PreparedRequest:
    """Make the request for the upstream."""
    head, client, route = exchange.head, exchange.client, plan.route
    if head.nominated:
        head.drop_nominated()
    if plan.drop_headers or plan.set_headers:
        head.lines = forward.add_header_rules(head.lines, plan.set_headers, plan.drop_headers)
    if head.stripped and route.pass_headers:
        head.lines += [line.bytes() for line in head.stripped if line.name.decode("ascii") in route.pass_headers]
    cookie = cookies.others
    added = _forwarded(client, head) + plan.prefix
    opened = exchange.opened
    if route.control:
        cookie = b"; ".join(filter(None, (cookies.kept, cookies.others)))
        added = _for_control(client, head) + (
            b"X-Gateway-Session: %b\r\n" % opened.latest().token.encode("ascii") if opened else b""
        )
    elif opened is not None:
        added += plan.identity_block(opened)
    request_id = exchange.request_id
    if b"traceparent" in head.noted:
        added += b"X-Request-Id: %b\r\n" % request_id
    else:
        added += b"X-Request-Id: %b\r\ntraceparent: 00-%b-%b-01\r\n" % (request_id, request_id, request_id[16:])
    if (hops := head.noted.get(b"max-forwards")) is not None:
        head.lines.append(b"Max-Forwards: " + (b"%d" % (int(hops) - 1) if head.method == "OPTIONS" else hops))
    target = without_prefix(head.target, route.path) if plan.prefix else head.target
    host = head.host_value if route.preserve_host else None
    return PreparedRequest(head, target, host, cookie, added, exchange.upgrading, route.response_timeout)


def _forwarded(client: Downstream, head: RequestHead) -> bytes:
    """Return the forwarded lines; for a peer that is not trusted they are made once per connection."""
    host = head.host_value or b""
    if client.peer_trusted:
        hops = [str(hop) for hop in _hops(client, head)]
        return _forwarded_lines(client, ", ".join(hops), hops[0], scheme(client, head), host)
    lines = client.forwarded.get(host)
    if lines is None:
        if len(client.forwarded) > 16:
            client.forwarded.clear()
        lines = _forwarded_lines(client, client.peer_text, client.peer_text, client.scheme, host)
        client.forwarded[host] = lines
    return lines if head.version else lines.replace(b"\r\nVia: 1.1 ", b"\r\nVia: 1.0 ")


def _forwarded_lines(client: Downstream, chain: str, address: str, proto: str, host: bytes) -> bytes:
    lines = f"X-Forwarded-For: {chain}\r\nX-Real-IP: {address}\r\n" if address else ""
    return b"%bX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nVia: 1.1 %b\r\n" % (
        lines.encode("ascii"),
        proto.encode("ascii"),
        host,
        client.plane.pseudonym,
    )


def _for_control(client: Downstream, head: RequestHead) -> bytes:
    """Return what the control plane may rely on: one client address, the scheme, the request to verify."""
    address = client_address(client, head) if client.peer_trusted else client.peer
    lines = f"X-Forwarded-For: {address or ''}\r\nX-Forwarded-Proto: {scheme(client, head)}\r\n".encode("ascii")
    if client.peer_trusted:
        for line in head.forwarded:
            if line.name in (b"x-forwarded-method", b"x-forwarded-host", b"x-forwarded-uri"):
                lines += b"X-Gateway-Original-%b: %b\r\n" % (line.name[12:].title(), line.value)
    return lines


def _hops(client: Downstream, head: RequestHead) -> list[Address]:
    """Return the believed addresses from the client to our peer; none for a unix socket."""
    if client.peer is None or not client.peer_trusted:
        return [client.peer] if client.peer else []
    values = [line.value.decode("latin-1") for line in head.forwarded if line.name == b"x-forwarded-for"]
    return client.plane.trusted.hops(client.peer, ",".join(values)) if values else [client.peer]


def client_address(client: Downstream, head: RequestHead) -> Address | None:
    """Return the client's address as the trusted proxies in front tell it, from the right."""
    hops = _hops(client, head)
    return hops[0] if hops else None


def scheme(client: Downstream, head: RequestHead) -> str:
    """Return ``http`` or ``https``: the connection's own, unless a trusted proxy says otherwise."""
    if client.peer_trusted:
        values = {line.value.lower() for line in head.forwarded if line.name == b"x-forwarded-proto"}
        if values == {b"https"}:
            return "https"
        if values == {b"http"}:
            return "http"
    return client.scheme


def check_loop(head: RequestHead, pseudonym: bytes) -> None:
    """Refuse a request that this gateway has sent to itself. Raises BadSyntax (508)."""
    forward.check_loop(head.noted[b"via"], pseudonym)


def own_method_answer(head: RequestHead) -> int:
    """Return the status for what ends here, ``OPTIONS *`` and Max-Forwards 0; else 0.

    Raises RequestError: 405 for TRACE, which would echo cookies and identity (RFC 9110 §9.3.8), or 400
    for an odd Max-Forwards.
    """
    if head.method == "TRACE":
        raise RequestError(405, "TRACE")
    if head.target == b"*":
        return 204
    hops = head.noted.get(b"max-forwards")
    if hops is None:
        return 0
    if not hops or len(hops) > 6 or not consists_of(hops, b"0123456789"):
        raise RequestError(400, "an odd Max-Forwards")
    return 204 if int(hops) == 0 else 0
