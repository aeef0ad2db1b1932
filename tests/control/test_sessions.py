"""Seeing and ending one's own sessions, over a store that lists them, and over cookies, which cannot be listed."""

from __future__ import annotations

import json
import re

import pytest

from gateway.control import sessions_views
from gateway.core.session import Session
from gateway.errors import StoreUnavailable
from tests.control.conftest import StartSite
from tests.control.harness import Answer, Browser, ControlSite, Settings
from tests.support.users import ALICE, BOB, User
from tests.support.visitor import PAGE, PROGRAM

SESSIONS = "/_gateway/sessions"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/26.0 Mobile/15E148 Safari/604.1"
)
HOSTILE = "<script>alert(1)</script>/1.0"


@pytest.fixture
async def listing(start_site: StartSite) -> ControlSite:
    """A site whose sessions lie in a file."""
    return await start_site(Settings(sqlite=True))


async def signed_in(
    site: ControlSite,
    user: User = ALICE,
    *,
    agent: str = FIREFOX,
    client: str = "192.0.2.7",
    remember: bool = False,
) -> Browser:
    browser = site.browser(agent=agent, client=client)
    assert (await browser.login(user, remember=remember)).status == 303
    return browser


async def end(browser: Browser, **form: str) -> Answer:
    """Press a button of the sessions page."""
    page = await browser.get(SESSIONS)
    return await browser.post(SESSIONS, {"csrf_token": csrf_token(page), **form})


def csrf_token(page: Answer) -> str:
    """Return the token of the page's own form; the one in the bar is for signing out."""
    form = page.text[page.text.index(f'<form method="post" action="{SESSIONS}">') :]
    found = re.search(r'name="csrf_token" value="([^"]+)"', form)
    assert found
    return found[1]


def rows(page: Answer) -> list[tuple[str, str, str]]:
    """Return device, address and handle of each session on the page; this one has no handle to end it with."""
    found = []
    for text in re.findall(r'<li class="session">(.*?)</li>', page.text, re.DOTALL):
        device = re.search(r'<p class="device">([^<]*)', text)
        address = re.search(r"<dt>Address</dt><dd>([^<]*)</dd>", text)
        handle = re.search(r'name="handle" value="([^"]*)"', text)
        assert device
        assert address
        found.append((device[1].strip(), address[1], handle[1] if handle else ""))
    return found


async def session_of(browser: Browser) -> Session:
    session = await browser.session()
    assert session
    return session


async def test_it_shows_this_device_and_the_others_with_place_time_and_browser(listing: ControlSite) -> None:
    phone = await signed_in(listing, agent=SAFARI, client="198.51.100.4", remember=True)
    await signed_in(listing, agent="curl/8.0")
    listing.clock.move(3 * 3600 + 100)
    desk = await signed_in(listing)
    listing.clock.move(120)
    page = await desk.get(SESSIONS)
    assert page.status == 200
    assert rows(page) == [
        ("Firefox on Windows", "192.0.2.7", ""),
        ("Safari on iPhone", "198.51.100.4", (await session_of(phone)).handle),
    ], "what was idle for too long is no session any more"
    here, other = page.text.split('<li class="session">')[1:]
    assert "This device" in here
    assert "2 minutes ago" in here
    assert "This device" not in other
    assert '<time datetime="2027-01-15T08:00:00Z" title="2027-01-15T08:00:00Z">3 hours ago</time>' in other
    assert '"2027-02-14T08:00:00Z">in 30 days at the latest</time>' in other


async def test_local_users_are_told_whom_to_ask_for_a_new_password(listing: ControlSite) -> None:
    await signed_in(listing, agent=SAFARI)
    page = await (await signed_in(listing)).get(SESSIONS)
    assert "Sign it out, then ask whoever runs this site for a new password." in page.text


async def test_nobody_sees_the_sessions_of_somebody_else(listing: ControlSite) -> None:
    await signed_in(listing, BOB, client="203.0.113.9")
    page = await (await signed_in(listing)).get(SESSIONS)
    assert "203.0.113.9" not in page.text
    assert len(rows(page)) == 1
    assert "You are signed in nowhere else." in page.text


