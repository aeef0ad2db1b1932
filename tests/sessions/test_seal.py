"""Sealed tokens: only what this key ring sealed for this purpose opens, in exactly one spelling."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import BadToken
from gateway.sessions.seal import KEY_BYTES, PREFIX, KeyRing

OLD, NEW, OTHER = (bytes([number]) * KEY_BYTES for number in range(3))
RING = KeyRing([NEW, OLD], os.urandom)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def ring(*keys: bytes) -> KeyRing:
    return KeyRing(keys, os.urandom)


def is_refused(token: str, purpose: str = "session", using: KeyRing = RING) -> bool:
    try:
        using.open(purpose, token)
    except BadToken:
        return True
    return False


def raw(token: str) -> bytes:
    text = token.removeprefix(PREFIX)
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def written(data: bytes) -> str:
    return PREFIX + urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@given(st.binary(max_size=300), st.sampled_from(["session", "csrf", ""]))
def test_what_is_sealed_opens(payload: bytes, purpose: str) -> None:
    """Payload in, payload out, in letters that a cookie may hold."""
    token = RING.seal(purpose, payload)
    assert RING.open(purpose, token) == payload
    assert set(token) <= set(ALPHABET + ".")
    assert raw(token)[:4] == raw(RING.seal("x", b""))[:4]


@given(st.binary(max_size=40), st.data())
@settings(max_examples=200)
def test_no_bit_can_be_flipped(payload: bytes, data: st.DataObject) -> None:
    """Key id, nonce, text and tag are all bound."""
    sealed = bytearray(raw(RING.seal("session", payload)))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    assert is_refused(written(bytes(sealed)))


@given(st.binary(max_size=40), st.data())
@settings(max_examples=200)
def test_a_token_has_one_spelling(payload: bytes, data: st.DataObject) -> None:
    """No character can be changed, put in or left out: a token that was ended cannot be written otherwise."""
    token = RING.seal("session", payload)
    at = data.draw(st.integers(0, len(token)))
    more = data.draw(
        st.sampled_from([*ALPHABET, "=", "+", "/", " ", "\n", "\0", ".", "\xe4", "A", "AA", "AAA", "AAAA", ""])
    )
    for other in (token[:at] + more + token[at:], token[:at] + more + token[at + 1 :]):
        assert other == token or is_refused(other)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5])
def test_the_unused_bits_of_the_last_character_are_none(size: int) -> None:
    """Base64 leaves up to four bits over: they must be zero (RFC 4648 §3.5)."""
    token = RING.seal("session", b"x" * size)
    same = [token[:-1] + last for last in ALPHABET if raw(token[:-1] + last) == raw(token)]
    assert [other for other in same if not is_refused(other)] == [token]


@given(st.text(max_size=80) | st.binary(max_size=60).map(written) | st.text(ALPHABET, max_size=80).map(PREFIX.__add__))
@example("v1.")
@example("v2." + "A" * 60)
@example("v1." + "A" * 42)
@example("v1.\u0664" * 20)
@settings(max_examples=300)
def test_anything_else_is_a_bad_token(token: str) -> None:
    """Nothing but BadToken is ever raised."""
    assert is_refused(token)


def test_no_part_of_a_token_opens() -> None:
    """A token that was cut anywhere is none."""
    token = RING.seal("session", b"payload")
    assert [end for end in range(len(token)) if not is_refused(token[:end])] == []
    assert [start for start in range(1, len(token)) if not is_refused(token[start:])] == []


def test_a_purpose_is_bound() -> None:
    """A token for one purpose opens for no other, a prefix of it neither."""
    token = RING.seal("session", b"x")
    assert all(is_refused(token, purpose) for purpose in ("", "sessio", "session ", "sessions", "csrf"))


def test_another_key_opens_nothing() -> None:
    """A ring without the key refuses, and one that lies about the key id does as well."""
    token = ring(OTHER).seal("session", b"x")
    assert is_refused(token)
    foreign = raw(ring(OLD).seal("session", b""))[:4] + raw(token)[4:]
    assert is_refused(written(foreign))


def test_the_key_id_picks() -> None:
    """Old and new keys of a ring open what each sealed; only the first seals."""
    old = ring(OLD).seal("session", b"old")
    new = RING.seal("session", b"new")
    assert (RING.open("session", old), RING.open("session", new)) == (b"old", b"new")
    assert (RING.seals_with_first(old), RING.seals_with_first(new)) == (False, True)
    assert is_refused(new, using=ring(OLD))
    assert not is_refused(new, using=ring(OTHER, OLD, NEW))


def test_a_removed_key_opens_no_more() -> None:
    """Rotation ends with the removal of the old key."""
    old = ring(OLD).seal("session", b"x")
    assert not is_refused(old, using=RING)
    assert is_refused(old, using=ring(NEW))


@pytest.mark.parametrize("keys", [[], [b""], [b"x" * 31], [b"x" * 33], [NEW, b"x"], [NEW, NEW], [NEW, OLD, NEW]])
def test_a_ring_that_is_none(keys: list[bytes]) -> None:
    """No key, one of another size, or the same twice is a mistake that is told."""
    with pytest.raises(ValueError, match="key"):
        KeyRing(keys, os.urandom)


def test_a_nonce_is_used_once() -> None:
    """Equal payloads make tokens with nothing in common but the key id."""
    tokens = [RING.seal("session", b"x") for _ in range(1000)]
    assert len({raw(token)[4:16] for token in tokens}) == 1000


def test_derived_keys() -> None:
    """One for each key and purpose, in the ring's order, none a key of the ring."""
    assert RING.derive("csrf") == (*ring(NEW).derive("csrf"), *ring(OLD).derive("csrf"))
    keys = {*RING.derive("csrf"), *RING.derive("other"), NEW, OLD}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}
