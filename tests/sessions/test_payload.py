"""A session as bytes: everything comes back, and another version is no session."""

from __future__ import annotations

import json
import math
from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.identity import Identity
from gateway.core.provider import ProviderSession
from gateway.core.session import Session, SessionSummary
from gateway.errors import BadToken
from gateway.sessions.payload import (
    FIRST,
    SECOND,
    VERSION,
    dump_session,
    dump_summary,
    parse_session,
    parse_summary,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
IDENTITIES = st.builds(
    Identity,
    TEXTS,
    TEXTS,
    TEXTS,
    st.lists(TEXTS, max_size=4).map(tuple),
    TEXTS,
    st.dictionaries(TEXTS, JSON, max_size=3),
)
# Up to the year 3000: 32 bits end in 2038 signed and in 2106 unsigned.
TIMES = st.integers(0, 32_503_680_000_000).map(lambda milliseconds: milliseconds / 1000)
MOMENTS = st.none() | st.floats(0, 1e11)
LOGINS = st.builds(ProviderSession, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, MOMENTS, MOMENTS, MOMENTS)
SESSIONS = st.builds(
    Session,
    st.binary(min_size=16, max_size=16),
    IDENTITIES,
    TIMES,
    TIMES,
    TIMES,
    st.none() | st.floats(0, 1e9),
    st.booleans(),
    TEXTS,
    TEXTS,
    st.none() | LOGINS,
)
SUMMARIES = SESSIONS.map(Session.summary)


@given(SESSIONS)
@settings(max_examples=150)
def test_everything_comes_back(session: Session) -> None:
    """Identity to the letter, times to the millisecond; the moments of creation and use never move forward."""
    found = parse_session(dump_session(session))
    assert (found.id, found.identity) == (session.id, session.identity)
    assert (found.idle, found.remembered) == (session.idle, session.remembered)
    assert (found.address, found.device, found.login) == (session.address, session.device, session.login)
    for mine, theirs in ((found.created, session.created), (found.seen, session.seen)):
        assert theirs - 0.0011 < mine <= theirs
    assert math.isclose(found.expires, session.expires, rel_tol=0, abs_tol=0.0006)


@given(SESSIONS)
@settings(max_examples=50)
def test_what_came_back_stays(session: Session) -> None:
    """Sealing anew what was opened keeps the moment of creation, which what ended the session is compared with."""
    once = parse_session(dump_session(session))
    assert parse_session(dump_session(once)).id == once.id
    assert parse_session(dump_session(once)).created <= once.created


@pytest.mark.parametrize("year", [2038, 2106, 2200])
def test_the_end_of_32_bits(year: int) -> None:
    """A session that ends after 2038 or 2106 ends then, and not at once."""
    now = (year - 1970) * 365.2425 * 86400
    session = Session(bytes(16), Identity("a"), now, now, now + 1e9, 1800.0)
    assert parse_session(dump_session(session)).ends() == pytest.approx(now + 1800)


@pytest.mark.parametrize("version", [b"", b"\x00", b"\x04", b"\xff", b"[", b" \x01"])
def test_another_version_is_no_session(version: bytes) -> None:
    """What an older or newer gateway sealed under another version is discarded, not guessed at."""
    data = dump_session(Session(bytes(16), Identity("a"), 1, 1, 1, None))
    assert data[:1] == VERSION
    with pytest.raises(BadToken):
        parse_session(version + data[1:])


FIRST_FIELDS: list[object] = ["00" * 16, 1.5, 2.5, 3.5, None, False, "user", "name", "email", ["a"], "password"]
FIELDS: list[object] = [*FIRST_FIELDS, "192.0.2.1", "Firefox on Windows", {"a": 1}]
ODD: list[object] = [None, True, 1, 1.5, "x", [], {}, [1], ["a", None], {"a": []}, "00" * 15, "00" * 17, 10**400]


def is_bad(data: bytes, version: bytes = SECOND) -> bool:
    try:
        parse_session(version + data)
    except BadToken:
        return True
    return False


@pytest.mark.parametrize("index", range(len(FIELDS)))
def test_a_field_of_another_type_is_refused(index: int) -> None:
    """Each field has its type; what has another is no session, and no other error either."""
    assert not is_bad(json.dumps(FIELDS).encode())
    good = 0
    for odd in ODD:
        fields = [*FIELDS[:index], odd, *FIELDS[index + 1 :]]
        good += not is_bad(json.dumps(fields).encode())
    assert good <= 6  # numbers for a number, a text for a text, a list or a text for a list


@pytest.mark.parametrize("count", [0, 1, 10, 12])
def test_a_field_less_is_refused(count: int) -> None:
    """A session without all its fields is none."""
    assert is_bad(json.dumps(FIELDS[:count]).encode())


LOGIN = ProviderSession("sso", "https://sso", "s", "sid", "acr", 1.5, 2.5, 3.5)
BARE = Session(bytes(16), Identity("u", "n", "e", ("g",), "m", {"a": 1}), 1.5, 2.5, 3.5, 4.5, True, "a", "d")
WHOLE = replace(BARE, login=LOGIN)
HEAD = dump_session(WHOLE)[:50]


@pytest.mark.parametrize("size", range(1, len(dump_session(WHOLE)) + 1))
def test_a_session_that_was_cut_short_is_refused(size: int) -> None:
    """No part is taken for the whole."""
    data = dump_session(WHOLE)
    assert data[:1] == VERSION
    if size < len(data):
        assert is_bad(data[:size], b"")
    else:
        assert parse_session(data) == WHOLE


@pytest.mark.parametrize("at", [17, 25, 33, 41])
@pytest.mark.parametrize("value", [b"\x7f\xf0" + bytes(6), b"\xff\xf0" + bytes(6), b"\x7f\xf8" + bytes(6)])
def test_a_time_that_is_no_number_is_refused(at: int, value: bytes) -> None:
    """Neither infinity nor NaN is a time: with them no session would ever end."""
    data = dump_session(WHOLE)
    assert is_bad(data[:at] + value + data[at + 8 :], b"")


def test_odd_flags_and_texts_are_refused() -> None:
    """A flag that is not known, claims that are no object, and bytes that are no text make no session."""
    data = dump_session(WHOLE)
    assert data[49] == 15
    assert is_bad(data[:49] + b"\x1f" + data[50:], b"")
    assert is_bad(data.replace(b'{"a":1}', b"[1]"), b"")
    assert is_bad(data.replace(b'{"a":1}', b"{"), b"")
    assert is_bad(data.replace(b"\0n\0", b"\0\xff\0"), b"")
    assert is_bad(data.replace(b'"sid"', b"1"), b"")
    assert is_bad(data.replace(b'"sid",', b""), b"")
    assert is_bad(data.replace(b",2.5,", b',"2.5",'), b"")


def test_a_session_with_tokens_in_it_is_read_without_them() -> None:
    """As sessions were before tokens were kept apart; it goes on, and is not refreshed."""
    before = ["sso", "https://sso", "s", "sid", "acr", 1.5, "id token", "access token", 2.5, "refresh token"]
    now = json.dumps(astuple(LOGIN), separators=(",", ":")).encode()
    data = dump_session(WHOLE).replace(now, json.dumps(before, separators=(",", ":")).encode())
    assert b"refresh token" in data
    assert parse_session(data) == replace(WHOLE, login=replace(LOGIN, access_expires=None, refresh_at=None))


def test_a_session_from_before_logins_were_kept_is_read() -> None:
    """What had no place for a login at a provider goes on without one, in every version."""
    assert dump_session(BARE)[49] == 7
    assert parse_session(dump_session(BARE)) == BARE
    found = parse_session(SECOND + json.dumps(FIELDS).encode())
    assert (found.login, found.identity.claims) == (None, {"a": 1})
    for claims in ({}, {"a": 1}):
        nul = replace(WHOLE, identity=Identity("a\0b", claims=claims))
        assert parse_session(dump_session(nul)) == nul


def test_a_nul_in_a_text_comes_back() -> None:
    """What separates the texts may be in one of them: then the session is written in another way."""
    session = replace(WHOLE, identity=Identity("a\0b", groups=("", "\0")))
    assert dump_session(session)[:1] == SECOND
    assert parse_session(dump_session(session)) == session


@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(JSON, min_size=13, max_size=14).map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=150)
def test_anything_else_is_a_bad_token(data: bytes) -> None:
    """Nothing but BadToken is ever raised."""
    for version in (FIRST, SECOND, VERSION):
        is_bad(data, version)
    is_bad(HEAD + data, b"")
    assert is_bad(b"x" + data)


