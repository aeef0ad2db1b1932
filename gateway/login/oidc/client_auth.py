"""Proving to a provider who we are (OIDC Core §9, RFC 6749 §2.3.1, RFC 7523)."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote_plus

from aiohttp import hdrs
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.core.provider import Provider
from gateway.login.oidc.jws import PublicKey, signed
from gateway.login.redirect import encoded

ASSERTION_SECONDS = 60
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}


class ClientAuth:
    """What we add to a request to prove that it is ours."""

    def __init__(
        self, provider: Provider, random: Callable[[int], bytes], clock: Callable[[], float] = time.time
    ) -> None:
        """Prepare. Raises ValueError for a private key that cannot be used."""
        self._provider = provider
        self._random = random
        self._clock = clock
        self._key = signing_key(provider.private_key) if provider.private_key else None

    def method(self, offered: tuple[str, ...]) -> str:
        """Return the way to use, out of those that the provider offers unless the configuration says."""
        provider = self._provider
        if provider.client_auth:
            return provider.client_auth
        if self._key is not None:
            return "private_key_jwt"
        if not provider.client_secret:
            return "none"
        basic, post = "client_secret_basic", "client_secret_post"
        return post if post in offered and basic not in offered else basic

    def apply(self, form: dict[str, str], offered: tuple[str, ...], audience: str) -> dict[str, str]:
        """Add to the form what belongs there; return the headers that are needed."""
        provider, method = self._provider, self.method(offered)
        if method == "client_secret_basic":
            # Both are form-encoded first, so that a colon in one is none of the separator's.
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
            return {hdrs.AUTHORIZATION: "Basic " + b64encode(pair.encode("ascii")).decode("ascii")}
        form["client_id"] = provider.client_id
        if method == "client_secret_post":
            form["client_secret"] = provider.client_secret
        elif method == "private_key_jwt":
            form["client_assertion_type"] = ASSERTION_TYPE
            form["client_assertion"] = self._assertion(audience)
        return {}

    def _assertion(self, audience: str) -> str:
        if self._key is None:
            raise ValueError("private_key_jwt needs a private key")
        key, algorithm = self._key
        now = int(self._clock())
        claims = {
            "iss": self._provider.client_id,
            "sub": self._provider.client_id,
            "aud": audience,
            "jti": encoded(self._random(16)),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        return signed(claims, key, algorithm, self._provider.key_id or key.thumbprint())


def signing_key(pem: str) -> tuple[PublicKey, str]:
    """Return a private key and the algorithm it signs by. Raises ValueError unless it is a usable PEM."""
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            key = kind.import_key(pem)
        except (JoseError, ValueError, TypeError):
            continue
        if not key.is_private:
            break
        if isinstance(key, RSAKey):
            return key, "RS256"
        algorithm = _CURVES.get(str(key.as_dict(private=False).get("crv")))
        if algorithm:
            return key, algorithm
    raise ValueError("not a private key in PEM: RSA, EC (P-256, P-384, P-521) or Ed25519")
