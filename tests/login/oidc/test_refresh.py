"""Refreshing a login at a provider: what it tells then, what it must tell, and what is kept whatever it tells."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.core.policy import Allow
from gateway.core.provider import ClaimPaths, Provider, ProviderAllow, ProviderTokens
from gateway.errors import GrantOver, LoginDenied, LoginRefused, ProviderDown
from gateway.login.oidc.github import GithubLogin
from gateway.login.oidc.jws import seen_claims
from gateway.login.oidc.openid import OpenIdLogin, Timing
from gateway.login.redirect import PendingLogin, Proof
from tests.control.oidc import IMPATIENT, QUICK, settings_of
from tests.support.provider import (
    At,
    FakeProvider,
    endless,
    hang,
    new_key,
    said,
    sign,
    signed_with_public_key,
    unsigned,
)

BACK = "https://apps.example.com/_gateway/oidc/sso/callback"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running
        assert running.violations == []
        assert running.counts["reused"] == 0


@dataclass
class Login:
    """A login at the provider, and what it left behind."""

    login: OpenIdLogin
    proof: Proof
    kept: ProviderTokens

    async def again(self) -> Proof:
        """Refresh it."""

        async def keep(tokens: ProviderTokens) -> None:
            self.kept = tokens

        proof = await self.login.refresh(self.proof.session, self.proof.tokens, self.proof.identity, keep)
        self.proof = proof
        return proof


class Maker:
    """Logs in at the provider."""

    def __init__(self, provider: FakeProvider) -> None:
        self.provider = provider
        self.made: list[OpenIdLogin] = []

    async def __call__(self, known: Provider | None = None, timing: Timing = QUICK, **more: Any) -> Login:
        login = OpenIdLogin(replace(known or settings_of(self.provider), **more), timing)
        self.made.append(login)
        await login.start()
        pending = PendingLogin("sso", b"s" * 32, "/", time.time())
        back = self.provider.visit(await login.begin(pending, BACK))
        answer = dict(pair.split("=", 1) for pair in urlsplit(back).query.split("&"))
        answer["iss"] = self.provider.issuer
        proof = await login.finish(pending, answer, BACK)
        return Login(login, proof, proof.tokens)


@pytest.fixture
async def log_in(provider: FakeProvider) -> AsyncIterator[Maker]:
    maker = Maker(provider)
    yield maker
    for login in maker.made:
        await login.close()


# What it tells


async def test_groups_and_claims_follow_the_provider(log_in: Maker, provider: FakeProvider) -> None:
    made = await log_in(claims=ClaimPaths(other=(("floor", "floor"),)))
    before = made.proof
    provider.person |= {"groups": ["wiki"], "name": "Alice Pleasance", "floor": 3}
    after = await made.again()
    assert after.identity.groups == ("wiki",)
    assert after.identity.name == "Alice Pleasance"
    assert after.identity.claims == {"sub": "subject-1", "floor": 3}
    assert after.identity.user == before.identity.user
    assert (after.session.issuer, after.session.subject, after.session.sid) == (
        provider.issuer,
        "subject-1",
        "session-1",
    )
    assert after.tokens.refresh_token not in ("", before.tokens.refresh_token)
    assert after.tokens.id_token not in ("", before.tokens.id_token)
    # Again and again, always with the newest token.
    for _ in range(3):
        await made.again()
    assert provider.counts["refresh"] == 4


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_we_prove_to_be_the_client(log_in: Maker, provider: FakeProvider, method: str) -> None:
    """The provider keeps a list of what clients do wrong."""
    await (await log_in(client_auth=method)).again()
    assert provider.counts["refresh"] == 1


async def test_a_refresh_token_that_is_not_replaced_stays(log_in: Maker, provider: FakeProvider) -> None:
    provider.rotates = False
    provider.again = {"refresh_token": None}
    made = await log_in()
    before = made.proof.tokens.refresh_token
    for _ in range(2):
        assert (await made.again()).tokens.refresh_token == before
        assert made.kept.refresh_token == before


async def test_when_to_ask_again_follows_the_access_token(log_in: Maker, provider: FakeProvider) -> None:
    """After four fifths of its time; after those of an hour where the provider does not say."""
    made = await log_in()
    for seconds, due, ends in ((100, 80, 100), (0, 1, 1), (1, 1, 1), (None, 2880, 3600)):
        provider.again = {"expires_in": seconds}
        before = time.time()
        session = (await made.again()).session
        assert session.refresh_at
        assert session.access_expires
        assert before + due - 1 < session.refresh_at < time.time() + due + 1
        assert before + ends - 1 < session.access_expires < time.time() + ends + 1
        assert session.refresh_at <= session.access_expires


async def test_what_cannot_or_must_not_be_refreshed_is_never_due(log_in: Maker, provider: FakeProvider) -> None:
    session = (await log_in(refresh=False)).proof.session
    assert (session.refresh_at, session.access_expires) == (None, None)
    provider.tokens = {"refresh_token": None}
    session = (await log_in()).proof.session
    assert (session.refresh_at, session.access_expires) == (None, None)


async def test_what_the_new_token_does_not_say_is_as_it_was(log_in: Maker, provider: FakeProvider) -> None:
    """And no refreshed token makes a login fresher than it was."""
    provider.change = {"acr": "mfa", "auth_time": At(-100)}
    made = await log_in()
    before = made.proof.session
    provider.change_again = {"acr": None, "auth_time": None, "sid": None}
    after = (await made.again()).session
    assert (after.acr, after.auth_time, after.sid) == ("mfa", before.auth_time, "session-1")
    provider.change_again = {"acr": "pwd", "auth_time": At(-10), "sid": "session-2"}
    after = (await made.again()).session
    assert (after.acr, after.auth_time, after.sid) == ("pwd", before.auth_time, "session-2")


async def test_without_an_id_token_userinfo_tells(log_in: Maker, provider: FakeProvider) -> None:
    made = await log_in()
    hint = made.proof.tokens.id_token
    provider.again = {"id_token": None}
    provider.person["groups"] = ["wiki"]
    after = await made.again()
    assert after.identity.groups == ("wiki",)
    assert after.identity.claims["sub"] == "subject-1"
    assert after.tokens.id_token == hint
    assert provider.counts["/userinfo"] == 1


async def test_what_nobody_tells_stays_as_it_was(log_in: Maker, provider: FakeProvider) -> None:
    """The provider stands by the login: it is asked again when that is due."""
    provider.metadata = {"userinfo_endpoint": None}
    made = await log_in()
    before = made.proof
    provider.again = {"id_token": None}
    provider.person["groups"] = ["wiki"]
    after = await made.again()
    assert after.identity == before.identity
    assert (after.session.refresh_at or 0) >= (before.session.refresh_at or 0)


async def test_a_token_that_names_nobody_changes_nothing(log_in: Maker, provider: FakeProvider) -> None:
    """Some refreshed ID tokens hold no more than they must."""
    provider.metadata = {"userinfo_endpoint": None}
    made = await log_in()
    before = made.proof.identity
    provider.person = {"sub": "subject-1"}
    assert (await made.again()).identity == before


# What it must tell


async def test_another_nonce_is_refused_and_the_same_or_none_is_not(log_in: Maker, provider: FakeProvider) -> None:
    made = await log_in()
    nonce = seen_claims(made.proof.tokens.id_token)["nonce"]
    provider.change_again = {"nonce": nonce}
    await made.again()
    provider.change_again = {"nonce": None}
    await made.again()
    # The last one said none, so there is nothing to compare with but what was said before.
    made.proof = replace(
        made.proof, tokens=replace(made.proof.tokens, id_token=sign({"nonce": nonce}, provider.keys[0]))
    )
    for bad in ("another", 1, ["a"], "\ud800"):
        provider.change_again = {"nonce": bad}
        with pytest.raises(LoginRefused, match="nonce"):
            await made.again()
        made.proof = replace(made.proof, tokens=made.kept)


OTHERS: dict[str, dict[str, Any]] = {
    "iss": {"iss": "https://evil.example"},
    "aud": {"aud": "another"},
    "azp": {"azp": "another"},
    "exp": {"exp": At(-100)},
    "iat": {"iat": At(600)},
    "nbf": {"nbf": At(600)},
    "at_hash": {"at_hash": "x"},
    "no sub": {"sub": None},
}


@pytest.mark.parametrize("name", OTHERS)
async def test_an_id_token_that_says_something_else_is_refused(
    log_in: Maker, provider: FakeProvider, name: str
) -> None:
    """It is no end of the login either; the tokens are kept, for the ones before may be good no more."""
    made = await log_in()
    before = made.proof.tokens
    provider.change_again = OTHERS[name]
    with pytest.raises(LoginRefused) as caught:
        await made.again()
    assert not isinstance(caught.value, LoginDenied | GrantOver)
    assert made.kept.refresh_token != before.refresh_token
    assert made.kept.id_token == before.id_token, "the one that is not believed is not kept"
    provider.change_again = {}
    made.proof = replace(made.proof, tokens=made.kept)
    await made.again()


FORGERIES: dict[str, Any] = {
    "none": lambda claims, _: unsigned(claims),
    "HS256": signed_with_public_key,
    "another key": lambda claims, key: sign(claims, new_key("EC", key.kid)),
    "another kind": lambda claims, key: sign(claims, key, typ="logout+jwt"),
    "rubbish": lambda *_: "a.b.c",
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_id_token_is_refused(log_in: Maker, provider: FakeProvider, name: str) -> None:
    made = await log_in()
    provider.make_token = FORGERIES[name]
    with pytest.raises(LoginRefused) as caught:
        await made.again()
    assert not isinstance(caught.value, LoginDenied | GrantOver)


async def test_somebody_else_is_not_let_in(log_in: Maker, provider: FakeProvider) -> None:
    """By another subject, or by another name of the same one."""
    made = await log_in()
    provider.change_again = {"sub": "subject-2"}
    with pytest.raises(LoginDenied, match="sub"):
        await made.again()
    made = await log_in()
    provider.change_again = {"preferred_username": "bob"}
    with pytest.raises(LoginDenied, match="bob"):
        await made.again()


@pytest.mark.parametrize("id_token", [True, False])
async def test_userinfo_about_somebody_else_is_refused(log_in: Maker, provider: FakeProvider, id_token: bool) -> None:
    provider.in_userinfo = {"groups"}
    made = await log_in()
    provider.userinfo = {"sub": "subject-2"}
    if not id_token:
        provider.again = {"id_token": None}
    with pytest.raises(LoginRefused, match="somebody else"):
        await made.again()


async def test_who_is_let_in_no_more_is_denied(log_in: Maker, provider: FakeProvider) -> None:
    made = await log_in(allow=ProviderAllow(Allow(groups=frozenset({"staff"}))))
    await made.again()
    provider.person["groups"] = ["wiki"]
    with pytest.raises(LoginDenied, match="groups"):
        await made.again()


async def test_a_weaker_login_is_denied(log_in: Maker, provider: FakeProvider) -> None:
    """Where the provider has to say how people logged in; one that does not say it again changes nothing."""
    provider.change = {"acr": "mfa"}
    made = await log_in(acr_values=("mfa",), max_age=50.0)
    provider.change_again = {"acr": None, "auth_time": At(-100)}
    await made.again()
    provider.change_again = {"acr": "pwd"}
    with pytest.raises(LoginDenied):
        await made.again()


# What is kept whatever it tells


async def test_new_tokens_are_kept_though_userinfo_fails(log_in: Maker, provider: FakeProvider) -> None:
    provider.in_userinfo = {"groups"}
    made = await log_in()
    before = made.proof.tokens
    provider.instead["/userinfo"] = said(500, b"{}")
    with pytest.raises(ProviderDown):
        await made.again()
    assert made.kept.refresh_token not in ("", before.refresh_token)
    del provider.instead["/userinfo"]
    made.proof = replace(made.proof, tokens=made.kept)
    assert (await made.again()).identity.groups == ("staff", "wiki")


async def test_new_tokens_are_kept_though_the_keys_cannot_be_had(log_in: Maker, provider: FakeProvider) -> None:
    made = await log_in()
    provider.rotate()
    provider.instead["/jwks"] = said(500, b"{}")
    with pytest.raises((ProviderDown, LoginRefused)) as caught:
        await made.again()
    assert not isinstance(caught.value, LoginDenied | GrantOver)
    del provider.instead["/jwks"]
    made.proof = replace(made.proof, tokens=made.kept)
    await made.again()


# What ends it, and what does not


async def test_a_grant_that_is_over_is_said_to_be(log_in: Maker, provider: FakeProvider) -> None:
    made = await log_in()
    provider.end_logins()
    with pytest.raises(GrantOver):
        await made.again()


NOT_OVER: dict[str, Any] = {
    "hangs": hang,
    "5 MB": endless,
    "HTML": said(200, b"<html>", "text/html"),
    "HTML with 400": said(400, b"<html>invalid_grant</html>", "text/html"),
    "redirect": said(302, b'{"error": "invalid_grant"}', Location="https://evil.example/token"),
    "broken JSON": said(200, b'{"access_token": '),
    "a list": said(200, b"[]"),
    "no token": said(200, b'{"token_type": "Bearer", "expires_in": 60}'),
    "no bearer": said(200, b'{"access_token": "a", "token_type": "mac"}'),
    "out of order": said(500, json.dumps({"error": "invalid_grant"}).encode()),
    "too busy": said(429, b'{"error": "slow_down"}'),
    "another client": said(401, b'{"error": "invalid_client"}'),
    "bad request": said(400, b'{"error": "invalid_request"}'),
    "later": said(400, b'{"error": "temporarily_unavailable"}'),
    "odd error": said(400, b'{"error": ["invalid_grant"]}'),
}


@pytest.mark.parametrize("name", NOT_OVER)
async def test_an_answer_that_is_none_ends_nothing(log_in: Maker, provider: FakeProvider, name: str) -> None:
    made = await log_in(timing=IMPATIENT if name == "hangs" else QUICK)
    before = made.kept
    provider.instead["/token"] = NOT_OVER[name]
    with pytest.raises((ProviderDown, LoginRefused)) as caught:
        await made.again()
    assert not isinstance(caught.value, LoginDenied | GrantOver)
    assert made.kept == before
    del provider.instead["/token"]
    await made.again()


async def test_a_provider_that_is_away_ends_nothing(log_in: Maker, provider: FakeProvider) -> None:
    made = await log_in()
    provider.down()
    with pytest.raises(ProviderDown):
        await made.again()
    provider.up()
    await made.again()


async def test_github_is_not_refreshed() -> None:
    login = GithubLogin(Provider("github", "https://github.com", "id", kind="github", client_secret="s"))
    with pytest.raises(LoginRefused):
        await login.refresh(None, ProviderTokens(), None)  # type: ignore[arg-type]
    await login.close()
