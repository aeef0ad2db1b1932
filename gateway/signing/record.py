"""The signing keys as they lie in a file or in Redis: JSON, sealed under the key ring."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from gateway.errors import BadToken
from gateway.sessions.seal import KeyRing
from gateway.signing.keys import Keys, SigningKey

_PURPOSE = "signing keys"
_SECRET = b"signing keys"
"""No more of a secret than the purpose: those who may read the record are those who have the ring."""
_VERSION = 1


def seal_keys(ring: KeyRing, keys: Keys) -> bytes:
    """Return the record."""
    fields = [
        {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "private": b64encode(key.private).decode("ascii"),
            "signs": key.signs,
            "ends": key.ends,
            "lifetime": key.lifetime,
        }
        for key in keys
    ]
    payload = json.dumps({"version": _VERSION, "keys": fields}).encode("ascii")
    return ring.seal_record(_PURPOSE, _SECRET, payload)


def open_keys(ring: KeyRing, record: bytes) -> Keys:
    """Return the keys of a record. Raises BadToken where it is not ours, or of a newer version."""
    data = json.loads(ring.open_record(_PURPOSE, _SECRET, record))
    if data["version"] != _VERSION:
        raise BadToken("signing keys of another version of the gateway")
    return tuple(
        SigningKey(
            kid=key["kid"],
            algorithm=key["algorithm"],
            private=b64decode(key["private"]),
            signs=key["signs"],
            ends=key["ends"],
            lifetime=key["lifetime"],
        )
        for key in data["keys"]
    )