async def test_one_device_is_signed_out_from_another(listing: ControlSite) -> None:
    phone, tablet = await signed_in(listing, agent=SAFARI), await signed_in(listing, agent="curl/8.0")
    desk = await signed_in(listing)
    handle = (await session_of(phone)).handle
    answer = await end(desk, handle=handle)
    assert (answer.status, answer.headers["Location"]) == (303, f"{SESSIONS}?done=one")
    assert "That device is signed out." in (await desk.get(answer.headers["Location"])).text
    assert await phone.session() is None
    assert await tablet.session()
    assert await desk.session()
    (event,) = listing.audited("session_ended")
    assert (event.user, event.by, event.session, event.client) == ("alice", "user", handle, "192.0.2.7")
    assert event.reason == "Safari on iPhone"


async def test_all_other_devices_are_signed_out_at_once(listing: ControlSite) -> None:
    others = [await signed_in(listing) for _ in range(3)]
    bob = await signed_in(listing, BOB)
    desk = await signed_in(listing)
    answer = await end(desk, end="others")
    assert (answer.status, answer.headers["Location"]) == (303, f"{SESSIONS}?done=others")
    assert [await other.session() for other in others] == [None, None, None]
    assert await desk.session()
    assert await bob.session()
    (event,) = listing.audited("sessions_ended")
    assert (event.user, event.by, event.ended, event.client) == ("alice", "user", 3, "192.0.2.7")


async def test_a_handle_of_somebody_else_ends_nothing_and_tells_nothing(listing: ControlSite) -> None:
    bob = await signed_in(listing, BOB)
    alice = await signed_in(listing)
    for handle in ((await session_of(bob)).handle, "0" * 32, "../../x", "é"):
        answer = await end(alice, handle=handle)
        assert (answer.status, answer.headers["Location"]) == (303, f"{SESSIONS}?done=none")
    assert await bob.session()
    assert listing.audited("session_ended") == []


async def test_ending_what_has_ended_says_so(listing: ControlSite) -> None:
    phone, desk = await signed_in(listing), await signed_in(listing)
    handle = (await session_of(phone)).handle
    await end(desk, handle=handle)
    answer = await end(desk, handle=handle)
    assert "had ended already" in (await desk.get(answer.headers["Location"])).text
    assert len(listing.audited("session_ended")) == 1


async def test_ending_this_session_is_a_logout(listing: ControlSite) -> None:
    browser = await signed_in(listing)
    handle = (await session_of(browser)).handle
    answer = await end(browser, handle=handle)
    assert (answer.status, answer.headers["Location"]) == (303, "/_gateway/login?signed_out=1")
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert "__Host-gateway_session" not in browser.cookies
    assert [(event.user, event.session) for event in listing.audited("logout")] == [("alice", handle)]


async def test_many_sessions_are_counted_and_all_of_them_ended(
    listing: ControlSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_views, "SHOWN", 2)
    others = [await signed_in(listing) for _ in range(5)]
    desk = await signed_in(listing)
    page = await desk.get(SESSIONS)
    assert len(rows(page)) == 3
    assert "And 3 more, which are older." in page.text
    await end(desk, end="others")
    assert [other for other in others if await other.session()] == []


async def test_sessions_in_cookies_cannot_be_listed_but_ended_everywhere(site: ControlSite) -> None:
    phone, bob, desk = await signed_in(site), await signed_in(site, BOB), await signed_in(site)
    page = await desk.get(SESSIONS)
    assert [row[0] for row in rows(page)] == ["Firefox on Windows"]
    assert "it cannot show your others" in page.text
    assert 'name="end" value="others"' not in page.text
    answer = await end(desk, end="everywhere")
    assert (answer.status, answer.headers["Location"]) == (303, "/_gateway/login?signed_out=1")
    assert [await phone.session(), await desk.session()] == [None, None]
    assert "__Host-gateway_session" not in desk.cookies
    assert await bob.session()
    (event,) = site.audited("sessions_ended")
    assert (event.user, event.by, event.ended, event.reason) == ("alice", "user", 0, "all")
    site.clock.move(1)
    assert await (await signed_in(site)).session(), "a new login after it is good"


async def test_a_form_that_asks_for_nothing_that_is_there_is_refused(site: ControlSite, listing: ControlSite) -> None:
    for place, form in ((site, {}), (listing, {}), (listing, {"end": "all"}), (site, {"end": "others"})):
        browser = await signed_in(place)
        assert (await end(browser, **form)).status == 400
        assert await browser.session()


