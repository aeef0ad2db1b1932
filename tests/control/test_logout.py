"""Logging out ends the session at the server, and nothing private stays behind."""

from __future__ import annotations

from tests.control.conftest import StartSite
from tests.control.harness import Browser, ControlSite, Settings
from tests.support.users import ALICE, User

LOGOUT = "/_gateway/logout"


async def log_out(browser: Browser, **more: str) -> str:
    page = await browser.get(LOGOUT)
    answer = await browser.post(LOGOUT, {"csrf_token": page.field("csrf_token"), **more})
    assert answer.status == 303
    return answer.headers["Location"]


async def test_a_logout_asks_first_then_ends_the_session_and_says_so(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    asked = await browser.get(LOGOUT)
    assert asked.status == 200
    assert "Alice Liddell" in asked.text
    assert await browser.session()
    location = await log_out(browser)
    assert location == "/_gateway/login?signed_out=1"
    assert "You are signed out." in (await browser.get(location)).text
    assert [event.user for event in site.audited("logout")] == ["alice"]


async def test_a_copied_cookie_is_worth_nothing_after_the_logout(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE, remember=True)
    copied = dict(browser.cookies)
    await log_out(browser)
    assert "__Host-gateway_session" not in browser.cookies
    browser.cookies = copied
    assert await browser.session() is None
    assert (await browser.get("/_gateway/me")).status == 401


async def test_what_was_shown_is_not_kept_for_the_back_button(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    shown = await browser.get("/_gateway/")
    assert "Alice Liddell" in shown.text
    assert shown.headers["Cache-Control"] == "no-store"
    await log_out(browser)
    again = await browser.get("/_gateway/")
    assert (again.status, again.headers["Location"]) == (302, "/_gateway/login?next=/_gateway/")


async def test_all_parts_of_a_split_cookie_are_removed(start_site: StartSite) -> None:
    crowd = User("crowd", "many groups 5", "C", tuple(f"group-{number:04}" for number in range(280)))
    site = await start_site(Settings(users=(crowd,)))
    browser = site.browser()
    await browser.login(crowd)
    assert {"__Host-gateway_session", "__Host-gateway_session_1"} < set(browser.cookies)
    await log_out(browser)
    assert set(browser.cookies) == {"__Host-gateway_browser"}


async def test_a_logout_without_a_session_clears_the_cookies_and_asks_nothing(site: ControlSite) -> None:
    browser = site.browser()
    assert (await browser.get(LOGOUT)).headers["Location"] == "/_gateway/login?signed_out=1"
    answer = await browser.post(LOGOUT, {})
    assert (answer.status, answer.headers["Location"]) == (303, "/_gateway/login?signed_out=1")
    assert any(line.startswith("__Host-gateway_session=; Max-Age=0") and "; Secure" in line for line in answer.cookies)
    assert site.audited("logout") == []


async def test_the_second_of_two_logout_tabs_finds_it_done(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    other_tab = (await browser.get(LOGOUT)).field("csrf_token")
    await log_out(browser)
    assert (await browser.post(LOGOUT, {"csrf_token": other_tab})).status == 303


async def test_a_logout_can_lead_back_through_another_login(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    location = await log_out(browser, next="/reports?x=1&y=2")
    assert location == "/_gateway/login?signed_out=1&next=/reports%3Fx%3D1%26y%3D2"
    assert (await browser.get(location)).field("next") == "/reports?x=1&y=2"


async def test_sessions_end_by_themselves_too(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    site.clock.move(31 * 60)
    assert (await browser.get("/_gateway/me")).status == 401
