"""Signed tokens: what they must say, and the keys of whoever signs them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.core.programs import Credential, TokenIssuer, Verified
from gateway.core.provider import ClaimPaths, Provider
from gateway.errors import LoginRefused, ProviderDown
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.oidc.jwks import KeyPace
from gateway.login.programs.tokens import (
    LONGEST_MEMORY,
    IssuerKeys,
    TokenSource,
    check_claims,
    claimed_issuer,
    with_scopes,
)
from tests.support.programs import AUDIENCE, token, with_key_id
from tests.support.provider import FakeProvider, encoded, hang, said

NOW = 1_800_000_000.0
GOOD: dict[str, object] = {"aud": AUDIENCE, "exp": NOW + 100, "iat": NOW, "nbf": NOW}
PACE = KeyPace(keep=3600.0, cool_down=10.0, retry=1.0)


class Ticks:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# --- claims -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"aud": [AUDIENCE]}, {"aud": ["other", AUDIENCE]}, {"nbf": None}, {"iat": None}, {"exp": NOW - 59},
        {"nbf": NOW + 60}, {"iat": NOW + 60},
    ],
    ids=str,
)  # fmt: skip
def test_a_sound_token_ends_a_minute_after_its_end(changes: dict[str, object]) -> None:
    claims = {**GOOD, **changes}
    ends = check_claims(claims, (AUDIENCE, "also"), NOW)
    assert ends == float(str(claims["exp"])) + 60


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": None}, {"aud": ""}, {"aud": "wik"}, {"aud": "wikis"}, {"aud": []}, {"aud": {"wiki": 1}},
        {"aud": [["wiki"]]}, {"aud": ["other"]}, {"exp": None}, {"exp": NOW - 60}, {"exp": str(NOW + 100)},
        {"exp": True}, {"exp": float("inf")}, {"exp": float("nan")}, {"nbf": NOW + 61}, {"iat": NOW + 61},
        {"iat": "now"}, {"cnf": {"jkt": "x"}}, {"cnf": None},
    ],
    ids=str,
)  # fmt: skip
def test_an_unsound_token_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(LoginRefused):
        check_claims({**GOOD, **changes}, (AUDIENCE,), NOW)


def test_scopes_are_words() -> None:
    assert with_scopes({"scope": "a  b"})["scope"] == ["a", "b"]
    assert with_scopes({"scope": ["a b"]})["scope"] == ["a b"]


@pytest.mark.parametrize(
    "text",
    ["", "..", "a.b.c", "a.!.c", f"a.{encoded(b'[]')}.c", f"a.{encoded(b'{}')}.c", f"a.{encoded(b'null')}.c",
     f"a.{encoded(b'[' * 100_000)}.c", f"a.{encoded(chr(0xFF).encode('latin-1'))}.c", "a.\N{SNOWMAN}.c"],
)  # fmt: skip
def test_what_names_no_issuer_is_of_none(text: str) -> None:
    assert claimed_issuer(text) == ""


# --- keys -------------------------------------------------------------------------------------------


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def issuer(provider: FakeProvider, **more: Any) -> TokenIssuer:
    return TokenIssuer(Provider("ci", provider.issuer, "", claims=ClaimPaths(user="sub")), (AUDIENCE,), **more)


@asynccontextmanager
async def source(provider: FakeProvider, ticks: Ticks, **more: Any) -> Any:
    found = issuer(provider, **more)
    running = TokenSource(found, IssuerKeys(found, ProviderHttp(seconds=0.5), ticks, PACE), time.time)
    yield running
    await running.close()


async def verify(running: TokenSource, text: str) -> Verified:
    credential = Credential("bearer", text, ("ci",), "route")
    assert running.takes(credential)
    return await running.verify(credential)


async def test_a_token_is_verified_and_remembered_no_longer_than_it_should(provider: FakeProvider) -> None:
    async with source(provider, Ticks()) as running:
        verified = await verify(running, token(provider, exp=int(time.time()) + 86400))
        assert (verified.identity.user, verified.identity.method, verified.source) == ("robot", "ci", "ci")
        assert verified.until - verified.at == LONGEST_MEMORY
        assert not running.takes(Credential("bearer", "gwk_x", ("ci",), "route"))
        assert not running.takes(Credential("basic", token(provider), ("ci",), "route"))


async def test_random_key_ids_cause_one_request_in_a_cool_down(provider: FakeProvider) -> None:
    """A thousand, and a good token in between is accepted each time."""
    ticks, good = Ticks(), token(provider)
    async with source(provider, ticks) as running:
        await verify(running, good)
        for number in range(1000):
            with pytest.raises(LoginRefused):
                await verify(running, with_key_id(good, f"random-{number}"))
            if not number % 100:
                await verify(running, good)
        assert provider.counts["/jwks"] == 2
        ticks.now += 10
        for number in range(100):
            with pytest.raises(LoginRefused):
                await verify(running, with_key_id(good, f"another-{number}"))
        assert provider.counts["/jwks"] == 3
        assert provider.counts["/.well-known/openid-configuration"] == 1


async def test_new_keys_are_found_after_the_cool_down(provider: FakeProvider) -> None:
    """Keys replaced without overlap."""
    ticks, old = Ticks(), token(provider)
    async with source(provider, ticks) as running:
        await verify(running, old)
        with pytest.raises(LoginRefused):
            await verify(running, with_key_id(old, "random"))
        provider.rotate()
        new = token(provider)
        with pytest.raises(LoginRefused):
            await verify(running, new)
        ticks.now += 10
        await verify(running, new)
        with pytest.raises(LoginRefused):
            await verify(running, old)
        assert provider.counts["/jwks"] == 3


async def test_an_issuer_that_is_down_is_not_a_bad_token(provider: FakeProvider) -> None:
    """It is asked again after a moment, and not for every token."""
    ticks, good = Ticks(), token(provider)
    async with source(provider, ticks) as running:
        provider.instead["/.well-known/openid-configuration"] = said(500, b"{}")
        for _ in range(20):
            with pytest.raises(ProviderDown):
                await verify(running, good)
        assert provider.counts["/.well-known/openid-configuration"] == 1
        del provider.instead["/.well-known/openid-configuration"]
        provider.instead["/jwks"] = hang
        ticks.now += 1
        for _ in range(20):
            with pytest.raises(ProviderDown):
                await verify(running, good)
        assert provider.counts["/jwks"] == 1
        del provider.instead["/jwks"]
        ticks.now += 1
        await verify(running, good)


async def test_known_keys_are_good_while_the_issuer_is_down(provider: FakeProvider) -> None:
    ticks, good = Ticks(), token(provider)
    async with source(provider, ticks) as running:
        await verify(running, good)
        provider.instead["/jwks"] = provider.instead["/.well-known/openid-configuration"] = said(503, b"{}")
        ticks.now += 4000
        await verify(running, good)


@pytest.mark.parametrize(
    "described",
    [
        {"issuer": "https://other.example"},
        {"jwks_uri": None},
        {"jwks_uri": "http://other.example/jwks"},
        {"jwks_uri": 1},
    ],
)
async def test_a_description_that_is_anothers_or_unsafe_is_not_used(
    provider: FakeProvider, described: dict[str, object]
) -> None:
    provider.metadata = described
    async with source(provider, Ticks()) as running:
        with pytest.raises(ProviderDown):
            await verify(running, token(provider))
    assert not provider.counts["/jwks"]


async def test_a_given_address_of_keys_needs_no_description(provider: FakeProvider) -> None:
    async with source(provider, Ticks(), jwks=f"{provider.issuer}/jwks") as running:
        await verify(running, token(provider))
    assert not provider.counts["/.well-known/openid-configuration"]
