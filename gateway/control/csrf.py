"""Forms that only our own pages can send: a signed double-submit token, bound to the browser.

The browser gets one lasting cookie for all its tabs; each form holds a token made from that cookie,
the form's purpose and the session. So any number of open tabs works, and a restored browser too.
Beside it, what browsers say about where a request comes from must not speak against it.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256

from aiohttp import web

from gateway.control.facts import host_of, own_cookie, scheme_of
from gateway.core.cookie import BROWSER_COOKIE, CookiePolicy

FIELD = "csrf_token"
BROWSER_BYTES = 16
BROWSER_DAYS = 180
_VALUE_CHARACTERS = 22
_NONCE_BYTES = 8


class CsrfGuard:
    """Makes and checks the tokens of forms.

    ``keys`` have at least 32 bytes each and no other use; the first signs, all are good, so that a
    new key spoils no form that is open.
    """

    def __init__(self, keys: Sequence[bytes], *, secure: bool, random: Callable[[int], bytes]) -> None:
        if not keys or min(map(len, keys)) < 32:
            raise ValueError("a key for form tokens has less than 32 bytes")
        self._keys = tuple(keys)
        self._random = random
        self.cookie = CookiePolicy(name=BROWSER_COOKIE, secure=secure)
        self._name = self.cookie.full_name.encode("ascii")

    def browser(self, request: web.Request) -> bytes | None:
        """Return the browser's id; None where it shows none, or two."""
        value = own_cookie(request, self._name)
        return None if value is None else _decoded(value)

    def new_browser(self) -> bytes:
        """Return an id for a browser that has none."""
        return self._random(BROWSER_BYTES)

    def set_cookie(self, browser: bytes, now: float) -> str:
        """Return the Set-Cookie value that keeps the id in the browser."""
        (value,) = self.cookie.set(_encoded(browser), max_age=BROWSER_DAYS * 86400, now=now)
        return value

    def token(self, browser: bytes, purpose: str, session_id: bytes = b"") -> str:
        """Return a token for a form; each one looks different, so that compression tells nothing (BREACH)."""
        nonce = self._random(_NONCE_BYTES)
        return _encoded(nonce + _signature(self._keys[0], nonce, browser, purpose, session_id))

    def refusal(self, request: web.Request, token: str, purpose: str, session_id: bytes = b"") -> str | None:
        """Return why a form is not to be believed, or None."""
        if foreign := foreign_origin(request):
            return foreign
        browser = self.browser(request)
        if browser is None:
            return "no cookie"
        given = _token_bytes(token)
        if given is None:
            return "no token"
        nonce, signature = given[:_NONCE_BYTES], given[_NONCE_BYTES:]
        signatures = [_signature(key, nonce, browser, purpose, session_id) for key in self._keys]
        return None if any(hmac.compare_digest(signature, right) for right in signatures) else "stale token"


def _signature(key: bytes, nonce: bytes, browser: bytes, purpose: str, session_id: bytes) -> bytes:
    # Nonce and browser have fixed lengths and a purpose holds no NUL, so no two inputs read the same.
    message = b"".join((nonce, browser, purpose.encode("ascii"), b"\0", session_id))
    return hmac.new(key, message, sha256).digest()


def foreign_origin(request: web.Request) -> str | None:
    """Return what says that a request was made by another site's page, or None.

    An https origin of the same host is ours as well: a proxy in front may end TLS without being
    listed in ``trusted_proxies``.
    """
    site = request.headers.get("Sec-Fetch-Site", "")
    if site in ("cross-site", "same-site"):
        return f"sent from a page of another site ({site})"
    host = host_of(request)
    # An Origin never names its scheme's own port (RFC 6454 §6.1); a Host that a proxy wrote may.
    ours = ["https://" + host.removesuffix(":443")]
    if scheme_of(request) == "http":
        ours.append("http://" + host.removesuffix(":80"))
    for origin in request.headers.getall("Origin", []):
        if origin.lower() not in ours:
            return f"sent from a page of {origin[:200]!r}"
    return None


def _encoded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _decoded(value: bytes) -> bytes | None:
    if len(value) != _VALUE_CHARACTERS:
        return None
    try:
        browser = urlsafe_b64decode(value + b"==")
    except ValueError:
        return None
    return browser if len(browser) == BROWSER_BYTES else None


def _token_bytes(token: str) -> bytes | None:
    try:
        given = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except ValueError:
        return None
    return given if len(given) == _NONCE_BYTES + sha256().digest_size else None
