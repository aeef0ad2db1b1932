"""The gateway's public keys: fetched at need, cached as long as it says, asked for anew no more than now and then."""

from __future__ import annotations

import json
import re
import ssl
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway_verify.errors import KeysUnavailable, NotVerified
from gateway_verify.token import PublicKey

MAX_BYTES = 256 * 1024
MAX_AGE, DEFAULT_AGE = 86400.0, 3600.0
LONGEST_STALE = 86400.0
"""Seconds for which known keys go on where no newer ones can be had."""
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=([0-9]{1,9})")


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Follow nothing: keys come from where they were looked for."""
        return None


class RemoteKeys:
    """The keys of one JWK set. Threads may share it."""

    def __init__(
        self,
        url: str,
        host: str,
        *,
        cool_down: float,
        timeout: float,
        context: ssl.SSLContext | None,
        clock: Callable[[], float],
    ) -> None:
        """``clock`` is monotonic, in seconds. Raises ValueError for a URL that is not http or https."""
        if not url.startswith(("http://", "https://")):
            raise ValueError("the keys are at an http or https URL")
        # No proxy of the environment: nobody who could put other keys in their place.
        self._opener = build_opener(ProxyHandler({}), _NoRedirect(), HTTPSHandler(context=context))
        self._request = Request(url, headers={"Host": host, "Accept": "application/jwk-set+json"})  # noqa: S310
        self._cool_down = cool_down
        self._timeout = timeout
        self._clock = clock
        self._keys: Mapping[str, PublicKey] = {}
        self._fresh_until = self._usable_until = self._not_before = float("-inf")
        self._failure = ""
        self._lock = threading.Lock()

    def known(self, kid: str) -> PublicKey | None:
        """Return a key from memory; None means "ask `find`"."""
        return self._keys.get(kid) if self._clock() < self._fresh_until else None

    def find(self, kid: str) -> PublicKey:
        """Return a key, fetched if need be. Raises KeysUnavailable, or NotVerified where there is no such key."""
        key = self.known(kid)
        if key is not None:
            return key
        # One fetches; whoever has a key already need not wait for it.
        if self._lock.acquire(blocking=kid not in self._keys):
            try:
                if self.known(kid) is None and self._clock() >= self._not_before:
                    self._fetch()
            finally:
                self._lock.release()
        key = self._keys.get(kid)
        now = self._clock()
        if key is not None and now < self._usable_until:
            return key
        if self._failure or now >= self._usable_until:
            raise KeysUnavailable(self._failure or "the keys are not known yet")
        raise NotVerified("signed with a key that the gateway has not")

    def _fetch(self) -> None:
        """Fetch the keys; a failure is noted, and what is known stays."""
        try:
            with self._opener.open(self._request, timeout=self._timeout) as answer:
                data = answer.read(MAX_BYTES + 1)
                age = _age(answer.headers.get("Cache-Control", ""))
            if len(data) > MAX_BYTES:
                raise ValueError("too long")
            keys = read_key_set(data)
        except (OSError, HTTPException, ValueError) as error:
            self._failure = f"the gateway's keys cannot be had: {error}"
        else:
            now = self._clock()
            self._keys, self._failure = keys, ""
            self._fresh_until, self._usable_until = now + age, now + age + LONGEST_STALE
        self._not_before = self._clock() + self._cool_down


def read_key_set(data: bytes) -> dict[str, PublicKey]:
    """Return the keys of a JWK set that can check our tokens, by name. Raises ValueError for anything else."""
    members = json.loads(data)
    listed = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(listed, list):
        raise ValueError("not a set of keys")
    found = {}
    for member in listed:
        key = _public_key(member) if isinstance(member, dict) else None
        if key is not None:
            found[str(member["kid"])] = key
    return found


def _public_key(member: Mapping[str, Any]) -> PublicKey | None:
    """Return a key (RFC 7517, RFC 8037), or None for one of a kind that is not used here."""
    kind = (member.get("kty"), member.get("crv"), member.get("alg"), member.get("use"))
    if "kid" not in member:
        return None
    if kind == ("EC", "P-256", "ES256", "sig"):
        x, y = (int.from_bytes(_bytes(member, name), "big") for name in ("x", "y"))
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    if kind == ("OKP", "Ed25519", "EdDSA", "sig"):
        return Ed25519PublicKey.from_public_bytes(_bytes(member, "x"))
    return None


def _bytes(member: Mapping[str, Any], name: str) -> bytes:
    value = member.get(name)
    if not isinstance(value, str):
        raise ValueError(f"a key without {name}")
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))


def _age(cache_control: str) -> float:
    found = _MAX_AGE.search(cache_control.lower())
    return min(float(found[1]), MAX_AGE) if found else DEFAULT_AGE
