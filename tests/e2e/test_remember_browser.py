"""Being remembered after a login at a real, certified provider, in a real Chromium: no script, by keyboard."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.conftest import StartGateway
from tests.e2e.test_oidc_browser import BUTTON, Stage, chromium, context, stage, to_provider
from tests.support.browser import PATIENCE_MS, sign_in_there
from tests.support.certified import CLIENT_ID, CLIENT_SECRET, CertifiedProvider, client
from tests.support.oidc_site import callback_of, start_with_providers, tell_providers
from tests.support.upstream import RecorderUpstream
from tests.support.waiting import wait_for

__all__ = ["chromium", "context", "stage"]

BOX = "Keep me signed in for 30 days"
STAYING = f"{BUTTON} and stay signed in for 30 days"
DAY = 86400
LIFETIME = 2


def ends(context: BrowserContext, url: str) -> float:
    """Return when the browser forgets the session's cookie, -1 for when it is closed."""
    (found,) = [cookie["expires"] for cookie in context.cookies(url) if cookie["name"] == "gateway_session"]
    return found


def assert_lasts(context: BrowserContext, url: str) -> None:
    assert ends(context, url) == pytest.approx(time.time() + 30 * DAY, abs=DAY)


def opened(chromium: Browser, **options: Any) -> BrowserContext:
    """Return a browser that asks nobody but this machine."""
    context = chromium.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    context.route(lambda url: urlsplit(url).hostname not in ("localhost", "127.0.0.1"), lambda route: route.abort())
    return context


def closed_and_opened(chromium: Browser, context: BrowserContext) -> BrowserContext:
    """Return a browser with what another one keeps when it is closed."""
    state = context.storage_state()
    state["cookies"] = [cookie for cookie in state["cookies"] if cookie["expires"] != -1]
    return opened(chromium, storage_state=state)


def test_the_box_counts_for_the_button_without_a_script_and_by_keyboard(stage: Stage, chromium: Browser) -> None:
    plain = opened(chromium, java_script_enabled=False)
    page = plain.new_page()
    page.goto(f"{stage.url}/page")
    expect(page.get_by_label("Username")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Tab")
    box = page.get_by_role("checkbox", name=BOX)
    expect(box).to_be_focused()
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=STAYING)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"^http://127\.0\.0\.1:\d+/interaction/"))
    assert "remember" not in page.url
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/page")
    assert_lasts(plain, stage.url)
    again = closed_and_opened(chromium, plain)
    later = again.new_page()
    later.goto(f"{stage.url}/later")
    expect(later).to_have_url(f"{stage.url}/later")
    assert stage.told()["X-Forwarded-User"] == "sso:alice"
    for each in (plain, again):
        each.close()


def test_without_it_the_session_goes_with_the_browser(stage: Stage, chromium: Browser, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{stage.url}/page")
    box = page.get_by_label(BOX)
    box.check()
    box.uncheck()
    to_provider(page, f"{stage.url}/page")
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/page")
    assert ends(context, stage.url) == -1
    again = closed_and_opened(chromium, context)
    later = again.new_page()
    later.goto(f"{stage.url}/later")
    expect(later.get_by_role("heading", name="Sign in")).to_be_visible()
    again.close()


def assert_offers(page: Page, name: str) -> None:
    """Require one button of a provider, which a screen reader reads so."""
    expect(page.get_by_role("link")).to_have_count(1)
    expect(page.get_by_role("link")).to_have_accessible_name(name)


def test_there_is_one_button_at_a_time_and_going_back_shows_what_was_chosen(
    stage: Stage, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(f"{stage.url}/page")
    assert_offers(page, BUTTON)
    page.get_by_text("Whichever way you sign in").click()
    expect(page.get_by_label(BOX)).to_be_checked()
    assert_offers(page, STAYING)
    page.get_by_role("link", name=BUTTON).click()
    expect(page).to_have_url(re.compile(r"/interaction/"))
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    remembers = page.get_by_label(BOX).is_checked()
    assert_offers(page, STAYING if remembers else BUTTON)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_box_stands_beside_its_text_on_a_telephone(stage: Stage, context: BrowserContext, scheme: str) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{stage.url}/page")
    box, text = page.get_by_label(BOX).bounding_box(), page.get_by_text(BOX).bounding_box()
    button = page.get_by_role("button", name="Sign in").bounding_box()
    assert box
    assert text
    assert button
    assert box["y"] >= text["y"]
    assert text["height"] >= 24
    assert text["y"] + text["height"] < button["y"]
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    before = button["y"]
    page.get_by_label(BOX).check()
    after = page.get_by_role("button", name="Sign in").bounding_box()
    assert after
    assert after["y"] == before, "nothing moves"


def test_where_it_is_off_nobody_is_remembered(stage: Stage, context: BrowserContext) -> None:
    gateway = stage.gateway
    gateway.config["session"] = {**gateway.config["session"], "remember": None}
    tell_providers(gateway, *gateway.config["login"]["oidc"])
    page = context.new_page()
    page.goto(stage.url)
    expect(page.get_by_role("link", name=BUTTON)).to_be_visible()
    expect(page.get_by_label(BOX)).to_have_count(0)
    page.goto(f"{stage.url}/_gateway/oidc/sso/start?next=/by-hand&remember=1")
    sign_in_there(page)
    expect(page).to_have_url(f"{stage.url}/by-hand")
    assert ends(context, stage.url) == -1


@pytest.fixture
def short(start_gateway: StartGateway, recorder: RecorderUpstream) -> Iterator[Stage]:
    """One whose provider's tokens are soon to be refreshed."""
    gateway = start_with_providers(start_gateway, recorder)
    with CertifiedProvider(client(callback_of(gateway)), lifetime=LIFETIME) as provider:
        entry = {"id": "sso", "name": "Test provider", "issuer": provider.issuer, "client_id": CLIENT_ID}
        scopes = ["openid", "profile", "email", "groups", "offline_access"]
        tell_providers(gateway, {**entry, "client_secret": CLIENT_SECRET, "scopes": scopes})
        yield Stage(gateway, recorder, provider)
        gateway.assert_no_traceback()


def test_a_refresh_writes_a_cookie_that_lasts_as_long(short: Stage, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{short.url}/page")
    page.get_by_label(BOX).check()
    page.get_by_role("link", name=BUTTON).click()
    sign_in_there(page)
    expect(page).to_have_url(f"{short.url}/page")
    (before,) = [cookie for cookie in context.cookies(short.url) if cookie["name"] == "gateway_session"]
    short.provider.regroup("alice", "wiki")

    def is_told() -> bool:
        page.reload()
        return short.told()["X-Forwarded-Groups"] == "wiki"

    wait_for(is_told, what="the new groups")
    page.reload()
    (after,) = [cookie for cookie in context.cookies(short.url) if cookie["name"] == "gateway_session"]
    assert after["value"] != before["value"]
    assert after["expires"] == pytest.approx(before["expires"], abs=2)
