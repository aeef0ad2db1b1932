"""Logout tokens: each thing that makes one unbelievable, and what a good one says."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.core.provider import ProviderSession, ProviderTokens
from gateway.errors import LoginRefused
from gateway.login.oidc.logout import EVENT
from gateway.login.oidc.openid import OpenIdLogin
from tests.control.oidc import settings_of
from tests.support.provider import CLIENT_ID, At, FakeProvider, new_key, resolved, sign, unsigned


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
async def login(provider: FakeProvider) -> AsyncIterator[OpenIdLogin]:
    login = OpenIdLogin(settings_of(provider))
    await login.start()
    yield login
    await login.close()


def claims_of(provider: FakeProvider, **change: object) -> dict[str, object]:
    claims = {
        "iss": provider.issuer,
        "aud": CLIENT_ID,
        "iat": At(0),
        "exp": At(120),
        "jti": "token-1",
        "events": {EVENT: {}},
        "sid": "session-1",
        "sub": "subject-1",
        **change,
    }
    return resolved(claims)


@pytest.mark.parametrize("kind", ["logout+jwt", "application/logout+jwt", "JWT", None])
async def test_a_sound_token_says_what_is_over(login: OpenIdLogin, provider: FakeProvider, kind: str | None) -> None:
    found = await login.logout_token(sign(claims_of(provider), provider.keys[0], typ=kind))
    assert (found.issuer, found.subject, found.sid) == (provider.issuer, "subject-1", "session-1")
    assert found.id == "token-1"
    assert found.until > time.time() + 600


@pytest.mark.parametrize("change", [{"sid": None}, {"sub": None}])
async def test_one_of_subject_and_session_is_enough(
    login: OpenIdLogin, provider: FakeProvider, change: dict[str, object]
) -> None:
    await login.logout_token(sign(claims_of(provider, **change), provider.keys[0]))


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"iat": None},
        {"iat": At(600)},
        {"iat": At(-3600)},
        {"exp": At(-120)},
        {"exp": None},
        {"jti": None},
        {"jti": ""},
        {"events": None},
        {"events": {}},
        {"events": [EVENT]},
        {"events": {EVENT: True}},
        {"nonce": "a"},
        {"sid": None, "sub": None},
        {"sid": 7},
        {"sub": "x" * 1000},
    ],
)
async def test_an_unsound_token_ends_nothing(
    login: OpenIdLogin, provider: FakeProvider, change: dict[str, object]
) -> None:
    with pytest.raises(LoginRefused):
        await login.logout_token(sign(claims_of(provider, **change), provider.keys[0]))


async def test_a_token_that_is_not_signed_by_the_provider_ends_nothing(
    login: OpenIdLogin, provider: FakeProvider
) -> None:
    claims = claims_of(provider)
    key = provider.keys[0]
    for token in (unsigned(claims), sign(claims, new_key("EC", key.kid)), sign(claims, key, typ="at+jwt"), "x"):
        with pytest.raises(LoginRefused):
            await login.logout_token(token)


async def test_the_way_out_at_the_provider_names_client_token_and_where_to_come_back(
    login: OpenIdLogin, provider: FakeProvider
) -> None:
    session, tokens = ProviderSession("sso", provider.issuer, "subject-1"), ProviderTokens(id_token="a.b.c")
    assert login.end_session_url(session, tokens, "https://apps.example.com/") is None
    await login.logout_token(sign(claims_of(provider), provider.keys[0]))
    assert login.end_session_url(session, tokens, "https://apps.example.com/") == (
        f"{provider.issuer}/end?client_id={CLIENT_ID}"
        "&post_logout_redirect_uri=https%3A%2F%2Fapps.example.com%2F&id_token_hint=a.b.c"
    )
    # A token that would not fit an address stays at home.
    long = ProviderTokens(id_token="a." * 4000)
    told = login.end_session_url(session, long, "https://apps.example.com/", "s") or ""
    assert told.endswith("&logout_hint=subject-1&state=s")
