"""The request that another proxy holds and asks about (forward auth), read out of the request by which it asks.

Two forms: the header form names method, host and target in ``X-Forwarded-*``; in the path form they are those of the
request that asks, whose target has `VERIFY` in front. Whose word counts is the data plane's business.
"""

from __future__ import annotations

from typing import Final

from gateway.core.own_pages import VERIFY_PATH
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import METHODS, RequestHead, parse_method, read_target
from gateway.wire.headers import HostLine

VERIFY: Final = VERIFY_PATH.encode("ascii")
WEBSOCKET: Final = b"websocket"
NEVER_SERVED: Final = frozenset({"CONNECT", "TRACE"})


def asks(target: bytes) -> bool:
    """Tell whether a request asks about another one. Its target has to be spelled so: no other spelling of it asks."""
    return target.startswith(VERIFY) and target[len(VERIFY) : len(VERIFY) + 1] in (b"", b"/", b"?")


class AskedHead(RequestHead):
    """A request as it would have come here itself: `read` says which one.

    What frames the response is that of the request that asks. It is ``unusual``, so that others pay nothing for it.
    """

    def __init__(self, asking: RequestHead) -> None:
        super().__init__()
        self.lines = asking.lines
        self.cookie_lines = asking.cookie_lines
        self.credentials = asking.credentials
        self.forwarded = asking.forwarded
        self.connection = asking.connection
        self.close = asking.close
        self.version = asking.version
        self.noted = asking.noted
        self.unusual = True
        self.method = asking.method
        self.host = asking.host
        self.host_value = asking.host_value
        self.path = asking.path
        self.target = asking.target
        self.redirects = False
        """Whether browsers on their way to a page get 302: whoever asks hands on everything that is not 2xx."""
        upgrade = asking.upgrade
        self.other_upgrade = upgrade is not None and upgrade != WEBSOCKET
        """Whether it asks for another protocol, or for several: after that, nobody would judge what passes."""
        # Traefik asks without Upgrade. No page can set the key, and no WebSocket opens without it (RFC 6455 §4.1).
        self.websocket = upgrade is not None or b"sec-websocket-key" in asking.noted
        """Whether it would open a WebSocket, or a tunnel of another kind."""
        self._has_body = asking.has_body()
        self._by_head = asking.method == "HEAD"

    def has_body(self) -> bool:
        """Tell whether a body follows the head of the request that asks."""
        return self._has_body

    def wants_no_body(self) -> bool:
        """Tell whether the response to the request that asks has no body."""
        return self._by_head

    def read(self, max_target: int) -> None:
        """Find out which request is asked about. Raises BadSyntax; ``max_target`` are bytes."""
        rest = self.target[len(VERIFY) :]
        if rest.startswith(b"/"):
            target = rest
            self.redirects = True
        else:
            self.redirects = b"redirect=1" in rest[1:].split(b"&")
            target = self._read_told()
        if len(target) > max_target:
            raise BadSyntax("a target over the limit", 414)
        if not target.startswith(b"/"):
            raise BadSyntax("a target to be verified that is no path")
        self.target = target
        read_target(self)

    def _read_told(self) -> bytes:
        """Take over method and host of the header form, and return the target.

        Each has to be there once: two would be the proxy's own and its client's.
        """
        host = method = target = b""
        count = 0
        for line in self.forwarded:
            name = line.name
            if name == b"x-forwarded-host":
                host = line.value
            elif name == b"x-forwarded-method":
                method = line.value
            elif name == b"x-forwarded-uri":
                target = line.value
            else:
                continue
            count += 1
        if count != 3 or not (host and method and target):
            raise BadSyntax("X-Forwarded-Method, -Host or -Uri of the request to verify missing, or there twice")
        if host != self.host_value:
            # Most proxies say in Host, too, which host it is; that one was read with the head.
            self.host_value = None
            HostLine(b"host", host).apply(self)
        self.method = METHODS.get(method) or parse_method(method)
        if self.method in NEVER_SERVED:
            raise BadSyntax("a method to be verified that is served nowhere", 403)
        return target
