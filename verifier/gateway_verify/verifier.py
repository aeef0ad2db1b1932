"""The verifier: who is expected to have signed, for whom, and where the keys are."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway_verify.keys import RemoteKeys
from gateway_verify.token import Expected, Identity, check, parse

JWKS_PATH = "/_gateway/jwks.json"


class Verifier:
    """Checks tokens of one gateway for one app. Make it once; threads and event loops may share it."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        jwks_url: str = "",
        leeway: float = 30.0,
        cool_down: float = 10.0,
        timeout: float = 5.0,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is fetched yet.

        ``issuer`` is the gateway's ``public_url``, ``audience`` the app's route. The keys are fetched
        there, or at ``jwks_url`` under the issuer's host name. ``leeway`` is how far clocks may differ,
        ``cool_down`` the least time between two fetches, ``timeout`` the longest of one, in seconds.
        Raises ValueError.
        """
        issuer = issuer.rstrip("/")
        if not issuer or not audience:
            raise ValueError("issuer and audience are needed: whose tokens, and for whom")
        self._expected = Expected(issuer, audience, leeway)
        self._clock = clock
        self._keys = RemoteKeys(
            jwks_url or issuer + JWKS_PATH,
            urlsplit(issuer).netloc,
            cool_down=cool_down,
            timeout=timeout,
            context=tls,
            clock=monotonic,
        )

    def verify(self, token: str) -> Identity:
        """Return who sends a request, by its token; may fetch keys. Raises NotVerified or KeysUnavailable."""
        parsed = parse(token)
        return check(parsed, self._keys.find(parsed.kid), self._expected, self._clock())

    async def verify_async(self, token: str) -> Identity:
        """Do the same; keys are fetched in a thread. Raises NotVerified or KeysUnavailable."""
        parsed = parse(token)
        key = self._keys.known(parsed.kid)
        if key is None:
            key = await asyncio.to_thread(self._keys.find, parsed.kid)
        return check(parsed, key, self._expected, self._clock())
