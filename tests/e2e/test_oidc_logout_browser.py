"""Logging out in a real Chromium at a real, certified provider, and being logged out by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from tests.conftest import StartGateway
from tests.support.browser import PATIENCE_MS, launch, sign_in_there
from tests.support.certified import CLIENT_ID, CLIENT_SECRET, CertifiedProvider, client
from tests.support.gateway import GatewayProcess, new_key
from tests.support.oidc_site import audited, callback_at, only_audited, start_with_providers, url_of
from tests.support.ports import free_port
from tests.support.upstream import RecorderUpstream
from tests.support.waiting import wait_for

BUTTON = "Continue with Test provider"


@dataclass
class Stage:
    """A gateway that keeps sessions in some store, and the provider that logs people out of it."""

    gateway: GatewayProcess
    provider: CertifiedProvider

    @property
    def url(self) -> str:
        return url_of(self.gateway)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


def people(chromium: Browser, count: int) -> list[BrowserContext]:
    """Return browsers that know nothing of each other, and reach nothing but this machine."""
    found = [chromium.new_context() for _ in range(count)]
    for context in found:
        context.set_default_timeout(PATIENCE_MS)
        context.route(lambda url: urlsplit(url).hostname not in ("localhost", "127.0.0.1"), _nowhere)
    return found


def _nowhere(route: Route) -> None:
    route.abort()


@pytest.fixture(params=["cookie", "sqlite"])
def stage(request: Any, start_gateway: StartGateway, recorder: RecorderUpstream) -> Iterator[Stage]:
    port = free_port()
    base = callback_at(port).removesuffix("/callback")
    registered = client(
        callback_at(port),
        post_logout_redirect_uris=[f"{base}/signed-out"],
        backchannel_logout_uri=f"{base}/backchannel-logout",
        backchannel_logout_session_required=True,
    )
    with CertifiedProvider(registered) as provider:
        entry = {
            "id": "sso",
            "name": "Test provider",
            "issuer": provider.issuer,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "scopes": ["openid", "profile", "email", "groups"],
        }
        session = {"store": request.param, "keys": [new_key()]}
        gateway = start_with_providers(start_gateway, recorder, entry, port=port, session=session)
        yield Stage(gateway, provider)
        gateway.assert_no_traceback()


def sign_in(page: Page, url: str) -> None:
    """Open a page of the app, and log in at the provider."""
    page.goto(url)
    page.get_by_role("link", name=BUTTON).click()
    sign_in_there(page)
    expect(page).to_have_url(url)


def test_a_logout_leads_through_the_provider_and_back_and_both_are_over(stage: Stage, chromium: Browser) -> None:
    """Neither the cookies of before nor one click on the provider's button open anything then."""
    (context,) = people(chromium, 1)
    page = context.new_page()
    sign_in(page, f"{stage.url}/")
    (kept,) = [cookie for cookie in context.cookies(stage.url) if cookie["name"] == "gateway_session"]
    page.goto(f"{stage.url}/_gateway/logout")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile("^http://127.0.0.1:"))
    page.get_by_role("button", name=re.compile("Yes")).click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    assert page.url.startswith(f"{stage.url}/_gateway/login?signed_out=1")
    only_audited(stage.gateway, "logout")
    context.add_cookies([{"name": "session", "value": kept["value"], "url": stage.url}])
    page.goto(f"{stage.url}/")
    expect(page.get_by_role("link", name=BUTTON)).to_be_visible()
    page.get_by_role("link", name=BUTTON).click()
    expect(page.locator("input[name=login]")).to_be_visible()
    context.close()


def test_who_logs_out_at_the_provider_is_logged_out_here(stage: Stage, chromium: Browser) -> None:
    """Only that session: the same person's in another browser goes on."""
    one, other = people(chromium, 2)
    page, elsewhere = one.new_page(), other.new_page()
    sign_in(page, f"{stage.url}/")
    sign_in(elsewhere, f"{stage.url}/")
    page.goto(f"{stage.provider.issuer}/session/end")
    page.get_by_role("button", name=re.compile("Yes")).click()
    line = wait_for(lambda: audited(stage.gateway, "sessions_ended"), what="the provider's word")[0]
    assert line["by"] == "provider"
    page.goto(f"{stage.url}/")
    expect(page.get_by_role("link", name=BUTTON)).to_be_visible()
    elsewhere.goto(f"{stage.url}/")
    expect(elsewhere).to_have_url(f"{stage.url}/")
    assert audited(stage.gateway, "logout_refused") == []
    one.close()
    other.close()
