"""A session as bytes: everything comes back, and another version is no session."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.identity import Identity
from gateway.core.session import Session
from gateway.errors import BadToken
from gateway.sessions.payload import VERSION, dump_session, parse_session

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
SESSIONS = st.builds(
    Session,
    st.binary(min_size=16, max_size=16),
    IDENTITIES,
    TIMES,
    TIMES,
    TIMES,
    st.none() | st.floats(0, 1e9),
    st.booleans(),
)


@given(SESSIONS)
@settings(deadline=None, max_examples=150)
def test_everything_comes_back(session: Session) -> None:
    """Identity to the letter, times to the millisecond; the moments of creation and use never move forward."""
    found = parse_session(dump_session(session))
    assert (found.id, found.identity) == (session.id, session.identity)
    assert (found.idle, found.remembered) == (session.idle, session.remembered)
    for mine, theirs in ((found.created, session.created), (found.seen, session.seen)):
        assert theirs - 0.0011 < mine <= theirs
    assert math.isclose(found.expires, session.expires, rel_tol=0, abs_tol=0.0006)


@given(SESSIONS)
@settings(deadline=None, max_examples=50)
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


@pytest.mark.parametrize("version", [b"", b"\x00", b"\x03", b"\xff", b"[", b" \x01"])
def test_another_version_is_no_session(version: bytes) -> None:
    """What an older or newer gateway sealed under another version is discarded, not guessed at."""
    data = dump_session(Session(bytes(16), Identity("a"), 1, 1, 1, None))
    assert data[:1] == VERSION
    with pytest.raises(BadToken):
        parse_session(version + data[1:])


FIELDS: list[object] = ["00" * 16, 1.5, 2.5, 3.5, None, False, "user", "name", "email", ["a"], "password", {"a": 1}]
ODD: list[object] = [None, True, 1, 1.5, "x", [], {}, [1], ["a", None], {"a": []}, "00" * 15, "00" * 17, 10**400]


def is_bad(data: bytes) -> bool:
    try:
        parse_session(VERSION + data)
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


@pytest.mark.parametrize("count", [0, 1, 10])
def test_a_field_less_is_refused(count: int) -> None:
    """A session without all its fields is none."""
    assert is_bad(json.dumps(FIELDS[:count]).encode())


@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(JSON, min_size=11, max_size=12).map(lambda value: json.dumps(value).encode())
)
@settings(deadline=None, max_examples=150)
def test_anything_else_is_a_bad_token(data: bytes) -> None:
    """Nothing but BadToken is ever raised."""
    is_bad(data)
    assert is_bad(b"x" + data)


@pytest.mark.parametrize("more", [b" ", b"\n", b"[]", b"x", b"\xff"])
def test_nothing_may_follow(more: bytes) -> None:
    """A session ends where its bytes end."""
    assert is_bad(json.dumps(FIELDS).encode() + more)
