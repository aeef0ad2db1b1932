"""Tokens: what they say, how long they are good, how seldom they are made."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from gateway_verify.keys import read_key_set
from gateway_verify.token import Expected, check, parse
from gateway_verify.token import Identity as Verified

from gateway.core.identity import Identity
from gateway.core.session import Lifetimes, Session, start_session
from gateway.core.token_policy import ALGORITHMS, TokenPolicy
from gateway.errors import StoreUnavailable
from gateway.signing.keys import advance, key_set
from gateway.signing.mint import REMEMBERED, TokenMint

NOW = 1_800_000_000.5
ISSUER = "https://gateway.example.com"
POLICY = TokenPolicy("X-Identity-Token", "ES256", lifetime=300.0, rotate=30 * 86400.0)
ALICE = Identity("alice", "Álice", "alice@example.com", ("staff", "wiki, editors"))


class World:
    """A mint and its clocks; ``loop`` is that of the event loop."""

    def __init__(self, policy: TokenPolicy = POLICY) -> None:
        self.wall = NOW
        self.loop = 50.0
        self.keys = advance((), policy, NOW)
        self.mint = TokenMint(policy, ISSUER, lambda: self.wall, os.urandom)
        self.mint.use(self.keys)

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.loop += seconds

    def text(self, session: Session, audience: str = "wiki") -> str:
        return self.mint.token(session, audience, self.loop).text

    def verified(self, session: Session, audience: str = "wiki") -> Verified:
        token = parse(self.text(session, audience))
        return check(token, read_key_set(key_set(self.keys))[token.kid], Expected(ISSUER, audience, 0.0), self.wall)


def session_of(identity: Identity = ALICE, now: float = NOW, **lifetimes: float) -> Session:
    return start_session(os.urandom(16), identity, Lifetimes(**lifetimes), remember=False, now=now)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_says_who_where_and_until_when(algorithm: str) -> None:
    session = session_of()
    identity = World(replace(POLICY, algorithm=algorithm)).verified(session)
    assert (identity.user, identity.name, identity.email) == ("alice", "Álice", "alice@example.com")
    assert identity.groups == ("staff", "wiki, editors")
    assert identity.session == session.handle
    assert (identity.issued, identity.expires) == (int(NOW), int(NOW) + 300)
    assert set(identity.claims) == {"iss", "aud", "sub", "name", "email", "groups", "sid", "iat", "exp", "jti"}


def test_what_is_not_known_is_not_said() -> None:
    identity = World().verified(session_of(Identity("bob")))
    assert (identity.name, identity.email, identity.groups) == ("", "", ())
    assert "name" not in identity.claims


def test_a_token_is_made_once_until_half_of_its_life_is_over() -> None:
    world, session = World(), session_of()
    made = world.text(session)
    world.move(149)
    assert world.text(session.touched(world.wall)) == made, "a session that goes on keeps its token"
    world.move(1)
    later = world.text(session)
    assert later != made
    assert world.verified(session).expires == int(world.wall) + 300


def test_each_session_and_audience_has_a_token_of_its_own() -> None:
    world, one, two = World(), session_of(), session_of()
    texts = {world.text(one), world.text(one, "shop"), world.text(two)}
    assert len(texts) == 3
    assert len({parse(text).payload for text in texts}) == 3


def test_another_identity_gets_another_token_at_once() -> None:
    """Groups may change within a session, as at a refresh at the provider."""
    world, session = World(), session_of()
    assert world.verified(session).groups == ("staff", "wiki, editors")
    assert world.verified(replace(session, identity=replace(ALICE, groups=()))).groups == ()


def test_a_token_ends_with_its_session() -> None:
    world = World()
    assert world.verified(session_of(absolute=100.0)).expires == int(NOW + 100)
    assert world.verified(session_of(idle=60.0)).expires == int(NOW + 60)


def test_a_token_of_the_last_moment_is_good_on_arrival() -> None:
    world, session = World(), session_of(absolute=100.0)
    world.move(99.9)
    assert world.verified(session).expires == int(world.wall + 5)


def test_tokens_of_a_session_that_ends_are_not_made_again_and_again() -> None:
    world, session = World(), session_of(absolute=300.0)
    texts = set()
    for _ in range(2990):
        texts.add(world.text(session))
        world.move(0.1)
    assert len(texts) <= 10


def test_a_token_outlives_neither_clock() -> None:
    """A clock that jumps forth and back costs no more than half of a token's life."""
    world, session = World(), session_of()
    world.wall += 3600
    world.text(session)
    world.wall -= 3600
    world.move(151)
    assert world.verified(session).issued == int(world.wall)


def test_no_token_without_keys() -> None:
    mint = TokenMint(POLICY, ISSUER, lambda: NOW, os.urandom)
    with pytest.raises(StoreUnavailable):
        mint.line(session_of(), "wiki", 0.0)


def test_a_line_is_a_header() -> None:
    world, session = World(), session_of()
    line, stale_at = world.mint.line(session, "wiki", world.loop)
    assert line == f"X-Identity-Token: {world.text(session)}\r\n".encode()
    assert stale_at == pytest.approx(world.loop + 150, abs=1)


def test_what_is_remembered_is_bounded() -> None:
    world = World(replace(POLICY, algorithm="EdDSA"))
    session = session_of()
    newest = ""
    for number in range(REMEMBERED + 10):
        newest = world.text(session, f"app-{number}")
    assert len(world.mint._made) <= REMEMBERED
    assert world.text(session, f"app-{REMEMBERED + 9}") == newest
