"""ID tokens that are not to be believed, and people who are not to be let in."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from joserfc import jws

from gateway.core.policy import Allow
from gateway.core.provider import ProviderAllow
from tests.control.conftest import StartSite
from tests.control.oidc import Rig, start_rig
from tests.support.provider import (
    CLIENT_ID,
    At,
    Claims,
    FakeProvider,
    SigningKey,
    asked_for,
    new_key,
    sign,
    signed_with_public_key,
    unsigned,
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "another-client"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": [CLIENT_ID, "another-client"]}, "another party (azp)"),
        ({"aud": [CLIENT_ID, "another-client"], "azp": "another-client"}, "another party (azp)"),
        ({"azp": "another-client"}, "another party (azp)"),
        ({"nonce": "another"}, "(nonce)"),
        ({"nonce": None}, "(nonce)"),
        ({"exp": At(-120)}, "the token ended"),
        ({"exp": None}, "does not say when"),
        ({"exp": "never"}, "exp is not a time"),
        ({"exp": True}, "exp is not a time"),
        ({"iat": At(3600), "exp": At(7200)}, "from the future"),
        ({"iat": None}, "does not say when"),
        ({"nbf": At(3600)}, "from the future"),
        ({"sub": None}, "whom it is about"),
        ({"sub": 7}, "whom it is about"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "(at_hash)"),
    ],
)
async def test_an_id_token_that_says_something_else_is_refused(
    rig: Rig, change: dict[str, object], reason: str
) -> None:
    browser = rig.site.browser()
    rig.provider.change = change
    await rig.assert_refused(browser, await rig.login(browser), reason)


@pytest.mark.parametrize("change", [{"exp": At(-20)}, {"iat": At(30)}, {"nbf": At(30)}, {"at_hash": None}])
async def test_a_clock_that_differs_by_less_than_a_minute_is_none_the_worse(
    rig: Rig, change: dict[str, object]
) -> None:
    rig.provider.change = change
    assert (await rig.login(rig.site.browser())).status == 303


def _with_changed_payload(token: str) -> str:
    header, payload, signature = token.split(".")
    return f"{header}.{payload[:-6]}{'A' if payload[-6] != 'A' else 'B'}{payload[-5:]}.{signature}"


def _with_duplicate(claims: Claims, key: SigningKey) -> str:
    text = json.dumps(claims)[:-1] + ', "sub": "subject-2"}'
    return jws.serialize_compact({"alg": "ES256", "kid": key.kid}, text, key)


FORGED: dict[str, Callable[[Claims, SigningKey], str]] = {
    "alg none": lambda claims, key: unsigned(claims),
    "HS256 with the public key": signed_with_public_key,
    "another key under the same id": lambda claims, key: sign(claims, new_key("EC", key.kid)),
    "a key that came along in the header": lambda claims, key: sign(
        claims, other := new_key("EC"), jwk=other.as_dict(private=False), kid=None
    ),
    "an unknown critical parameter": lambda claims, key: sign(claims, key, crit=["exp"], exp=1),
    "a token for an API": lambda claims, key: sign(claims, key, typ="at+jwt"),
    "a changed payload": lambda claims, key: _with_changed_payload(sign(claims, key)),
    "no signature": lambda claims, key: sign(claims, key).rpartition(".")[0] + ".",
    "not a token": lambda claims, key: "hello",
    "five parts": lambda claims, key: "a.b.c.d.e",
    "a name twice": _with_duplicate,
}


REASONS = {"alg none": "'none', which is not", "HS256 with the public key": "'HS256', which is not"}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_id_token_is_refused(rig: Rig, name: str) -> None:
    browser = rig.site.browser()
    rig.provider.make_token = FORGED[name]
    await rig.assert_refused(browser, await rig.login(browser), REASONS.get(name, "token"))


async def test_userinfo_about_somebody_else_is_refused(rig: Rig) -> None:
    browser = rig.site.browser()
    rig.provider.in_userinfo, rig.provider.userinfo = {"groups"}, {"sub": "subject-2", "groups": ["admins"]}
    await rig.assert_refused(browser, await rig.login(browser), "about somebody else")


async def test_a_token_of_another_type_is_refused(rig: Rig) -> None:
    browser = rig.site.browser()
    rig.provider.tokens = {"token_type": "mac"}
    await rig.assert_refused(browser, await rig.login(browser), "no bearer token")


async def test_an_address_that_is_not_verified_is_not_believed(rig: Rig) -> None:
    for change in ({"email_verified": False}, {"email_verified": None}, {"email": "a@b@example.com"}):
        rig.provider.change = change
        browser = rig.site.browser()
        await rig.login(browser)
        session = await browser.session()
        assert session
        assert session.identity.email == ""


async def test_the_verification_of_another_address_does_not_count(rig: Rig) -> None:
    rig.provider.in_userinfo, rig.provider.userinfo = {"groups"}, {"email": "other@example.com"}
    rig.provider.change = {"email_verified": None}
    browser = rig.site.browser()
    await rig.login(browser)
    session = await browser.session()
    assert session
    assert session.identity.email == ""


async def test_only_those_whom_the_provider_s_allow_admits_come_in(
    start_site: StartSite, provider: FakeProvider
) -> None:
    allow = ProviderAllow(Allow(groups=frozenset({"staff"})), (("tid", frozenset({"ours"})),))
    rig = await start_rig(start_site, provider, allow=allow, user_prefix="sso:", group_prefix="sso/")
    browser = rig.site.browser()
    await rig.assert_refused(browser, await rig.login(browser), "'alice' is not allowed by claims.tid", 403)
    provider.person["tid"] = "ours"
    assert (await rig.login(browser)).status == 303
    session = await browser.session()
    assert session
    assert session.identity.user == "sso:alice"
    assert session.identity.groups == ("sso/staff", "sso/wiki")


@pytest.mark.parametrize("name", [None, "", " alice", "al\nice", "x" * 300, ["alice"], True])
async def test_nobody_without_a_proper_name_is_let_in(rig: Rig, name: object) -> None:
    browser = rig.site.browser()
    rig.provider.change = {"preferred_username": name}
    rig.provider.userinfo = {"preferred_username": ""}
    await rig.assert_refused(browser, await rig.login(browser), "no usable user name", 403)


async def test_a_login_that_is_too_old_or_too_weak_is_not_let_in(start_site: StartSite, provider: FakeProvider) -> None:
    rig = await start_rig(start_site, provider, acr_values=("mfa",), max_age=600.0, prompt="login")
    browser = rig.site.browser()
    asked = asked_for(await rig.leave(browser))
    assert (asked["acr_values"], asked["max_age"], asked["prompt"]) == ("mfa", "600", "login")
    await rig.assert_refused(browser, await rig.login(browser), "in the way that was asked for", 403)
    rig.site.events.clear()
    provider.change = {"acr": "mfa", "auth_time": At(-3600)}
    await rig.assert_refused(browser, await rig.login(browser), "(auth_time)", 403)
    provider.change = {"acr": "mfa"}
    assert (await rig.login(browser)).status == 303
