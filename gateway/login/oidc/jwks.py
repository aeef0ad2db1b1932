"""A provider's public keys: cached for hours, fetched again for an unknown one, but never more often than that.

Somebody who sends tokens with made-up key ids causes one request per cool-down, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, RSAKey

from gateway.errors import LoginRefused, ProviderDown
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.oidc.jws import BadSignature, PublicKey, Unverified, fits, verified_claims

MAX_KEYS = 64
MIN_RSA_BITS = 2048
_log = logging.getLogger("gateway.login")


@dataclass(frozen=True, slots=True)
class KeyPace:
    """How often the keys are fetched, in seconds of the clock given."""

    keep: float = 3600.0
    """They are fetched again after so long."""
    cool_down: float = 10.0
    """Between two fetches that tokens with unknown keys caused."""
    retry: float = 1.0
    """After a fetch that failed."""


class Keys:
    """The keys of one provider. ``clock`` is monotonic."""

    def __init__(self, http: ProviderHttp, clock: Callable[[], float], pace: KeyPace) -> None:
        self._http = http
        self._clock = clock
        self._pace = pace
        self._keys: tuple[PublicKey, ...] = ()
        self._url = ""
        self._good_until = float("-inf")
        self._next_forced = float("-inf")
        self._next_try = float("-inf")
        self._fetching = asyncio.Lock()

    async def claims(self, token: Unverified, url: str) -> dict[str, object]:
        """Return the claims of a token that one of the keys at ``url`` has signed.

        Raises LoginRefused where none has, ProviderDown where there are no keys to be had.
        """
        if self._url != url or self._clock() >= self._good_until:
            await self._refresh(url, self._keys, forced=False)
        keys = self._keys
        try:
            return self._verified(token)
        except (BadSignature, UnknownKey):
            # A key may be new, or have another's name: look once, unless that was done a moment ago.
            await self._refresh(url, keys, forced=True)
            if self._keys is keys:
                raise
        return self._verified(token)

    def _verified(self, token: Unverified) -> dict[str, object]:
        """Verify by the one key that the token names; without a name there must be only one that fits."""
        fitting = [key for key in self._keys if fits(key, token.algorithm)]
        if token.key_id is not None:
            fitting = [key for key in fitting if key.kid == token.key_id]
        if len(fitting) != 1:
            raise UnknownKey(f"signed by a key that is unknown or not named: {str(token.key_id)[:80]!r}")
        return verified_claims(token, fitting[0])

    async def _refresh(self, url: str, seen: tuple[PublicKey, ...], *, forced: bool) -> None:
        """Fetch the keys unless somebody else just has, or it is too early. Raises ProviderDown without any."""
        async with self._fetching:
            now = self._clock()
            if self._keys is not seen or (forced and now < self._next_forced):
                return
            if now >= self._next_try:
                if forced:
                    self._next_forced = now + self._pace.cool_down
                await self._fetch(url)
            if not self._keys:
                raise ProviderDown(f"there are no keys to be had at {url}")

    async def _fetch(self, url: str) -> None:
        """Fetch the keys; where that fails, the old ones stay until it can be done."""
        try:
            reply = await self._http.get(url)
            if reply.status != 200:
                raise ProviderDown(f"answered {reply.status}")
            self._keys = parse_keys(reply.fields())
            self._url = url
            self._good_until = self._clock() + self._pace.keep
        except ProviderDown as error:
            self._next_try = self._clock() + self._pace.retry
            _log.warning("the keys at %s could not be fetched: %s", url, error)


class UnknownKey(LoginRefused):
    """A token names a key that the provider has not, or none where it has several."""


def parse_keys(fields: dict[str, object]) -> tuple[PublicKey, ...]:
    """Return the keys of a JWK Set that may have signed something; what is not known is ignored (RFC 7517 §5)."""
    entries = fields.get("keys")
    if not isinstance(entries, list):
        raise ProviderDown("answered with something that is not a set of keys")
    found: list[PublicKey] = []
    for entry in entries[:MAX_KEYS]:
        # A key of type "oct" would be a shared secret that everybody can read.
        if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            with warnings.catch_warnings():
                # It warns of short keys, which are left out here.
                warnings.simplefilter("ignore", SecurityWarning)
                key = JWKRegistry.import_key(entry)
            short = isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS
            if isinstance(key, PublicKey) and not short:
                found.append(key)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return tuple(found)
