"""A session as bytes and back. The first byte is the format's version: new code reads old, never the reverse.

Version 3 is a head of fixed size, then the texts with a NUL between them. Versions 1 and 2 are JSON; a
session with a NUL in a text is still written as version 2. What only some sessions have comes last; after that,
in payloads that are tokens by themselves, what else the token is (``binding``: any text without a NUL).
"""

from __future__ import annotations

import json
import struct
from dataclasses import astuple
from math import isfinite
from sys import intern
from typing import Final

from gateway.core.identity import NO_CLAIMS, Identity
from gateway.core.provider import ProviderSession
from gateway.core.session import SESSION_ID_BYTES, Session, SessionSummary
from gateway.errors import BadToken

FIRST: Final = b"\x01"
SECOND: Final = b"\x02"
VERSION: Final = b"\x03"
_HEAD: Final = struct.Struct(f">c{SESSION_ID_BYTES}sddddB")
"""Version, id, created, seen, expires, idle, flags."""
_HEAD_BYTES: Final = 50
_FIXED_TEXTS: Final = 6
"""User, name, email, method, address, device; what follows are groups."""
_REMEMBERED: Final = 1
_IDLE: Final = 2
_CLAIMS: Final = 4
_LOGIN: Final = 8
_BOUND: Final = 16
_ALL_FLAGS: Final = 31
_WITH_TOKENS: Final = 10
"""Fields of what remained of a login when its tokens were among them."""
_DECODER: Final = json.JSONDecoder()
_NUMBERS: Final = (int, float)


def dump_session(session: Session, binding: str = "") -> bytes:
    """Return the session as bytes."""
    who = session.identity
    texts = [who.user, who.name, who.email, who.method, session.address, session.device, *who.groups]
    flags = _REMEMBERED if session.remembered else 0
    if session.idle is not None:
        flags |= _IDLE
    if who.claims:
        flags |= _CLAIMS
        texts.append(_json(dict(who.claims)))
    if session.login is not None:
        flags |= _LOGIN
        texts.append(_json(astuple(session.login)))
    if binding:
        flags |= _BOUND
        texts.append(binding)
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts):
        return _dump_json(session, binding)
    head = _HEAD.pack(VERSION, session.id, session.created, session.seen, session.expires, session.idle or 0.0, flags)
    return head + joined.encode("utf-8")


def _dump_json(session: Session, binding: str) -> bytes:
    who = session.identity
    times = [session.created, session.seen, session.expires, session.idle]
    texts = [who.user, who.name, who.email, list(who.groups), who.method, session.address, session.device]
    fields: list[object] = [session.id.hex(), *times, session.remembered, *texts]
    if who.claims or session.login is not None or binding:
        fields.append(dict(who.claims))
    if session.login is not None or binding:
        fields.append(astuple(session.login) if session.login is not None else None)
    if binding:
        fields.append(binding)
    return SECOND + _json(fields).encode("utf-8")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def parse_session(data: bytes) -> Session:
    """Return the session in ``data``. Raises BadToken for another version or shape."""
    return parse_bound(data)[0]


def parse_bound(data: bytes) -> tuple[Session, str]:
    """Return the session in ``data``, and the binding where there is one. Raises BadToken."""
    try:
        if data[:1] == VERSION:
            return _parse(data)
        if data[:1] in (FIRST, SECOND):
            return _parse_json(data)
    except (ValueError, TypeError, KeyError, IndexError, struct.error):
        raise BadToken("a session of an odd shape") from None
    raise BadToken("a session of a format this version does not know")


def _parse(data: bytes) -> tuple[Session, str]:
    """Read version 3: all types are given by the format. It takes a quarter of what JSON and its checks take."""
    # With its types told, mypyc keeps the numbers as they are; and it takes six times as long over a starred name.
    head: tuple[bytes, bytes, float, float, float, float, int] = _HEAD.unpack_from(data)
    _, session_id, created, seen, expires, idle, flags = head
    texts = data[_HEAD_BYTES:].decode("utf-8").split("\0")
    groups = texts[_FIXED_TEXTS:]
    if flags > _ALL_FLAGS or not isfinite(created + seen + expires + idle):
        raise ValueError
    binding = groups.pop() if flags & _BOUND else ""
    login = parse_login(json.loads(groups.pop())) if flags & _LOGIN else None
    claims = json.loads(groups.pop()) if flags & _CLAIMS else NO_CLAIMS
    if type(claims) is not dict:
        raise ValueError
    # Sessions share the names of groups: 100 000 of them take that much less memory, and less of the caches.
    identity = Identity(texts[0], texts[1], texts[2], tuple(map(intern, groups)), intern(texts[3]), claims)
    end, remembered = idle if flags & _IDLE else None, bool(flags & _REMEMBERED)
    session = Session(session_id, identity, created, seen, expires, end, remembered, texts[4], texts[5], login)
    return session, binding


def _parse_json(data: bytes) -> tuple[Session, str]:
    """Read version 2, or 1, which has neither address nor device."""
    text = data[1:].decode("utf-8")
    fields, end = _DECODER.raw_decode(text)
    raw_id, created, seen, expires, idle, remembered, user, name, email, groups, method, *more = fields
    address, device = ("", "") if data[:1] == FIRST else (more.pop(0), more.pop(0))
    identity = Identity(user, name, email, tuple(groups), method, more[0] if more else {})
    login = parse_login(more[1]) if len(more) > 1 and more[1] is not None else None
    binding = more[2] if len(more) > 2 else ""
    session = Session(bytes.fromhex(raw_id), identity, created, seen, expires, idle, remembered, address, device, login)
    if end != len(text) or type(binding) is not str or not _well_formed(session):
        raise ValueError
    return session, binding


def parse_login(fields: list[object]) -> ProviderSession:
    """Return what remains of a login. Raises ValueError or TypeError for odd parts."""
    if len(fields) == _WITH_TOKENS:
        # Tokens were once part of it; what was not kept apart then is not refreshed.
        fields = fields[:6]
    login = ProviderSession(*fields)  # type: ignore[arg-type]
    texts = (login.provider, login.issuer, login.subject, login.sid, login.acr)
    times = [time for time in (login.auth_time, login.access_expires, login.refresh_at) if time is not None]
    if any(type(text) is not str for text in texts) or any(type(time) not in _NUMBERS for time in times):
        raise ValueError
    return login


def dump_summary(summary: SessionSummary) -> bytes:
    """Return a summary as bytes."""
    return SECOND + json.dumps(astuple(summary), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def parse_summary(data: bytes) -> SessionSummary:
    """Return the summary in ``data``. Raises BadToken for another version or shape."""
    if data[:1] != SECOND:
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
