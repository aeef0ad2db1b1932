"""A provider's keys: fetched when needed, and never more often because somebody made up key ids."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from joserfc.jwk import OctKey, RSAKey

from gateway.core.provider import ALGORITHMS
from gateway.errors import LoginRefused, ProviderDown
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.oidc.jwks import KeyPace, Keys, parse_keys
from gateway.login.oidc.jws import take_apart
from tests.support.provider import FakeProvider, SigningKey, new_key, said, sign

CLAIMS = {"sub": "subject-1"}
PACE = KeyPace(keep=3600.0, cool_down=10.0, retry=1.0)


class Ticks:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
async def keys(ticks: Ticks) -> AsyncIterator[Keys]:
    http = ProviderHttp(seconds=2.0)
    yield Keys(http, ticks, PACE)
    await http.close()


async def ask(keys: Keys, provider: FakeProvider, token: str) -> dict[str, object]:
    return await keys.claims(take_apart(token, ALGORITHMS), f"{provider.issuer}/jwks")


def fetched(provider: FakeProvider) -> int:
    return provider.counts["/jwks"]


async def test_keys_are_fetched_once_for_many_tokens_that_come_at_once(keys: Keys, provider: FakeProvider) -> None:
    token = sign(CLAIMS, provider.keys[0])
    answers = await asyncio.gather(*(ask(keys, provider, token) for _ in range(50)))
    assert answers == [CLAIMS] * 50
    assert fetched(provider) == 1


async def test_a_rotation_without_overlap_costs_one_fetch_and_nobody_s_login(
    keys: Keys, provider: FakeProvider
) -> None:
    await ask(keys, provider, sign(CLAIMS, provider.keys[0]))
    provider.rotate()
    tokens = [sign(CLAIMS, provider.keys[0]) for _ in range(20)]
    assert await asyncio.gather(*(ask(keys, provider, token) for token in tokens)) == [CLAIMS] * 20
    assert fetched(provider) == 2


async def test_a_thousand_made_up_key_ids_cause_one_fetch_per_cool_down_and_valid_tokens_pass(
    keys: Keys, provider: FakeProvider, ticks: Ticks
) -> None:
    stranger = new_key("EC")
    valid = sign(CLAIMS, provider.keys[0])
    await ask(keys, provider, valid)
    for round_ in range(2):
        made_up = [sign(CLAIMS, stranger, kid=secrets.token_hex(8)) for _ in range(500)]
        answers = await asyncio.gather(*(ask(keys, provider, token) for token in made_up), return_exceptions=True)
        assert {type(answer).__name__ for answer in answers} == {"UnknownKey"}
        assert await ask(keys, provider, valid) == CLAIMS
        assert fetched(provider) == 2 + round_
        ticks.now += PACE.cool_down


async def test_keys_are_fetched_again_after_their_time(keys: Keys, provider: FakeProvider, ticks: Ticks) -> None:
    old = sign(CLAIMS, provider.keys[0])
    await ask(keys, provider, old)
    provider.rotate()
    ticks.now += PACE.keep
    with pytest.raises(LoginRefused):
        await ask(keys, provider, old)
    assert await ask(keys, provider, sign(CLAIMS, provider.keys[0])) == CLAIMS


async def test_old_keys_stay_good_while_new_ones_cannot_be_had(
    keys: Keys, provider: FakeProvider, ticks: Ticks
) -> None:
    token = sign(CLAIMS, provider.keys[0])
    await ask(keys, provider, token)
    provider.instead = {"/jwks": said(500, b"{}")}
    ticks.now += PACE.keep
    for _ in range(5):
        assert await ask(keys, provider, token) == CLAIMS
    assert fetched(provider) == 2
    ticks.now += PACE.retry
    await ask(keys, provider, token)
    assert fetched(provider) == 3


async def test_without_any_keys_the_provider_is_down_and_is_not_asked_at_each_token(
    keys: Keys, provider: FakeProvider, ticks: Ticks
) -> None:
    token = sign(CLAIMS, provider.keys[0])
    provider.instead = {"/jwks": said(503, b"{}")}
    for _ in range(5):
        with pytest.raises(ProviderDown):
            await ask(keys, provider, token)
    assert fetched(provider) == 1
    provider.instead = {}
    ticks.now += PACE.retry
    assert await ask(keys, provider, token) == CLAIMS


async def test_without_a_key_id_there_must_be_one_key_that_fits(keys: Keys, provider: FakeProvider) -> None:
    ours = provider.keys[0]
    provider.keys = [ours, new_key("OKP")]
    assert await ask(keys, provider, sign(CLAIMS, ours, kid=None)) == CLAIMS
    provider.keys = [ours, new_key("EC")]
    with pytest.raises(LoginRefused):
        await ask(keys, provider, sign(CLAIMS, provider.keys[1], kid=None))


def public(key: SigningKey, **more: object) -> dict[str, object]:
    return {**key.as_dict(private=False), **more}


def test_what_cannot_have_signed_is_not_among_the_keys() -> None:
    shared = OctKey.generate_key(256).as_dict(private=True)
    short = {"kty": "RSA", "n": RSAKey.generate_key(2048).as_dict(private=False)["n"][:170], "e": "AQAB"}
    broken = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
    good = public(new_key("RSA", "good"))
    entries = [dict(shared), short, broken, {"kty": "new"}, {}, "x", None, good]
    assert [key.kid for key in parse_keys({"keys": entries})] == ["good"]


@pytest.mark.parametrize("fields", [{}, {"keys": {}}, {"keys": "x"}])
def test_what_is_no_set_of_keys_says_that_the_provider_is_out_of_order(fields: dict[str, object]) -> None:
    with pytest.raises(ProviderDown):
        parse_keys(fields)


async def test_a_key_for_encryption_or_another_algorithm_is_not_used(keys: Keys, provider: FakeProvider) -> None:
    key = provider.keys[0]
    for more in ({"use": "enc"}, {"alg": "ES384"}):
        body = {"keys": [public(key, **more)]}
        provider.instead = {"/jwks": said(200, json.dumps(body).encode())}
        with pytest.raises(LoginRefused):
            await ask(keys, provider, sign(CLAIMS, key))
