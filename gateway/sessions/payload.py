"""A session as bytes and back. The first byte is the format's version: new code reads old, never the reverse."""

from __future__ import annotations

import json
from dataclasses import astuple

from gateway.core.identity import Identity
from gateway.core.session import SESSION_ID_BYTES, Session, SessionSummary
from gateway.errors import BadToken

FIRST, VERSION = b"\x01", b"\x02"
_DECODER = json.JSONDecoder()
_NUMBERS = (int, float)


def dump_session(session: Session) -> bytes:
    """Return the session as bytes."""
    who = session.identity
    fields: list[object] = [
        session.id.hex(),
        # Cut, not rounded: what was ended at this very moment must stay ended.
        int(session.created * 1000) / 1000,
        int(session.seen * 1000) / 1000,
        round(session.expires, 3),
        session.idle,
        session.remembered,
        who.user,
        who.name,
        who.email,
        list(who.groups),
        who.method,
        session.address,
        session.device,
    ]
    if who.claims:
        fields.append(dict(who.claims))
    return VERSION + json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def parse_session(data: bytes) -> Session:
    """Return the session in ``data``. Raises BadToken for another version or shape."""
    version = data[:1]
    if version not in (FIRST, VERSION):
        raise BadToken("a session of a format this version does not know")
    try:
        text = data[1:].decode("utf-8")
        fields, end = _DECODER.raw_decode(text)
        raw_id, created, seen, expires, idle, remembered, user, name, email, groups, method, *more = fields
        address, device = ("", "") if version == FIRST else (more.pop(0), more.pop(0))
        identity = Identity(user, name, email, tuple(groups), method, more[0] if more else {})
        session = Session(bytes.fromhex(raw_id), identity, created, seen, expires, idle, remembered, address, device)
        if end != len(text) or not _well_formed(session):
            raise ValueError
    except (ValueError, TypeError, KeyError, IndexError):
        raise BadToken("a session of an odd shape") from None
    return session


def dump_summary(summary: SessionSummary) -> bytes:
    """Return a summary as bytes."""
    return VERSION + json.dumps(astuple(summary), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def parse_summary(data: bytes) -> SessionSummary:
    """Return the summary in ``data``. Raises BadToken for another version or shape."""
    if data[:1] != VERSION:
        raise BadToken("a summary of a format this version does not know")
    try:
        summary = SessionSummary(*json.loads(data[1:]))
    except (ValueError, TypeError):
        raise BadToken("a summary of an odd shape") from None
    flag: object = summary.remembered
    texts = (summary.handle, summary.user, summary.address, summary.device)
    times = (summary.created, summary.seen, summary.expires)
    if type(flag) is not bool or any(type(t) is not str for t in texts) or any(type(t) not in _NUMBERS for t in times):
        raise BadToken("a summary of an odd shape")
    return summary


def _well_formed(session: Session) -> bool:
    """Tell whether all parts have their types; what we sealed has, so this guards against our own mistakes."""
    who = session.identity
    times = (session.created, session.seen, session.expires, session.idle or 0.0)
    flag: object = session.remembered
    claims: object = who.claims
    texts = (who.user, who.name, who.email, who.method, session.address, session.device, *who.groups)
    return (
        len(session.id) == SESSION_ID_BYTES
        and all(type(time) in _NUMBERS for time in times)
        and all(type(text) is str for text in texts)
        and type(flag) is bool
        and type(claims) is dict
    )
