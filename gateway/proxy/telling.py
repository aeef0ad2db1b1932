"""Saying what was dropped, cut or refused: a warning in words, once for each route and kind, with what helps.

Counters and the access log have each case. Here operators learn which key of the configuration it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from gateway.core import reasons

MAX_TOLD: Final = 512
"""Warnings of one worker; beyond, counters and access log alone speak."""
MAX_NAME: Final = 64
"""Characters of a name that apps choose."""
NO_ROUTE: Final = "-"

REFUSED: Final[Mapping[str, str]] = {
    reasons.ORIGIN: "a WebSocket from a page of another origin was refused; if that page is yours, add its origin to "
    "routes[].origins",
    reasons.CROSS_SITE: "a password that came with the request of another site's page was refused; if that page is "
    "yours, add its origin to routes[].origins",
    reasons.ENCODED_SLASH: "a path with %2F or %5C was refused; if the app needs such paths, set "
    "routes[].encoded_slashes: pass",
    reasons.BODY_TOO_LARGE: "a request body over the limit was refused; raise routes[].max_body, or limits.body",
    reasons.HEAD_TOO_LARGE: "a request head over the limits was refused; raise limits.head, limits.line, "
    "limits.headers or limits.cookie, whichever the access log names",
    reasons.TARGET_TOO_LONG: "a request with a long address was refused; raise limits.target",
    reasons.TOO_SLOW: "a request that arrived too slowly was refused; raise limits.head_time, or for bodies "
    "limits.body_idle_time, or lower limits.body_rate",
    reasons.TOO_MANY_CONNECTIONS: "a connection was refused, for there are too many; raise limits.connections, and the "
    "number of open files if that is what limits it",
    reasons.UPSTREAM_BUSY: "a request was refused, for too many for this app are under way; raise "
    "limits.upstream_connections, limits.upstream_waiting or limits.upstream_wait_time",
    reasons.SERVICE_WORKER: "a script for a service worker that would take in the login page was refused; give "
    "public_url a host that no app has, or set routes[].service_worker: true",
}
"""Refusals that a key of the configuration can change."""

CUT: Final[Mapping[str, str]] = {
    reasons.RESPONSE_IDLE: "a response of the app was cut, for no more of it came; raise limits.answer_idle_time, or "
    "for event streams limits.stream_idle_time",
    reasons.STREAM_IDLE: "a WebSocket on which nothing moved was closed; raise limits.stream_idle_time",
    reasons.WRITE_STALL: "a response was cut, for the client took no more of it; raise limits.write_stall_time",
    reasons.UPLOAD_SLOW: "an upload was cut, for it came too slowly; raise limits.body_idle_time, or lower "
    "limits.body_rate",
    reasons.UPLOAD_TOO_LARGE: "an upload was cut, for it grew over the limit; raise routes[].max_body, or limits.body",
}
"""Cuts that a key of the configuration can change."""


_SAME: Final = {reasons.UPLOAD_SLOW: reasons.TOO_SLOW, reasons.UPLOAD_TOO_LARGE: reasons.BODY_TOO_LARGE}
"""Cuts of which the refusal that goes with them may have told already."""


class Telling:
    """The warnings of one worker."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._told: set[tuple[str, str, str]] = set()

    def refused(self, route: str, reason: str) -> None:
        """Warn of a refusal, if a key of the configuration can change it."""
        text = REFUSED.get(reason)
        if text is not None:
            self._once(route, reason, text)

    def cut(self, route: str, reason: str) -> None:
        """Warn of something under way that was ended, if a key of the configuration can change that."""
        text = CUT.get(reason)
        if text is not None:
            self._once(route, _SAME.get(reason, reason), text)

    def cookie_dropped(self, route: str, name: str) -> None:
        """Warn of a cookie of an app that no browser gets."""
        shown = shown_name(name)
        text = (
            f"the app's cookie {shown} was dropped, for it has the name of the gateway's own; set session.cookie.name "
            "to another, or name the app's cookie otherwise"
        )
        self._once(route, reasons.SET_COOKIE, text, shown)

    def header_dropped(self, route: str, name: str) -> None:
        """Warn of a header of an app's response that no browser gets."""
        shown = shown_name(name)
        text = f"the app's response header {shown} was dropped, for browsers must not get it from an app"
        self._once(route, reasons.RESPONSE_HEADER, text, shown)

    def worker_cut(self, route: str) -> None:
        """Warn of a service worker whose scope was made narrower."""
        text = (
            "the app's Service-Worker-Allowed was cut to the path of its route; give the app a host of its own, other "
            "than that of public_url, if its service worker needs more"
        )
        self._once(route, reasons.WORKER_ALLOWED, text)

    def _once(self, route: str, kind: str, text: str, detail: str = "") -> None:
        key = (route, kind, detail)
        if key in self._told or len(self._told) >= MAX_TOLD:
            return
        self._told.add(key)
        self._log.warning("%s%s", f"route {route}: " if route != NO_ROUTE else "", text)


def shown_name(name: str) -> str:
    """Return a name that somebody else chose as it may stand in a log: quoted, escaped, bounded."""
    return ascii(name[:MAX_NAME]).replace("'", '"')
