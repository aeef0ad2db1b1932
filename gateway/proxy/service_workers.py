"""Service workers of apps: how far their scope may reach, so that none answers in place of the login page.

A worker may have the directory of its script for its scope, or what the response's Service-Worker-Allowed says
(Service Workers §4.1, "Update"). Scopes are compared with addresses as texts, so ``/_g`` takes in ``/_gateway``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from gateway.core.reasons import SERVICE_WORKER
from gateway.core.route import GATEWAY_PREFIX, Route
from gateway.errors import RequestError
from gateway.wire.head import AnswerHead, RequestHead
from gateway.wire.target import simple_path

REQUEST_FIELD: Final = b"service-worker"
RESPONSE_FIELD: Final = b"service-worker-allowed"
VARY: Final = b"Vary: Service-Worker"
_OWN_PAGES: Final = GATEWAY_PREFIX.encode("ascii")
_KEPT: Final = "/!$&'()*+,-.:;=@_~|[]^%"
"""What browsers leave as it is in a path, besides letters and digits (URL Standard, path percent-encode set)."""


class WorkerScope:
    """What the service workers of one route may take in, prepared."""

    __slots__ = ("_directory", "_kept_from")

    def __init__(self, route: Route, public_names: Iterable[str]) -> None:
        """``public_names`` are the hosts under which people reach ``public_url``."""
        self._directory = quote(route.path.rstrip("/") + "/", safe=_KEPT).encode("ascii")
        self._kept_from = frozenset() if route.service_worker else frozenset(public_names)
        """The hosts on whose own pages it has no worker."""

    def check(self, head: RequestHead) -> None:
        """Refuse a worker's script whose directory takes in our own pages. Raises RequestError (403)."""
        if head.noted.get(REQUEST_FIELD, b"").lower() == b"script" and self._guards(head):
            raise RequestError(403, "a script for a service worker that takes in the login page", SERVICE_WORKER)

    def _guards(self, head: RequestHead) -> bool:
        """Tell whether a request's directory, as its browser sees it, is one that takes in our own pages."""
        target = head.target
        end = target.find(b"?")
        slash = target.rfind(b"/", 0, end if end >= 0 else len(target))
        return head.host in self._kept_from and _takes_in_own_pages(target[: slash + 1])

    def rewrite(self, answer: AnswerHead, head: RequestHead) -> bool:
        """Keep what a response says about workers in its route; return whether its Service-Worker-Allowed was changed.

        A script that is refused to a worker is marked, or a browser that has it in memory would not ask us.
        """
        if answer.is_script and self._guards(head):
            answer.lines.append(VARY)
        value = answer.noted.get(RESPONSE_FIELD)
        if value is None:
            return False
        # Browsers take "/app/../" and "/app/%2e%2e/" for "/".
        asked = value if value.startswith(b"/") and simple_path(value) and value.find(b"?") < 0 else b""
        allowed = asked if asked.startswith(self._directory) else self._directory
        if head.host in self._kept_from and _takes_in_own_pages(allowed):
            # Without it, the directory of the script is the limit.
            return True
        answer.lines.append(b"Service-Worker-Allowed: " + allowed)
        return allowed != value


def _takes_in_own_pages(scope: bytes) -> bool:
    """Tell whether a worker with this scope is asked for some of the gateway's own pages."""
    return _OWN_PAGES.startswith(scope) or scope.startswith(_OWN_PAGES)
