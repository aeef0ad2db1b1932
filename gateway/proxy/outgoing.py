"""The request as the upstream gets it: what is dropped, what only the gateway may say."""

from __future__ import annotations

from typing import Final

from gateway.core.policy import Address
from gateway.core.reasons import BAD_HEADER
from gateway.core.upstream import UpstreamAddress
from gateway.errors import RequestError
from gateway.proxy.downstream import Downstream
from gateway.proxy.plan import RoutePlan
from gateway.sessions.store import Opened
from gateway.wire import forward
from gateway.wire.asked import AskedHead, asks
from gateway.wire.cookies import PickedCookies
from gateway.wire.grammar import DIGITS, OWS, consists_of
from gateway.wire.head import RequestHead
from gateway.wire.target import without_prefix

SCHEMES: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
"""What proxies write into X-Forwarded-Proto; some tell a WebSocket by its own scheme, as Traefik does."""
UNKNOWN: Final = "unknown"
"""What stands in X-Forwarded-For for a client without an address, as Squid has it, and RFC 7239 §6.2 in its stead."""


def request_head(
    client: Downstream,
    head: RequestHead,
    plan: RoutePlan,
    cookies: PickedCookies,
    opened: Opened | None,
    request_id: bytes,
    address: UpstreamAddress,
    websocket: bool,
) -> bytes:
    """Return the head for one upstream address; it may be asked for again for another one."""
    route = plan.route
    if route.control:
        added = _for_control(client, head, opened)
        if cookies.ambiguous:
            added += b"X-Gateway-Session-Cookies: ambiguous\r\n"
        cookie = cookies.kept
    else:
        added = _forwarded(client, head) + plan.prefix
        cookie = cookies.others
        if opened is not None:
            added += plan.identity_block(opened, client.plane.now)
    added += b"X-Request-Id: " + request_id
    if b"traceparent" not in head.noted:
        added += b"\r\ntraceparent: 00-%b-%b-01" % (request_id, request_id[16:])
    return forward.request_head(
        head,
        _lines(head, plan)
        if plan.edits or head.unusual or head.nominated or head.stripped or head.credentials
        else head.lines,
        without_prefix(head.target, route.path) if plan.prefix else head.target,
        head.host_value or b"" if route.preserve_host else address.authority().encode("ascii"),
        cookie,
        added,
        websocket,
    )


def _lines(head: RequestHead, plan: RoutePlan) -> list[bytes]:
    """Return the client's lines as they are passed on: without what Connection nominates, by the route's rules."""
    route = plan.route
    lines = head.kept_lines() if head.nominated else head.lines
    if head.credentials and b"authorization" not in head.nominated:
        lines = lines + [b"Authorization: " + value for value in head.credentials]
    if plan.edits:
        lines = forward.add_header_rules(lines, plan.set_headers, plan.drop_headers)
    if head.stripped and route.pass_headers:
        lines = lines + [line.bytes() for line in head.stripped if line.name.decode("ascii") in route.pass_headers]
    if (hops := head.noted.get(b"max-forwards")) is not None:
        lines = [*lines, b"Max-Forwards: " + (b"%d" % (int(hops) - 1) if head.method == "OPTIONS" else hops)]
    return lines


def _forwarded(client: Downstream, head: RequestHead) -> bytes:
    """Return the forwarded lines; for a peer that is not trusted they are made once per connection."""
    host = head.host_value or b""
    if client.peer_trusted:
        hops = _hops(client, head)
        chain = ", ".join([UNKNOWN if hop is None else str(hop) for hop in hops])
        return _forwarded_lines(client, chain, str(hops[0] or ""), scheme(client, head), host)
    lines = client.forwarded.get(host)
    if lines is None:
        if len(client.forwarded) > 16:
            client.forwarded.clear()
        lines = _forwarded_lines(client, client.peer_text, client.peer_text, client.scheme, host)
        client.forwarded[host] = lines
    return lines if head.version else lines.replace(b"\r\nVia: 1.1 ", b"\r\nVia: 1.0 ")


