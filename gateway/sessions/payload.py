"""A session as bytes and back. The first byte is the format's version: new code reads old, never the reverse."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from gateway.core.identity import Identity
from gateway.core.session import SESSION_ID_BYTES, Session
from gateway.errors import BadToken

VERSION = b"\x01"


def dump_session(session: Session) -> bytes:
    """Return the session as bytes."""
    who = session.identity
    fields: list[object] = [
        b64encode(session.id).decode("ascii"),
        round(session.created, 3),
        round(session.seen, 3),
        round(session.expires, 3),
        session.idle,
        session.remembered,
        who.user,
        who.name,
        who.email,
        list(who.groups),
        who.method,
    ]
    if who.claims:
        fields.append(dict(who.claims))
    return VERSION + json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def parse_session(data: bytes) -> Session:
    """Return the session in ``data``. Raises BadToken for another version or shape."""
    if data[:1] != VERSION:
        raise BadToken("a session of a format this version does not know")
    try:
        raw_id, created, seen, expires, idle, remembered, user, name, email, groups, method, *more = json.loads(
            data[1:]
        )
        session_id = b64decode(raw_id, validate=True)
        claims = more[0] if more else {}
        identity = Identity(str(user), str(name), str(email), tuple(map(str, groups)), str(method), dict(claims))
        idle = None if idle is None else float(idle)
        session = Session(session_id, identity, float(created), float(seen), float(expires), idle, bool(remembered))
    except (ValueError, TypeError, KeyError):
        raise BadToken("a session of an odd shape") from None
    if len(session.id) != SESSION_ID_BYTES:
        raise BadToken("a session with an odd id")
    return session
