"""Logins in progress at identity providers, in one sealed cookie of the browser that began them.

It holds the newest few and never more than fits one cookie, so that many open tabs work and no header
grows too large. Each is used once.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.control.facts import own_cookie
from gateway.control.once import UsedOnce
from gateway.core.cookie import LOGINS_COOKIE, PART_BYTES, CookiePolicy
from gateway.core.next_url import way_back
from gateway.errors import BadToken
from gateway.login.redirect import SECRET_BYTES, Asked, PendingLogin
from gateway.sessions.seal import KeyRing

PURPOSE = "logins in progress"
NEWEST = 5
SECONDS = 600
"""How long somebody may take at the provider."""
MAX_NEXT = 2000
"""Characters of an address to return to; a longer one leads to its path, or to the front page."""


class PendingLogins:
    """Reads and writes the cookie, and remembers what was used up."""

    def __init__(self, keys: KeyRing | None, *, secure: bool) -> None:
        self._keys = keys
        self._policy = CookiePolicy(name=LOGINS_COOKIE, secure=secure)
        self._name = self._policy.full_name.encode("ascii")
        self._used = UsedOnce()

    def of(self, request: web.Request, now: float) -> list[PendingLogin]:
        """Return the browser's logins in progress, the oldest first; none for a cookie that is not ours."""
        value = own_cookie(request, self._name)
        if value is None or self._keys is None:
            return []
        try:
            found = _parsed(self._keys.open(PURPOSE, value.decode("ascii", "replace")))
        except BadToken:
            return []
        return [login for login in found if login.begun <= now < login.begun + SECONDS]

    def take(self, logins: list[PendingLogin], state: str, now: float) -> PendingLogin | None:
        """Take out the login that ``state`` belongs to; None where there is none, or it was used before."""
        given = state.encode("utf-8", "replace")
        for login in logins:
            if hmac.compare_digest(login.state.encode("ascii"), given):
                logins.remove(login)
                # A copy of the cookie still holds it.
                return login if self._used.use_up(login.state, now + SECONDS, now) else None
        return None

    def cookie(self, logins: Sequence[PendingLogin], now: float) -> str:
        """Return the Set-Cookie value that keeps the newest of these logins, as many as fit."""
        if self._keys is None:
            raise ValueError("there are providers, but no keys to seal their logins in progress")
        kept = list(logins[-NEWEST:])
        while kept:
            value = self._keys.seal(PURPOSE, _dumped(kept))
            if len(value) <= PART_BYTES:
                return self._policy.set(value, max_age=SECONDS, now=now)[0]
            kept.pop(0)
        return self._policy.clear()[0]


def _dumped(logins: Sequence[PendingLogin]) -> bytes:
    fields = [
        [
            login.provider,
            b64encode(login.secret).decode("ascii"),
            way_back(login.next_url, lambda way: len(way) <= MAX_NEXT),
            login.begun,
            [list(login.asked.acr_values), login.asked.max_age, login.asked.prompt, login.asked.step_up],
            [login.remember, login.remembered],
        ]
        for login in logins
    ]
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def _parsed(data: bytes) -> list[PendingLogin]:
    """Return what was sealed. Raises BadToken for another shape, as of another version."""
    try:
        return [_login(*fields) for fields in json.loads(data)]
    except (ValueError, TypeError):
        raise BadToken("logins in progress of an odd shape") from None


def _login(provider: str, secret: str, next_url: str, begun: float, asked: Any, remember: Any) -> PendingLogin:
    """Return one login. Raises ValueError or TypeError."""
    acr_values, max_age, prompt, step_up = asked
    chosen, remembered = remember
    login = PendingLogin(
        provider,
        b64decode(secret),
        next_url,
        float(begun),
        Asked(tuple(acr_values), max_age, prompt, step_up),
        chosen is True,
        remembered,
    )
    if len(login.secret) != SECRET_BYTES or not all(isinstance(text, str) for text in (provider, next_url, remembered)):
        raise ValueError
    return login
