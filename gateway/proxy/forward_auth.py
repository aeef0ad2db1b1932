"""Forward auth: another proxy asks about a request that it holds, and gets the decision and the identity.

The request that is asked about goes the way of every other (`Exchange.run`); here is what is different: who may ask,
and how the response is written. Nothing here decides who is let in.
"""

from __future__ import annotations

import logging
from typing import Final

from gateway.core.peer import TrustedProxies
from gateway.core.policy import Address
from gateway.core.reasons import ORIGIN, WEBSOCKET
from gateway.core.route import Route
from gateway.errors import RequestError
from gateway.wire.asked import AskedHead
from gateway.wire.replies import wants_page
from gateway.wire.websocket import origin_allowed

MAX_WARNINGS: Final = 16
"""Peers that the log names; beyond, it has said what is to be done."""
MAX_CLIENTS: Final = 1024
MAX_KEY: Final = 256
PASSED: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\n"


class Told:
    """A client as the proxies in front tell it."""

    __slots__ = ("address", "text")

    def __init__(self, address: Address | None) -> None:
        self.address = address
        self.text = str(address or "")


class Askers:
    """Who may ask about the requests of others."""

    def __init__(self, networks: TrustedProxies, trusted: TrustedProxies, log: logging.Logger) -> None:
        """``networks`` is empty where forward auth is not configured; ``trusted`` are the proxies in front."""
        self._networks = networks
        self._trusted = TrustedProxies((*networks.networks, *trusted.networks))
        self._clients: dict[str, Told] = {}
        self._log = log
        self._named: set[str] = set()

    def may_ask(self, peer: Address | None) -> bool:
        """Tell whether a peer may ask; nobody without an address may, as by a unix socket."""
        return self._networks.trusts(peer)

    def client(self, peer: Address, peer_text: str, forwarded_for: str | None) -> Told:
        """Return whom a request that asks is about, by X-Forwarded-For. Remembered: to read an address takes 20 µs."""
        key = peer_text if forwarded_for is None else f"{peer_text} {forwarded_for}"
        told = self._clients.get(key)
        if told is None:
            hops = [peer] if forwarded_for is None else self._trusted.hops(peer, forwarded_for)
            told = Told(hops[0])
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.clear()
            if len(key) <= MAX_KEY:
                self._clients[key] = told
        return told

    def turn_away(self, peer: str) -> None:
        """Say in the log, once for each peer, why it gets 404, and what would let it ask."""
        if peer in self._named or len(self._named) >= MAX_WARNINGS:
            return
        self._named.add(peer)
        if not peer:
            self._log.warning("/_gateway/verify was asked through a unix socket: forward auth is for peers by TCP")
        elif self._networks.networks:
            self._log.warning(
                "/_gateway/verify was asked by %s, which is not in forward_auth.from: add it if it is your proxy", peer
            )
        else:
            self._log.warning(
                "/_gateway/verify was asked by %s, but forward auth is not configured: "
                "if that is your proxy, set forward_auth: {from: [%s]}",
                peer,
                peer,
            )


def check_websocket(head: AskedHead, route: Route, scheme: str) -> None:
    """Check a WebSocket that would be opened as one that comes here is checked. Raises RequestError."""
    if head.other_upgrade:
        raise RequestError(403, "an upgrade to something else than WebSocket", WEBSOCKET)
    if not route.websocket:
        raise RequestError(403, "a WebSocket where the route has none", WEBSOCKET)
    if not origin_allowed(head, route.origins, scheme):
        raise RequestError(403, "a WebSocket from another origin", ORIGIN)


def passing(
    head: AskedHead,
    identity: bytes,
    cookie: bytes,
    authorization: bytes,
    renewed: tuple[bytes, ...],
    date: bytes,
    request_id: bytes,
    close: bool,
) -> bytes:
    """Return the response that lets a request pass.

    ``identity`` are lines with every configured header, ``cookie`` is the client's line without ours, ``authorization``
    its credential unless that was for us. What is empty has to be there, too, for most proxies keep what a client sent
    where the response does not name it.
    """
    lines = [PASSED, identity, b"Cookie: ", cookie, b"\r\nAuthorization: ", authorization, b"\r\n"]
    if len(renewed) == 1:
        # Proxies hand on one Set-Cookie at best; of a session in several, the server knows when it was last seen.
        lines += (b"Set-Cookie: ", renewed[0], b"\r\n")
    if close:
        lines.append(b"Connection: close\r\n")
    elif not head.version:
        lines.append(b"Connection: keep-alive\r\n")
    lines += (b"Date: ", date, b"\r\nX-Request-Id: ", request_id, b"\r\n\r\n")
    return b"".join(lines)


def login_response(
    head: AskedHead, login: bytes, scheme: str, challenges: tuple[bytes, ...]
) -> tuple[int, tuple[bytes, ...]]:
    """Return status and lines that lead to ``login``, as an absolute URL on the host that is asked about.

    Location is for browsers on their way to a page alone: nginx, which knows no other refusal than 401 and 403, tells
    them by it from programs.
    """
    if login.startswith(b"/"):
        login = b"%b://%b%b" % (scheme.encode("ascii"), head.host_value or b"", login)
    line = b"X-Gateway-Login: " + login
    if head.websocket or not wants_page(head):
        return 401, (line, *challenges)
    return 302 if head.redirects else 401, (b"Location: " + login, line)
