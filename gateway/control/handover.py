"""How a host asks for the session that its visitor has on ``public_url``, and knows its own question again.

Each question gets a cookie of its own, so that tabs which are opened at once do not take each other's;
the address shows only a hash of it. So nobody can slip a session to a browser that has not asked for
one, nor take one with a code that was seen somewhere.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import quote

from aiohttp import hdrs, web

from gateway.control.facts import own_cookie, own_cookies
from gateway.core.cookie import TRANSFER_COOKIE_START, TRANSFERRED_COOKIE, CookiePolicy
from gateway.core.next_url import MAX_ADDRESS, MAX_LENGTH, way_back

HANDOVER_PATH = "/_gateway/handover"
START_PATH = HANDOVER_PATH + "/start"

ASKED_SECONDS = 900
"""How long somebody may take to sign in on ``public_url``."""
NEWEST = 8
"""Questions of one browser; it forgets the oldest."""
DONE_SECONDS = 30
IN_VAIN = 3
"""Hand-overs to one host, each within `DONE_SECONDS` of the one before, after which it asks no more: if the
session is gone each time, its cookie does not stay here, and the browser would be led in circles."""
_NONCE_BYTES = 16
# What needs no escape within a value of a query, so that addresses stay short.
_PLAIN = "/:?=@,;!$'()*~"
_LOGIN = 512
"""Room for the rest of the login's address."""


def encoded(value: bytes) -> str:
    """Return bytes as base64url without padding."""
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def start_url(host: str, browser: str, next_url: str, step_up: str = "") -> str:
    """Return the path on ``public_url`` that hands a session to ``host``, one that is enough for ``step_up``.

    It becomes the ``next`` of a login there, so it leads back to the path alone where it would be too long for that.
    """
    asked = f"&step_up={quote(step_up)}" if step_up else ""

    def address(way: str) -> str:
        return f"{START_PATH}?to={host}&browser={browser}&next={quote(way, safe=_PLAIN)}{asked}"

    def fits(way: str) -> bool:
        return len(address(way)) <= MAX_LENGTH and len(quote(address(way), safe="/")) <= MAX_ADDRESS - _LOGIN

    return address(way_back(next_url, fits))


class Questions:
    """Writes and reads the cookies of what a browser has asked."""

    def __init__(self, *, secure: bool, random: Callable[[int], bytes]) -> None:
        self._secure = secure
        self._random = random
        self._done = self._policy(TRANSFERRED_COOKIE)
        self._prefix = self._policy(TRANSFER_COOKIE_START).full_name

    def _policy(self, name: str) -> CookiePolicy:
        # Lax, whatever the session's cookie is: the browser comes back from another site.
        return CookiePolicy(name=name, secure=self._secure)

    def ask(self, request: web.Request, response: web.Response, now: float) -> str:
        """Let the browser remember a new question, and return the hash that stands for it."""
        nonce = encoded(self._random(_NONCE_BYTES))
        name = f"{TRANSFER_COOKIE_START}{int(now):x}_{self._random(4).hex()}"
        (cookie,) = self._policy(name).set(nonce, max_age=ASKED_SECONDS, now=now)
        response.headers.add(hdrs.SET_COOKIE, cookie)
        names = sorted(name for name, _ in own_cookies(request, self._prefix))
        for old in names[: max(0, len(names) - NEWEST + 1)]:
            response.headers.add(hdrs.SET_COOKIE, self._removal(old))
        return _hash(nonce)

    def has_asked(self, request: web.Request) -> bool:
        """Tell whether the browser remembers any question."""
        return bool(own_cookies(request, self._prefix))

    def find(self, request: web.Request, browser: str) -> str | None:
        """Return the name of the cookie that ``browser`` is the hash of, or None."""
        for name, nonce in own_cookies(request, self._prefix):
            if hmac.compare_digest(_hash(nonce).encode("ascii"), browser.encode("utf-8", "replace")):
                return name
        return None

    def answered(self, request: web.Request, response: web.Response, name: str, now: float) -> None:
        """Let the browser forget a question, and count for a while how many were answered."""
        response.headers.add(hdrs.SET_COOKIE, self._removal(name))
        count = str(self._count(request) + 1)
        response.headers.add(hdrs.SET_COOKIE, self._done.set(count, max_age=DONE_SECONDS, now=now)[0])

    def are_in_vain(self, request: web.Request) -> bool:
        """Tell whether sessions that this browser is handed are gone again at once."""
        return self._count(request) >= IN_VAIN

    def _count(self, request: web.Request) -> int:
        value = own_cookie(request, self._done.full_name.encode("ascii")) or b""
        return int(value) if value.isdigit() and len(value) == 1 else 0

    def forget(self, request: web.Request, response: web.Response) -> None:
        """Let the browser forget that it was handed a session, as when it logs out."""
        if self._count(request):
            response.headers.add(hdrs.SET_COOKIE, self._done.clear()[0])

    def _removal(self, full_name: str) -> str:
        return self._policy(full_name.removeprefix("__Host-")).clear()[0]


def _hash(nonce: str) -> str:
    return encoded(sha256(b"gateway handover nonce v1 " + nonce.encode("ascii", "replace")).digest())
