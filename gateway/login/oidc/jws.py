"""Signed tokens: taken apart strictly, verified by joserfc, read strictly (RFC 7515, RFC 7519, RFC 8725)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from gateway.errors import LoginRefused

PublicKey = RSAKey | ECKey | OKPKey
"""An asymmetric key; some hold the private part too."""
MAX_TOKEN = 128 * 1024
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
"""The type of key by the first two letters of an algorithm."""


class BadSignature(LoginRefused):
    """A key that should have signed a token did not: it may have been changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token whose signature was not looked at yet; of its content only what picks the key is to be seen."""

    text: str
    algorithm: str
    key_id: str | None
    kind: str
    """Its ``typ``, lower case."""


def take_apart(token: object, algorithms: Collection[str]) -> Unverified:
    """Return what picks the key of a token. Raises LoginRefused for anything but a JWS by a listed algorithm."""
    if not isinstance(token, str) or len(token) > MAX_TOKEN or token.count(".") != 2 or not token.isascii():
        raise LoginRefused("not a signed token")
    header = _object(token.partition(".")[0])
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise LoginRefused(f"signed with {str(algorithm)[:40]!r}, which is not accepted here")
    # Nothing that must be understood is (RFC 7515 §4.1.11); an unencoded payload is not for tokens (RFC 7797 §7).
    if "crit" in header or "b64" in header:
        raise LoginRefused("a token with critical header parameters")
    key_id, kind = header.get("kid"), header.get("typ", "")
    if not isinstance(key_id, str | None) or not isinstance(kind, str):
        raise LoginRefused("a token with an odd header")
    return Unverified(token, algorithm, key_id, kind.lower().removeprefix("application/"))


def verified_claims(token: Unverified, key: PublicKey) -> dict[str, object]:
    """Return the claims of a token that ``key`` has signed. Raises BadSignature, or LoginRefused."""
    try:
        jws.deserialize_compact(token.text, key, registry=_Registry(algorithms=[token.algorithm]))
    except (JoseError, ValueError, TypeError) as error:
        raise BadSignature(f"a token whose signature does not hold ({type(error).__name__})") from None
    return _object(token.text.split(".")[1])


def seen_claims(token: str) -> dict[str, object]:
    """Return the claims of a token that was verified when it came. Raises LoginRefused for what is none."""
    return _object(token.split(".")[1]) if token.count(".") == 2 else _object("")


def fits(key: PublicKey, algorithm: str) -> bool:
    """Tell whether a key can have signed by an algorithm, as far as its type and its owner's words go."""
    if key.key_type != KEY_TYPES.get(algorithm[:2]) or key.get("use") not in (None, "sig"):
        return False
    return key.get("alg") in (None, algorithm) or {str(key.get("alg")), algorithm} == {"EdDSA", "Ed25519"}


def signed(claims: Mapping[str, object], key: PublicKey, algorithm: str, key_id: str, kind: str = "JWT") -> str:
    """Return claims as a token signed by a private key."""
    header = {"alg": algorithm, "kid": key_id, "typ": kind}
    return jws.serialize_compact(header, json.dumps(claims), key, registry=_Registry(algorithms=[algorithm]))


class _Registry(JWSRegistry):
    """Takes larger tokens and unknown header parameters, which are to be ignored (RFC 7515 §4)."""

    max_header_length = 16 * 1024
    max_payload_length = MAX_TOKEN
    max_signature_length = 4096

    def __init__(self, algorithms: Collection[str]) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        """Return a listed algorithm, without the warning about the name of EdDSA (RFC 9864)."""
        if name not in (self.allowed or ()) or name not in self.algorithms:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


def _object(part: str) -> dict[str, object]:
    """Return the JSON object in a part of a token; one that can be read in two ways is refused."""
    try:
        raw = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise LoginRefused("a token that cannot be read") from None
    if not isinstance(found, dict):
        raise LoginRefused("a token that holds no object")
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _refuse(constant: str) -> object:
    raise ValueError(constant)