@pytest.mark.parametrize("more", [b" ", b"\n", b"[]", b"x", b"\xff"])
def test_nothing_may_follow(more: bytes) -> None:
    """A session ends where its bytes end."""
    assert is_bad(json.dumps(FIELDS).encode() + more)


@pytest.mark.parametrize("claims", [[], [{"team": "x"}]])
def test_the_version_before_is_read(claims: list[object]) -> None:
    """A session sealed before an upgrade goes on; what was not known then is empty."""
    found = parse_session(FIRST + json.dumps([*FIRST_FIELDS, *claims]).encode())
    identity = Identity("user", "name", "email", ("a",), "password", claims=dict(*claims))
    assert found == Session(bytes(16), identity, 1.5, 2.5, 3.5, None, False, "", "")
    assert parse_session(dump_session(found)) == found


@given(SUMMARIES)
@settings(max_examples=50)
def test_a_summary_comes_back(summary: SessionSummary) -> None:
    """What a list tells of a session is kept to the letter."""
    assert parse_summary(dump_summary(summary)) == summary


@given(st.binary(max_size=60) | JSON.map(lambda value: SECOND + json.dumps(value).encode()))
@settings(max_examples=100)
def test_anything_else_is_no_summary(data: bytes) -> None:
    """Another version or shape is a BadToken and nothing else."""
    with pytest.raises(BadToken):
        parse_summary(data)


@pytest.mark.parametrize("index", range(8))
def test_a_field_of_a_summary_of_another_type_is_refused(index: int) -> None:
    """Each field has its type."""
    fields: list[object] = ["00" * 16, "alice", 1.5, 2.5, 3.5, False, "192.0.2.1", "Firefox"]
    assert parse_summary(SECOND + json.dumps(fields).encode()).user == "alice"
    with pytest.raises(BadToken):
        parse_summary(SECOND + json.dumps([*fields[:index], None, *fields[index + 1 :]]).encode())
