"""What programs send to prove who they are, for tests."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import Any

from tests.support.provider import FakeProvider, SigningKey, encoded, sign
from tests.support.users import User

AUDIENCE = "wiki"


def basic(user: User, password: str | None = None) -> str:
    """Return the Authorization value of a user's password."""
    return "Basic " + b64encode(f"{user.user}:{user.password if password is None else password}".encode()).decode()


def claims_of(issuer: str, **changes: Any) -> dict[str, Any]:
    """Return the claims of a good token; ``changes`` replace some, None removes one."""
    now = int(time.time())
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": "robot", "iat": now, "exp": now + 300, "groups": ["staff"]}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def token(provider: FakeProvider, *, key: SigningKey | None = None, header: Any = None, **changes: Any) -> str:
    """Return a token of a provider; ``header`` changes its header, ``changes`` its claims."""
    return sign(claims_of(provider.issuer, **changes), key or provider.keys[0], **(header or {}))


def with_key_id(text: str, key_id: str) -> str:
    """Return a token that names another key, its signature as it was."""
    _, payload, signature = text.split(".")
    header = encoded(json.dumps({"alg": "ES256", "kid": key_id, "typ": "JWT"}).encode())
    return f"{header}.{payload}.{signature}"
