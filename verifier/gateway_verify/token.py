"""Tokens: taken apart strictly (RFC 7515, RFC 7519), then held against a key and what is expected of them.

Strict as RFC 8725 asks for: two algorithms, of which the key decides, one issuer, one audience, no extensions.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gateway_verify.errors import NotVerified

MAX_TOKEN = 32 * 1024
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request, as the gateway says. Times are seconds since the epoch."""

    user: str
    name: str
    email: str
    groups: tuple[str, ...]
    session: str
    """The public name of the session."""
    issued: float
    expires: float
    claims: Mapping[str, Any]
    """All that the token says."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say."""

    issuer: str
    audience: str
    leeway: float
    """Seconds that clocks may differ."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, taken apart; nothing of it is believed yet."""

    algorithm: str
    kid: str
    signed: bytes
    signature: bytes
    payload: bytes


def parse(text: str) -> Token:
    """Take a token apart. Raises NotVerified."""
    parts = text.split(".")
    if len(text) > MAX_TOKEN or len(parts) != 3 or not text.isascii():
        raise NotVerified("not a token")
    head, payload, signature = (_decoded(part) for part in parts)
    header = _members(head)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ("ES256", "EdDSA") or not isinstance(kid, str):
        raise NotVerified("an algorithm or key that this gateway has not")
    if header.get("typ") != "JWT" or header.keys() - {"alg", "kid", "typ"}:
        raise NotVerified("a header that this gateway does not write")
    return Token(algorithm, kid, f"{parts[0]}.{parts[1]}".encode("ascii"), signature, payload)


def check(token: Token, key: PublicKey, expected: Expected, now: float) -> Identity:
    """Return the identity of a token that is good. Raises NotVerified."""
    _check_signature(token, key)
    claims = _members(token.payload)
    if claims.get("iss") != expected.issuer:
        raise NotVerified("from another issuer")
    if claims.get("aud") != expected.audience:
        raise NotVerified("for another audience")
    issued, expires = _time(claims, "iat"), _time(claims, "exp")
    if expires <= now - expected.leeway:
        raise NotVerified("run out")
    if issued > now + expected.leeway or ("nbf" in claims and _time(claims, "nbf") > now + expected.leeway):
        raise NotVerified("from the future")
    user, groups = _text(claims, "sub"), claims.get("groups", [])
    if not user or not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise NotVerified("without a user, or with odd groups")
    return Identity(
        user=user,
        name=_text(claims, "name"),
        email=_text(claims, "email"),
        groups=tuple(groups),
        session=_text(claims, "sid"),
        issued=issued,
        expires=expires,
        claims=claims,
    )


def _check_signature(token: Token, key: PublicKey) -> None:
    try:
        if isinstance(key, Ed25519PublicKey) and token.algorithm == "EdDSA":
            key.verify(token.signature, token.signed)
        elif isinstance(key, EllipticCurvePublicKey) and token.algorithm == "ES256" and len(token.signature) == 64:
            r, s = (int.from_bytes(half, "big") for half in (token.signature[:32], token.signature[32:]))
            key.verify(encode_dss_signature(r, s), token.signed, ECDSA(SHA256()))
        else:
            raise NotVerified("signed in another way than its key allows")
    except InvalidSignature:
        raise NotVerified("not signed by this gateway") from None


def _decoded(part: str) -> bytes:
    """Decode base64url without padding, of which there is one spelling only (RFC 4648 §3.5)."""
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise NotVerified("not a token") from None
    if urlsafe_b64encode(data).rstrip(b"=") != part.encode("ascii"):
        raise NotVerified("not a token")
    return data


def _members(data: bytes) -> dict[str, Any]:
    """Return the members of a JSON object in which no name is there twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise NotVerified("a name that is there twice")
        return members

    try:
        found = json.loads(data, object_pairs_hook=once)
    except (ValueError, RecursionError):
        raise NotVerified("not a token") from None
    if not isinstance(found, dict):
        raise NotVerified("not a token")
    return found


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 2**53:
        raise NotVerified(f"without a time {name}")
    return float(value)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise NotVerified(f"with an odd {name}")
    return value
