"""Many sessions at once: sealed with the gateway's own classes and key, as that many logins would be."""

from __future__ import annotations

import os
import time
from base64 import urlsafe_b64decode
from pathlib import Path

from gateway.core.identity import Identity
from gateway.core.session import SESSION_ID_BYTES, Lifetimes, start_session
from gateway.sessions.cookie_store import PURPOSE
from gateway.sessions.payload import dump_session
from gateway.sessions.seal import KeyRing


def sealed_sessions(key: str, count: int) -> list[str]:
    """Return tokens of different users who have just logged in; ``key`` is base64url as in the configuration."""
    ring = KeyRing([urlsafe_b64decode(key + "=" * (-len(key) % 4))], os.urandom)
    now = time.time()
    tokens = []
    for index in range(count):
        user = f"user{index:06d}"
        identity = Identity(user, f"User {index:06d}", f"{user}@example.com", ("staff", "wiki"))
        session = start_session(os.urandom(SESSION_ID_BYTES), identity, Lifetimes(), remember=False, now=now)
        tokens.append(ring.seal(PURPOSE, dump_session(session)))
    return tokens


def write_cycle(file: Path, lines: list[tuple[str, str]]) -> None:
    """Write paths and Cookie values for the load script to cycle through."""
    file.write_text("".join(f"{path}\t{cookie}\n" for path, cookie in lines), encoding="utf-8")