@pytest.mark.parametrize("form", [{"handle": "0" * 32}, {"end": "others"}, {"end": "everywhere"}])
async def test_a_form_that_is_not_from_the_page_ends_nothing(listing: ControlSite, form: dict[str, str]) -> None:
    phone, desk = await signed_in(listing), await signed_in(listing)
    if "handle" in form:
        form = {"handle": (await session_of(phone)).handle}
    logout = (await desk.get("/_gateway/logout")).field("csrf_token")
    of_phone = csrf_token(await phone.get(SESSIONS))
    for token in ("", "x", logout, of_phone):
        answer = await desk.post(SESSIONS, {"csrf_token": token, **form})
        assert answer.status == 403
        assert 'role="alert"' in answer.text
        assert await phone.session()
        assert await desk.session()
    good = csrf_token(await desk.get(SESSIONS))
    answer = await desk.post(SESSIONS, {"csrf_token": good, **form}, {"Origin": "https://evil.example"})
    assert answer.status == 403
    assert await phone.session()
    assert len(listing.audited("csrf_refused")) == 5
    again = await desk.post(SESSIONS, {"csrf_token": csrf_token(answer), **form})
    assert again.status == 303, "the page that refused works"


async def test_without_a_session_it_leads_to_the_login_and_back(site: ControlSite) -> None:
    browser = site.browser()
    login = f"/_gateway/login?next={SESSIONS}"
    for status, answer in (
        (302, await browser.get(SESSIONS)),
        (303, await browser.post(SESSIONS, {"end": "others"})),
    ):
        assert (answer.status, answer.headers["Location"]) == (status, login)
    answer = await browser.get(SESSIONS, PROGRAM)
    assert answer.status == 401
    assert json.loads(answer.text)["login"] == f"/_gateway/login?next={SESSIONS}"


async def test_a_store_that_fails_shows_nobody_anything(listing: ControlSite, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = await signed_in(listing)
    token = csrf_token(await browser.get(SESSIONS))

    async def fail(*_: object) -> None:
        raise StoreUnavailable("connection to 10.9.8.7 refused")

    monkeypatch.setattr(listing.store, "list", fail)
    answers = [await browser.get(SESSIONS)]
    answers += [
        await browser.post(SESSIONS, {"csrf_token": token, **form}) for form in ({"end": "others"}, {"handle": "a"})
    ]
    for answer in answers:
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert "10.9.8.7" not in answer.text
        assert not any("session=" in cookie for cookie in answer.cookies)
    assert listing.audited("sessions_ended") == []


async def test_what_was_ended_before_the_store_failed_is_in_the_log(
    listing: ControlSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await signed_in(listing)
    desk = await signed_in(listing)
    revoke, calls = listing.store.revoke, []

    async def fail_later(session: Session, *, spare: str) -> None:
        calls.append(session)
        if len(calls) > 2:
            raise StoreUnavailable("gone")
        await revoke(session, spare=spare)

    monkeypatch.setattr(listing.store, "revoke", fail_later)
    assert (await end(desk, end="others")).status == 503
    assert [event.ended for event in listing.audited("sessions_ended")] == [2]


async def test_an_agent_of_any_kind_is_no_markup(listing: ControlSite) -> None:
    await signed_in(listing, agent=HOSTILE)
    page = await (await signed_in(listing)).get(SESSIONS)
    assert "<script" not in page.text
    assert rows(page)[1][0] == "unknown browser"


async def test_a_login_over_a_session_tells_that_the_old_one_ended(listing: ControlSite) -> None:
    browser = await signed_in(listing)
    old = await session_of(browser)
    form = (await site_login_page(listing, browser)) | {"username": "bob", "password": BOB.password}
    assert (await browser.post("/_gateway/login", form)).status == 303
    (event,) = listing.audited("session_ended")
    assert (event.user, event.session, event.reason) == ("alice", old.handle, "a new login")
    logins = [(event.user, event.session) for event in listing.audited("login")]
    assert logins == [("alice", old.handle), ("bob", (await session_of(browser)).handle)]


async def site_login_page(site: ControlSite, browser: Browser) -> dict[str, str]:
    """Return the hidden fields of a login page that was opened before somebody signed in."""
    other = site.browser()
    other.cookies = {name: value for name, value in browser.cookies.items() if "browser" in name}
    return {"csrf_token": (await other.get("/_gateway/login")).field("csrf_token")}


async def test_the_portal_and_the_logout_page_lead_there(site: ControlSite) -> None:
    browser = await signed_in(site)
    for path in ("/_gateway/", "/_gateway/logout"):
        assert f'href="{SESSIONS}"' in (await browser.get(path, PAGE)).text
