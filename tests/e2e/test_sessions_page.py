"""A real Chromium at the page on which people see and end their sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import StartGateway
from tests.support.browser import OpenContext, sign_in
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.oidc_site import only_audited
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE

PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 640},
    "user_agent": (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/26.0 Mobile/15E148 Safari/604.1"
    ),
}
DESK: dict[str, Any] = {
    "user_agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "java_script_enabled": False,
}


@dataclass
class Place:
    """A gateway, and people who sign in to it."""

    gateway: GatewayProcess
    new_context: OpenContext

    def page(self, **options: Any) -> Page:
        """Return a page of a browser of its own, signed in, on the page of sessions."""
        page = self.new_context(**options).new_page()
        page.goto(f"http://localhost:{self.gateway.port}/_gateway/sessions")
        sign_in(page, ALICE.user, ALICE.password)
        expect(page.get_by_role("heading", name="Where you are signed in")).to_be_visible()
        return page


@pytest.fixture
def place(start_gateway: StartGateway, recorder: RecorderUpstream, new_context: OpenContext) -> Place:
    config = gateway_config(route("app", "/", recorder.url))
    config["session"]["store"] = "sqlite"
    return Place(start_gateway(config), new_context)


def test_a_lost_phone_is_signed_out_from_the_desk_without_javascript(place: Place) -> None:
    """The portal leads to the page; it marks this device, and one button ends the phone's session at once."""
    phone, desk = place.page(**PHONE), place.page(**DESK)
    desk.get_by_role("link", name="Your apps").click()
    desk.get_by_role("link", name="Where you are signed in").click()
    here, other = desk.get_by_role("listitem").all()
    expect(here).to_contain_text("Firefox on Windows This device")
    expect(here).to_contain_text("127.0.0.1")
    expect(here.get_by_role("button")).to_have_count(0)
    expect(other).to_contain_text("Safari on iPhone")
    desk.get_by_role("button", name="Sign out Safari on iPhone").click()
    expect(desk.get_by_role("status")).to_have_text("That device is signed out.")
    expect(desk.get_by_text("You are signed in nowhere else.")).to_be_visible()
    phone.reload()
    expect(phone.get_by_role("button", name="Sign in")).to_be_visible()
    event = only_audited(place.gateway, "session_ended")
    assert (event["user"], event["by"], event["reason"]) == ("alice", "user", "Safari on iPhone")


def test_all_others_are_signed_out_from_a_phone(place: Place) -> None:
    """The page fits a phone; the button ends every other session, and this one stays."""
    desks = [place.page(**DESK) for _ in range(2)]
    phone = place.page(**PHONE)
    phone.reload()
    expect(phone.get_by_role("listitem")).to_have_count(3)
    assert phone.evaluate("document.documentElement.scrollWidth") == 360
    phone.get_by_role("button", name="Sign out all others").click()
    expect(phone.get_by_role("status")).to_have_text("All other devices are signed out.")
    for desk in desks:
        desk.reload()
        expect(desk.get_by_role("button", name="Sign in")).to_be_visible()
    phone.reload()
    expect(phone.get_by_role("listitem")).to_have_count(1)


def test_it_is_used_by_keyboard_in_the_dark(place: Place) -> None:
    """Tab reaches every button in order, visibly; Enter presses it."""
    place.page(**PHONE)
    page = place.page(user_agent=DESK["user_agent"], color_scheme="dark")
    names = ("Sign out", "Sign out all others", "Sign out Safari on iPhone")
    for name in names:
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        expect(focused).to_have_accessible_name(f"{name}, 127.0.0.1, signed in just now" if "Safari" in name else name)
        assert focused.evaluate("e => getComputedStyle(e).outlineStyle") != "none", "the focus must be visible"
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("That device is signed out.")


def test_with_sessions_in_cookies_one_signs_out_everywhere(
    start_gateway: StartGateway, recorder: RecorderUpstream, new_context: OpenContext
) -> None:
    """The page says that it cannot show others, and ends them all, this one too."""
    place = Place(start_gateway(gateway_config(route("app", "/", recorder.url))), new_context)
    phone, desk = place.page(**PHONE), place.page(**DESK)
    expect(desk.get_by_role("listitem")).to_have_count(1)
    desk.get_by_role("button", name="Sign out everywhere").click()
    expect(desk.get_by_text("You are signed out.")).to_be_visible()
    phone.reload()
    expect(phone.get_by_role("button", name="Sign in")).to_be_visible()
