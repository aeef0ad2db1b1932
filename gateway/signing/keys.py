"""Signing keys as values: when each signs, how long it stays published, when the next one is due.

Every process decides by its own clock which key signs, out of the same list; a key is in the list long
before it does, so nobody has to be told the moment.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from gateway.core.token_policy import TokenPolicy

LEEWAY = 60.0
"""Seconds that clocks may differ: so much longer a key stays published."""
_P256_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key. Times are seconds since the epoch."""

    kid: str
    """Its thumbprint (RFC 7638)."""
    algorithm: str
    private: bytes = field(repr=False)
    """PKCS #8, DER."""
    signs: float
    """From then on it signs."""
    ends: float
    """Up to then at the latest."""
    lifetime: float
    """The longest life of a token that it signed, seconds."""

    def is_over(self, now: float) -> bool:
        """Tell whether every token that it signed has run out."""
        return self.ends + self.lifetime + LEEWAY <= now


Keys = tuple[SigningKey, ...]
"""In the order in which they sign."""


def current_key(keys: Keys, algorithm: str, now: float) -> SigningKey:
    """Return the key that signs now; of another algorithm while there is none of this one. ``keys`` is not empty."""
    signing = [key for key in keys if key.signs <= now]
    own = [key for key in signing if key.algorithm == algorithm]
    # With a clock set back there may be none yet; the first one is published at any rate.
    return (own or signing or keys[:1])[-1]


def advance(keys: Keys, policy: TokenPolicy, now: float, make: Callable[[str], bytes] | None = None) -> Keys:
    """Return the keys as they are to be now: with a new one where it is due, without those that are over."""
    kept = tuple(_for_policy(key, policy, now) for key in keys if not key.is_over(now))
    own = [key for key in kept if key.algorithm == policy.algorithm]
    if not kept:
        begin = now
    elif not own:
        begin = now + policy.ahead()
    else:
        end = min(own[-1].ends, own[-1].signs + policy.rotate)
        if end - policy.ahead() > now:
            return kept
        begin = max(end, now + policy.ahead())
    if kept:
        last = current_key(kept, policy.algorithm, begin)
        kept = tuple(replace(key, ends=max(key.ends, begin)) if key is last else key for key in kept)
    private = (make or new_private)(policy.algorithm)
    new = SigningKey(thumbprint(private), policy.algorithm, private, begin, begin + policy.rotate, policy.lifetime)
    return tuple(sorted((*kept, new), key=lambda key: key.signs))


def _for_policy(key: SigningKey, policy: TokenPolicy, now: float) -> SigningKey:
    """Return a key that still signs with the lifetime that its tokens have now, if that is longer."""
    longer = key.ends > now and policy.lifetime > key.lifetime
    return replace(key, lifetime=policy.lifetime) if longer else key


# One key


def new_private(algorithm: str) -> bytes:
    """Return a new private key."""
    key = generate_private_key(SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def make_signer(private: bytes) -> Callable[[bytes], bytes]:
    """Return a function that signs as RFC 7518 §3.4 or RFC 8037 §3.1 have it."""
    key = load_der_private_key(private, None)
    if isinstance(key, Ed25519PrivateKey):
        return key.sign
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError("a key of no algorithm that is known here")
    ecdsa = ECDSA(SHA256())

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ecdsa))
        return r.to_bytes(_P256_BYTES, "big") + s.to_bytes(_P256_BYTES, "big")

    return sign


def thumbprint(private: bytes) -> str:
    """Return the name of a key: RFC 7638 with SHA-256."""
    members = json.dumps(_public_members(private), separators=(",", ":"), sort_keys=True)
    return b64(hashlib.sha256(members.encode("ascii")).digest())


def public_jwk(key: SigningKey) -> dict[str, str]:
    """Return what verifiers need of a key (RFC 7517 §4)."""
    return {**_public_members(key.private), "kid": key.kid, "alg": key.algorithm, "use": "sig"}


def _public_members(private: bytes) -> dict[str, str]:
    key = load_der_private_key(private, None)
    if isinstance(key, Ed25519PrivateKey):
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": b64(raw)}
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError("a key of no algorithm that is known here")
    point = key.public_key().public_numbers()
    x, y = point.x.to_bytes(_P256_BYTES, "big"), point.y.to_bytes(_P256_BYTES, "big")
    return {"crv": "P-256", "kty": "EC", "x": b64(x), "y": b64(y)}


def key_set(keys: Sequence[SigningKey]) -> bytes:
    """Return the published keys as a JWK set (RFC 7517 §5)."""
    return json.dumps({"keys": [public_jwk(key) for key in keys]}).encode("ascii") + b"\n"


def b64(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