def _forwarded_lines(client: Downstream, chain: str, address: str, proto: str, host: bytes) -> bytes:
    lines = f"X-Forwarded-For: {chain}\r\n" if chain else ""
    if address:
        lines += f"X-Real-IP: {address}\r\n"
    return b"%bX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nVia: 1.1 %b\r\n" % (
        lines.encode("ascii"),
        proto.encode("ascii"),
        host,
        client.plane.pseudonym,
    )


def _for_control(client: Downstream, head: RequestHead, opened: Opened | None) -> bytes:
    """Return what the control plane may rely on: client address, scheme, session."""
    address = client_address(client, head) if client.peer_trusted else client.peer
    if address is None and client.peer_text:
        # Nobody is let in by it, but attempts to log in are counted by the address that they came from.
        told = f"{UNKNOWN}, {client.peer_text}"
    else:
        told = str(address or "")
    lines = f"X-Forwarded-For: {told}\r\nX-Forwarded-Proto: {scheme(client, head)}\r\n".encode("ascii")
    if opened is not None:
        lines += b"X-Gateway-Session: %b\r\n" % opened.latest().token.encode("ascii")
    return lines


def _hops(client: Downstream, head: RequestHead) -> list[Address | None]:
    """Return the believed addresses from the client, None if not known, to our peer; nothing for a unix socket."""
    if client.peer is None or not client.peer_trusted:
        return [client.peer] if client.peer else []
    told = _forwarded_for(head)
    return [client.peer] if told is None else client.plane.trusted.hops(client.peer, told)


def _forwarded_for(head: RequestHead) -> str | None:
    """Return X-Forwarded-For; an empty one, which is a client that is not known, is none that is missing."""
    values = [line.value.decode("latin-1") for line in head.forwarded if line.name == b"x-forwarded-for"]
    return ",".join(values) if values else None


def client_address(client: Downstream, head: RequestHead) -> Address | None:
    """Return the client's address as the trusted proxies in front tell it, from the right; None if it is not known."""
    if isinstance(head, AskedHead) and client.peer is not None:
        return client.plane.askers.client(client.peer, client.peer_text, _forwarded_for(head)).address
    hops = _hops(client, head)
    return hops[0] if hops else None


def client_text(client: Downstream, head: RequestHead) -> str:
    """Return the same as text, for the access log; nothing where it is not known."""
    if isinstance(head, AskedHead) and client.peer is not None:
        return client.plane.askers.client(client.peer, client.peer_text, _forwarded_for(head)).text
    return str(client_address(client, head) or "") if client.peer_trusted else client.peer_text


def scheme(client: Downstream, head: RequestHead) -> str:
    """Return ``http`` or ``https``: the connection's own, unless a trusted proxy says otherwise."""
    if client.peer_trusted or isinstance(head, AskedHead):
        values = [line.value for line in head.forwarded if line.name == b"x-forwarded-proto"]
        if values:
            told = values[0] if len(values) == 1 and values[0].find(b",") < 0 else _outermost(values, client, head)
            return SCHEMES.get(told.lower(), client.scheme)
    return client.scheme


def _outermost(values: list[bytes], client: Downstream, head: RequestHead) -> bytes:
    """Return of several schemes the one that the outermost trusted proxy wrote, as the client's address is found.

    Each proxy adds one to either list, so they are as long. Where they are not, some proxy adds to one of them only:
    then the scheme nearest to us counts, unless all are the same.
    """
    entries = [entry.strip(OWS).lower() for entry in b",".join(values).split(b",")]
    told = {SCHEMES.get(entry) for entry in entries}
    lines = [line.value for line in head.forwarded if line.name == b"x-forwarded-for"]
    if len(told) > 1 and lines and b",".join(lines).count(b",") == len(entries) - 1:
        # Who asks about the requests of others need not be a trusted proxy: then theirs is the last.
        return entries[-max(1, len(_hops(client, head)) - 1)]
    return entries[-1]


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
    if asks(head.target):
        # A 2xx would let a request pass that nobody has judged.
        return 0
    hops = head.noted.get(b"max-forwards")
    if hops is None:
        return 0
    if not hops or len(hops) > 6 or not consists_of(hops, DIGITS):
        raise RequestError(400, "an odd Max-Forwards", BAD_HEADER)
    return 204 if int(hops) == 0 else 0
