"""Sessions for the load generator, sealed with the gateway's own classes and key.

The load generator takes no cookie over, so a session that is due for renewal would get the same new
cookie with every answer, which no browser would. Hence all are sealed as if just renewed in an hour.
"""

from __future__ import annotations

import os
import time
from base64 import urlsafe_b64decode
from pathlib import Path

from gateway.core.identity import Identity
from gateway.core.session import SESSION_ID_BYTES, Lifetimes, Session, start_session
from gateway.sessions.cookie_store import PURPOSE
from gateway.sessions.payload import dump_session, parse_session
from gateway.sessions.seal import KeyRing

AHEAD = 3600.0


def _ring(key: str) -> KeyRing:
    """Return the ring of one key, base64url as in the configuration."""
    return KeyRing([urlsafe_b64decode(key + "=" * (-len(key) % 4))], os.urandom)


def renewed(key: str, token: str) -> str:
    """Return the session of a token, sealed as if just renewed in an hour."""
    ring = _ring(key)
    session = parse_session(ring.open(PURPOSE, token))
    return ring.seal(PURPOSE, dump_session(session.touched(time.time() + AHEAD)))


def sealed_sessions(key: str, count: int) -> list[str]:
    """Return tokens of different users, as that many logins would have made."""
    ring = _ring(key)
    seen = time.time() + AHEAD
    return [ring.seal(PURPOSE, dump_session(session.touched(seen))) for session in new_sessions(count)]


def new_sessions(count: int) -> list[Session]:
    """Return sessions that begin now, each of another user."""
    now = time.time()
    sessions = []
    for index in range(count):
        user = f"user{index:06d}"
        identity = Identity(user, f"User {index:06d}", f"{user}@example.com", ("staff", "wiki"))
        sessions.append(start_session(os.urandom(SESSION_ID_BYTES), identity, Lifetimes(), remember=False, now=now))
    return sessions


def write_cycle(file: Path, lines: list[tuple[str, str]]) -> None:
    """Write paths and Cookie values for the load script to cycle through."""
    file.write_text("".join(f"{path}\t{cookie}\n" for path, cookie in lines), encoding="utf-8")
