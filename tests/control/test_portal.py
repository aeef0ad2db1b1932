"""The portal and ``/_gateway/me``: each user sees what is theirs."""

from __future__ import annotations

import json
import re

from tests.control.conftest import StartSite
from tests.control.harness import Browser, ControlSite, Settings, route
from tests.support.users import ADMIN, ALICE, BOB, User
from tests.support.visitor import PROGRAM


async def apps(browser: Browser) -> list[tuple[str, str]]:
    """Return link and title of each app that the portal lists."""
    page = (await browser.get("/_gateway/")).text
    return re.findall(r'<a class="app" href="([^"]*)">.*?<strong>([^<]*)</strong>', page)


async def test_the_portal_lists_the_apps_that_its_user_may_open(site: ControlSite) -> None:
    shared = [("/news", "news"), ("https://mail.example.com/", "mail")]
    wiki, reports = ("/wiki", "The wiki"), ("/reports", "reports")
    for user, expected in ((BOB, shared), (ALICE, [wiki, *shared]), (ADMIN, [wiki, reports, *shared])):
        browser = site.browser()
        await browser.login(user)
        assert await apps(browser) == expected


async def test_links_hold_on_the_host_where_one_is(site: ControlSite) -> None:
    browser = site.browser("mail.example.com")
    await browser.login(BOB)
    assert await apps(browser) == [("https://apps.example.com/news", "news"), ("/", "mail")]
    browser = site.browser("a.tenants.example.com")
    await browser.login(BOB)
    assert ("/", "tenants") in await apps(browser)


async def test_links_to_other_hosts_have_the_public_port(start_site: StartSite) -> None:
    settings = Settings(public_url="https://localhost:8443", routes=(route("mail", "/", host="mail.test"),))
    site = await start_site(settings)
    browser = site.browser("localhost:8443")
    await browser.login(BOB)
    assert await apps(browser) == [("https://mail.test:8443/", "mail")]


async def test_an_app_that_another_one_hides_is_not_listed(start_site: StartSite) -> None:
    routes = (route("hidden", "/"), route("shown", "/", host="apps.example.com"))
    site = await start_site(Settings(routes=routes))
    browser = site.browser()
    await browser.login(BOB)
    assert await apps(browser) == [("/", "shown")]


async def test_somebody_without_apps_is_told_so(start_site: StartSite) -> None:
    site = await start_site(Settings(routes=(route("reports", "/reports", groups=frozenset({"admins"})),)))
    browser = site.browser()
    await browser.login(BOB)
    assert "no app here that your account may open" in (await browser.get("/_gateway/")).text


async def test_without_a_session_a_browser_gets_the_login_and_a_program_a_problem(site: ControlSite) -> None:
    answer = await site.browser().get("/_gateway/")
    assert (answer.status, answer.headers["Location"]) == (302, "/_gateway/login?next=/_gateway/")
    answer = await site.browser().get("/_gateway/", PROGRAM)
    assert answer.status == 401
    assert json.loads(answer.text)["login"] == "/_gateway/login?next=/_gateway/"


async def test_the_address_without_its_slash_leads_to_the_portal(site: ControlSite) -> None:
    assert (await site.browser().get("/_gateway")).headers["Location"] == "/_gateway/"


async def test_me_tells_identity_and_times(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    answer = await browser.get("/_gateway/me", PROGRAM)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.text) == {
        "user": "alice",
        "name": "Alice Liddell",
        "email": "alice@example.com",
        "groups": ["staff", "wiki"],
        "method": "password",
        "session": {
            "created": "2027-01-15T08:00:00Z",
            "last_seen": "2027-01-15T08:00:00Z",
            "ends_if_idle": "2027-01-15T08:30:00Z",
            "expires": "2027-01-15T20:00:00Z",
            "remembered": False,
        },
    }


async def test_me_of_a_remembered_session_has_no_idle_end(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE, remember=True)
    times = json.loads((await browser.get("/_gateway/me", PROGRAM)).text)["session"]
    assert (times["ends_if_idle"], times["remembered"]) == (None, True)
    assert times["expires"] == "2027-02-14T08:00:00Z"


async def test_me_without_a_session_is_a_problem_for_anybody(site: ControlSite) -> None:
    answer = await site.browser().get("/_gateway/me")
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = json.loads(answer.text)
    assert (problem["status"], problem["request_id"]) == (401, "req-1")


async def test_names_from_the_users_file_cannot_become_markup(start_site: StartSite) -> None:
    user = User("eve", "markup 6", '<img src=x onerror="alert(1)">')
    site = await start_site(Settings(users=(user,), routes=(route("a", "/a", title="<script>alert(1)</script>"),)))
    browser = site.browser()
    await browser.login(user)
    page = (await browser.get("/_gateway/")).text
    assert "<img" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
