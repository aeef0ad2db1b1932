"""Logging in with GitHub, played by a stand-in that answers as its API documents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.core.policy import Allow
from gateway.core.provider import Provider, ProviderAllow
from gateway.login.oidc.github import GithubLogin, api_of
from tests.control.conftest import StartSite
from tests.control.harness import Answer, Browser, ControlSite, Settings
from tests.control.oidc import QUICK
from tests.support.github import CLIENT_ID, CLIENT_SECRET, FakeGithub

SCOPES = ("read:user", "user:email", "read:org")


@pytest.fixture
def github() -> Iterator[FakeGithub]:
    with FakeGithub() as running:
        yield running
        assert running.violations == []


async def site_with(start_site: StartSite, github: FakeGithub, **more: object) -> ControlSite:
    known = {"name": "GitHub", "kind": "github", "client_secret": CLIENT_SECRET, "scopes": SCOPES, **more}
    login = GithubLogin(Provider("github", github.url, CLIENT_ID, **known), QUICK)  # type: ignore[arg-type]
    return await start_site(Settings(providers={"github": login}))


async def log_in(browser: Browser, github: FakeGithub, change: str = "") -> Answer:
    left = await browser.get("/_gateway/oidc/github/start?next=/wiki")
    return await browser.get(github.visit(left.headers["Location"]) + change)


async def test_user_verified_address_organisations_and_teams(start_site: StartSite, github: FakeGithub) -> None:
    site = await site_with(start_site, github)
    browser = site.browser()
    answer = await log_in(browser, github)
    assert (answer.status, answer.headers["Location"]) == (303, "/wiki")
    session = await browser.session()
    assert session
    identity = session.identity
    assert (identity.user, identity.name, identity.email) == ("octocat", "The Octocat", "octocat@example.com")
    assert identity.groups == ("example-org", "example-org/platform")
    assert (identity.method, identity.claims["sub"]) == ("github", "583231")
    assert github.scopes == set(SCOPES)


async def test_an_address_that_is_not_verified_or_not_primary_does_not_count(
    start_site: StartSite, github: FakeGithub
) -> None:
    site = await site_with(start_site, github)
    github.user["email"] = "public@example.com"
    for emails in ([{**github.emails[1], "verified": False}, github.emails[0]], [github.emails[0]], []):
        github.emails = emails
        browser = site.browser()
        await log_in(browser, github)
        session = await browser.session()
        assert session
        assert session.identity.email == ""


async def test_many_organisations_come_page_by_page(start_site: StartSite, github: FakeGithub) -> None:
    github.orgs = [{"login": f"org-{number}", "id": number} for number in range(230)]
    site = await site_with(start_site, github)
    browser = site.browser()
    await log_in(browser, github)
    session = await browser.session()
    assert session
    assert len(session.identity.groups) == 231
    assert github.counts["user/orgs"] == 3


async def test_without_the_scope_for_organisations_they_are_not_asked_for(
    start_site: StartSite, github: FakeGithub
) -> None:
    site = await site_with(start_site, github, scopes=("read:user",))
    browser = site.browser()
    assert (await log_in(browser, github)).status == 303
    assert set(github.counts) == {"user"}
    session = await browser.session()
    assert session
    assert (session.identity.email, session.identity.groups) == ("", ())


async def test_only_members_are_let_in_where_allow_says_so(start_site: StartSite, github: FakeGithub) -> None:
    allow = ProviderAllow(Allow(groups=frozenset({"example-org/platform"})))
    site = await site_with(start_site, github, allow=allow, user_prefix="github:", group_prefix="github:")
    browser = site.browser()
    assert (await log_in(browser, github)).status == 303
    session = await browser.session()
    assert session
    assert (session.identity.user, session.identity.groups[0]) == ("github:octocat", "github:example-org")
    github.teams = []
    stranger = site.browser()
    assert (await log_in(stranger, github)).status == 403
    assert await stranger.session() is None


@pytest.mark.parametrize("path", ["user", "user/emails", "user/orgs", "user/teams"])
@pytest.mark.parametrize("status", [401, 403, 500])
async def test_where_the_api_fails_nobody_is_let_in_with_less_than_they_are(
    start_site: StartSite, github: FakeGithub, path: str, status: int
) -> None:
    site = await site_with(start_site, github)
    github.broken = {path: status}
    browser = site.browser()
    answer = await log_in(browser, github)
    assert answer.status == 502
    assert "GitHub does not work" in answer.text
    assert await browser.session() is None
    assert str(status) in site.audited("login_failed")[0].reason


async def test_a_user_without_an_id_is_nobody(start_site: StartSite, github: FakeGithub) -> None:
    site = await site_with(start_site, github)
    for broken in ({"id": None}, {"id": "583231"}, {"id": True}):
        github.user |= broken
        assert (await log_in(site.browser(), github)).status == 502


async def test_a_wrong_code_and_a_wrong_issuer_are_refused(start_site: StartSite, github: FakeGithub) -> None:
    site = await site_with(start_site, github)
    browser = site.browser()
    left = await browser.get("/_gateway/oidc/github/start")
    back = github.visit(left.headers["Location"])
    answer = await browser.get(back.replace("code=", "code=x"))
    assert answer.status == 400
    assert "invalid_grant" in site.audited("login_failed")[0].reason
    assert (await log_in(browser, github, "&iss=https://evil.example")).status == 400
    assert (await log_in(browser, github, f"&iss={github.url}/login/oauth")).status == 303


async def test_a_wrong_secret_is_the_gateway_s_fault(start_site: StartSite, github: FakeGithub) -> None:
    site = await site_with(start_site, github, client_secret="wrong")
    assert (await log_in(site.browser(), github)).status == 502
    assert "incorrect_client_credentials" in site.audited("login_failed")[0].reason


@pytest.mark.parametrize(
    ("base", "api"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://example.ghe.com", "https://api.example.ghe.com"),
        ("https://github.example.com", "https://github.example.com/api/v3"),
    ],
)
def test_the_api_is_where_each_kind_of_github_has_it(base: str, api: str) -> None:
    assert api_of(base) == api
