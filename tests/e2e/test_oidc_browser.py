"""Logins in a real Chromium at a real, certified provider: oidc-provider, run by the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from tests.conftest import StartGateway
from tests.support.browser import PATIENCE_MS, launch, sign_in_there
from tests.support.certified import CLIENT_ID, CLIENT_SECRET, CertifiedProvider, client
from tests.support.gateway import GatewayProcess
from tests.support.oidc_site import callback_at, callback_of, only_audited, start_with_providers, tell_providers, url_of
from tests.support.ports import free_port
from tests.support.provider import new_key
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE

BUTTON = "Continue with Test provider"


@dataclass
class Stage:
    """A gateway, the app behind it, and the provider."""

    gateway: GatewayProcess
    app: RecorderUpstream
    provider: CertifiedProvider

    @property
    def url(self) -> str:
        return url_of(self.gateway)

    def told(self) -> dict[str, str]:
        """Return the identity headers of the app's newest request."""
        request = self.app.requests[-1]
        names = ("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups")
        return {name: request.get(name) or "" for name in names}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser without memory. The provider's own pages ask for fonts elsewhere, and get none."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE_MS)
    context.route(lambda url: urlsplit(url).hostname not in ("localhost", "127.0.0.1"), _nowhere)
    yield context
    context.close()


def _nowhere(route: Route) -> None:
    route.abort()


@pytest.fixture
def stage(start_gateway: StartGateway, recorder: RecorderUpstream) -> Iterator[Stage]:
    port = free_port()
    with CertifiedProvider(client(callback_at(port))) as provider:
        entry = {
            "id": "sso",
            "name": "Test provider",
            "issuer": provider.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scopes": ["openid", "profile", "email", "groups"],
        }
        gateway = start_with_providers(start_gateway, recorder, entry, port=port)
        yield Stage(gateway, recorder, provider)
        gateway.assert_no_traceback()


def to_provider(page: Page, url: str) -> None:
    """Open a page of the app and leave for the provider."""
    page.goto(url)
    page.get_by_role("link", name=BUTTON).click()
    expect(page).to_have_url(re.compile(r"^http://127\.0\.0\.1:\d+/interaction/"))


def test_a_login_leads_back_to_the_page_and_the_app_learns_who_it_is(stage: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    to_provider(page, f"{stage.url}/reports?year=2026")
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/reports?year=2026")
    assert stage.told() == {
        "X-Forwarded-User": "sso:alice",
        "X-Forwarded-Email": "alice@example.com",
        "X-Forwarded-Groups": "staff,wiki",
    }
    event = only_audited(stage.gateway, "login")
    assert (event["user"], event["reason"]) == ("sso:alice", "sso")
    assert page.evaluate("document.cookie") == ""
    assert [cookie["name"] for cookie in context.cookies(stage.url)] == ["gateway_browser", "gateway_session"]


def test_an_address_that_the_provider_has_not_verified_is_not_passed_on(stage: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    to_provider(page, stage.url)
    sign_in_there(page, "bob")
    expect(page).to_have_url(f"{stage.url}/")
    assert stage.told() == {"X-Forwarded-User": "sso:bob", "X-Forwarded-Email": "", "X-Forwarded-Groups": ""}


def test_consent_refused_says_so_opens_nothing_and_can_be_tried_again(stage: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    to_provider(page, f"{stage.url}/one")
    page.get_by_role("link", name=re.compile("Cancel")).click()
    expect(page.get_by_role("heading", name="Not signed in")).to_be_visible()
    assert urlsplit(page.url).path == "/_gateway/oidc/sso/callback"
    event = only_audited(stage.gateway, "login_failed")
    assert "access_denied" in event["reason"]
    assert [cookie["name"] for cookie in context.cookies(stage.url)] == ["gateway_browser"]
    to_provider(page, f"{stage.url}/one")
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/one")


def test_the_newest_of_many_tabs_all_come_back_to_their_pages(stage: Stage, context: BrowserContext) -> None:
    pages = [context.new_page() for _ in range(8)]
    for number, page in enumerate(pages):
        to_provider(page, f"{stage.url}/tab/{number}")
    sign_in_there(pages[7])
    expect(pages[7]).to_have_url(f"{stage.url}/tab/7")
    for number in (4, 6):
        sign_in_there(pages[number])
        expect(pages[number]).to_have_url(f"{stage.url}/tab/{number}")
    sign_in_there(pages[0])
    expect(pages[0].get_by_role("heading", name="This sign-in is over")).to_be_visible()
    pages[0].goto(f"{stage.url}/tab/0")
    expect(pages[0]).to_have_url(f"{stage.url}/tab/0")


def test_going_back_to_the_callback_does_not_log_in_again(stage: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    callbacks: list[str] = []
    page.on("request", lambda request: callbacks.append(request.url) if "/callback?" in request.url else None)
    to_provider(page, stage.url)
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/")
    page.goto(callbacks[0])
    expect(page.get_by_role("heading", name="This sign-in is over")).to_be_visible()
    only_audited(stage.gateway, "login")
    page.get_by_role("link", name="Your apps").click()
    expect(page.get_by_role("heading", name="Your apps")).to_be_visible()


def test_somebody_known_to_the_provider_logs_in_with_one_click(stage: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    to_provider(page, stage.url)
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/")
    context.clear_cookies(name="gateway_session")
    page.goto(f"{stage.url}/again")
    page.get_by_role("link", name=BUTTON).click()
    expect(page).to_have_url(f"{stage.url}/again")


def test_keys_rotated_without_overlap_and_a_provider_that_was_away(stage: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    to_provider(page, stage.url)
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/")
    stage.provider.stop()
    page.reload()
    assert stage.told()["X-Forwarded-User"] == "sso:alice"
    stage.provider.rotate()
    context.clear_cookies()
    to_provider(page, stage.url)
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/")


@pytest.mark.parametrize("method", ["client_secret_post", "private_key_jwt"])
def test_the_gateway_proves_to_be_the_client_in_other_ways(stage: Stage, context: BrowserContext, method: str) -> None:
    key = new_key("EC")
    registered = {"token_endpoint_auth_method": method, "jwks": {"keys": [key.as_dict(private=False)]}}
    entry = {**stage.gateway.config["login"]["oidc"][0], "client_auth": method}
    if method == "private_key_jwt":
        del entry["client_secret"]
        entry |= {"private_key": key.as_pem(private=True).decode(), "key_id": key.kid}
    with CertifiedProvider(client(callback_of(stage.gateway), **registered)) as provider:
        tell_providers(stage.gateway, {**entry, "issuer": provider.issuer})
        page = context.new_page()
        to_provider(page, f"{stage.url}/other")
        sign_in_there(page)
        expect(page).to_have_url(f"{stage.url}/other")


def test_local_users_log_in_beside_the_button(stage: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(stage.url)
    expect(page.get_by_role("link", name=BUTTON)).to_be_visible()
    page.get_by_label("Username").fill(ALICE.user)
    page.get_by_label("Password").fill(ALICE.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{stage.url}/")
    assert stage.told()["X-Forwarded-User"] == "alice"


def test_with_strict_cookies_the_app_opens_all_the_same(stage: Stage, context: BrowserContext) -> None:
    gateway = stage.gateway
    session = {**gateway.config["session"], "cookie": {"same_site": "strict"}}
    gateway.config["session"] = session
    tell_providers(gateway, *gateway.config["login"]["oidc"])
    page = context.new_page()
    to_provider(page, f"{stage.url}/strict")
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/strict")
    assert stage.told()["X-Forwarded-User"] == "sso:alice"
