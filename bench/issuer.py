"""An issuer of tokens for programs: a key, its public half as a file of the upstream, and a token of a user."""

from __future__ import annotations

import json
import time
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

AUDIENCE = "benchmark"
LIFETIME = 3600
FILE = "keys.json"


def publish_key(folder: Path) -> RSAKey:
    """Return a new key for RS256, which most issuers use; write its public half as a JWK set."""
    key = RSAKey.generate_key(2048, {"kid": "benchmark", "use": "sig", "alg": "RS256"})
    (folder / FILE).write_text(json.dumps(KeySet([key]).as_dict(private=False)), encoding="utf-8")
    return key


def bearer_token(key: RSAKey, issuer: str, user: str) -> str:
    """Return a token for an hour that says as much of a user as a login does."""
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": user,
        "name": "Alice Liddell",
        "email": "alice@example.com",
        "email_verified": True,
        "groups": ["staff", "wiki"],
        "iat": now,
        "exp": now + LIFETIME,
    }
    return jwt.encode({"alg": "RS256", "kid": key.kid, "typ": "JWT"}, claims, key)
