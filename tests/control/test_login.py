"""Logging in by the form: what succeeds, what fails, and what the browser is told."""

from __future__ import annotations

import asyncio
import threading
from urllib.parse import quote

import pytest

from gateway.core.cookie import CookiePolicy
from gateway.login.hash_pool import HashPool
from tests.control.conftest import StartSite
from tests.control.harness import FORM, HOST, Browser, ControlSite, Settings
from tests.support.users import ADMIN, ALICE, BOB, CAROL, User
from tests.support.visitor import PAGE

LOGIN = "/_gateway/login"
NOBODY = User("nobody", "any password", "No Body")


async def filled(browser: Browser, user: User) -> dict[str, str]:
    """Return the form of a fresh login page, filled in."""
    page = await browser.get(LOGIN)
    return {"username": user.user, "password": user.password, "csrf_token": page.field("csrf_token")}


async def test_the_right_password_opens_a_session_and_leads_on(site: ControlSite) -> None:
    browser = site.browser()
    answer = await browser.login(ALICE, next_url="/wiki/start?x=1")
    assert (answer.status, answer.headers["Location"]) == (303, "/wiki/start?x=1")
    session = await browser.session()
    assert session is not None
    assert (session.identity.user, session.identity.groups) == ("alice", ("staff", "wiki"))
    assert session.identity.method == "password"
    (event,) = site.audited("login")
    assert (event.user, event.client, event.request_id) == ("alice", "192.0.2.7", "req-1")
    assert event.user_agent == "test browser"


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [(ALICE, "wrong", "wrong password"), (NOBODY, "", "unknown user"), (CAROL, "", "disabled user")],
)
async def test_a_failed_login_says_the_same_whatever_was_wrong(
    site: ControlSite, user: User, password: str, reason: str
) -> None:
    browser = site.browser()
    answer = await browser.login(user, password=password, next_url="/wiki")
    assert answer.status == 401
    assert "That username and password do not match." in answer.text
    assert answer.field("username") == user.user
    assert answer.field("next") == "/wiki"
    assert answer.field("password") == ""
    assert await browser.session() is None
    (event,) = site.audited("login_failed")
    assert (event.user, event.reason, event.client) == (user.user, reason, "192.0.2.7")


async def test_the_page_after_a_failure_can_be_sent_again_as_it_is(site: ControlSite) -> None:
    browser = site.browser()
    failed = await browser.login(ALICE, password="wrong")
    form = {"username": "alice", "password": ALICE.password, "csrf_token": failed.field("csrf_token")}
    assert (await browser.post(LOGIN, form)).status == 303


async def test_spaces_around_a_user_name_do_not_matter_but_around_a_password_they_do(site: ControlSite) -> None:
    browser = site.browser()
    form = {**await filled(browser, ALICE), "username": " alice "}
    assert (await browser.post(LOGIN, {**form, "password": ALICE.password + " "})).status == 401
    assert (await browser.post(LOGIN, form)).status == 303


async def test_a_second_login_has_a_new_id_and_ends_the_session_before_it(site: ControlSite) -> None:
    browser = site.browser()
    other_tab = await filled(browser, BOB)
    await browser.login(ALICE)
    first, stolen = await browser.session(), dict(browser.cookies)
    assert (await browser.post(LOGIN, other_tab)).status == 303
    second = await browser.session()
    assert first
    assert second
    assert second.identity.user == "bob"
    assert first.id != second.id
    browser.cookies = stolen
    assert await browser.session() is None


async def test_a_session_that_somebody_planted_is_not_the_one_after_the_login(site: ControlSite) -> None:
    attacker, victim = site.browser(), site.browser()
    await attacker.login(BOB)
    victim.cookies = dict(attacker.cookies)
    page = await site.browser().get(LOGIN)
    assert page.status == 200
    victim.cookies.update({"__Host-gateway_browser": page.cookies[0].partition("=")[2].partition(";")[0]})
    form = {"username": "alice", "password": ALICE.password, "csrf_token": page.field("csrf_token")}
    assert (await victim.post(LOGIN, form)).status == 303
    session = await victim.session()
    assert session
    assert session.identity.user == "alice"
    assert await attacker.session() is None


async def test_somebody_signed_in_goes_on_from_the_login_page_at_once(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    answer = await browser.get(f"{LOGIN}?next=/wiki")
    assert (answer.status, answer.headers["Location"]) == (303, "/wiki")


async def test_without_next_a_login_leads_to_the_root_app_or_else_to_the_portal(site: ControlSite) -> None:
    assert (await site.browser().login(ALICE)).headers["Location"] == "/_gateway/"
    assert (await site.browser("mail.example.com").login(ALICE)).headers["Location"] == "/"


async def test_logins_are_throttled_with_a_time_to_come_back(site: ControlSite) -> None:
    browser = site.browser()
    form = {**await filled(browser, ALICE), "password": "wrong", "next": "/wiki"}
    answers = [await browser.post(LOGIN, form) for _ in range(7)]
    assert [answer.status for answer in answers] == [401] * 6 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert "Too many attempts. Try again in" in answers[-1].text
    assert answers[-1].field("next") == "/wiki"
    assert site.audited("login_throttled")[0].user == "alice"
    right = {**form, "password": ALICE.password}
    assert (await browser.post(LOGIN, right)).status == 429
    site.ticks.move(int(answers[-1].headers["Retry-After"]))
    assert (await browser.post(LOGIN, right)).status == 303


async def test_parallel_guesses_are_throttled_before_any_is_answered(site: ControlSite) -> None:
    browser = site.browser()
    form = {**await filled(browser, ALICE), "password": "wrong"}
    answers = await asyncio.gather(*(browser.post(LOGIN, form) for _ in range(40)))
    assert sorted({answer.status for answer in answers}) == [401, 429]
    assert sum(answer.status == 401 for answer in answers) <= 6


async def test_a_client_that_its_proxy_does_not_name_counts_as_the_proxy(site: ControlSite) -> None:
    """Nobody's address is not everybody's: what comes by one proxy is not counted with what comes by another."""
    await site.browser(client="unknown, 10.0.0.1").login(ALICE)
    for number in range(40):
        await site.browser(client=f"198.51.100.{number}").login(ALICE, password="guess")
    assert (await site.browser(client="unknown, 10.0.0.2").login(ALICE)).status == 429
    assert (await site.browser(client="unknown, 10.0.0.1").login(ALICE)).status == 303
    assert [event.client for event in site.audited("login")] == ["", ""]


async def test_failures_elsewhere_do_not_lock_out_a_browser_that_logged_in_before(site: ControlSite) -> None:
    owner = site.browser()
    await owner.login(ALICE)
    for number in range(40):
        attacker = site.browser(client=f"198.51.100.{number}")
        await attacker.login(ALICE, password="guess")
    newcomer = site.browser(client="203.0.113.9")
    assert (await newcomer.login(ALICE)).status == 429
    owner.address = "203.0.113.10"
    form = await filled(site.browser(), ALICE)
    owner.cookies.pop("__Host-gateway_session")
    form = await filled(owner, ALICE)
    assert (await owner.post(LOGIN, form)).status == 303


async def test_more_logins_than_can_be_hashed_get_503_and_do_not_count_as_failures(start_site: StartSite) -> None:
    pool, gate = HashPool(threads=1, waiting=0), threading.Event()
    site = await start_site(Settings(pool=pool))
    browser = site.browser()
    form = {**await filled(browser, ALICE), "next": "/wiki"}
    job = asyncio.create_task(pool.run(gate.wait))
    await asyncio.sleep(0)
    answers = [await browser.post(LOGIN, form) for _ in range(20)]
    gate.set()
    assert await job
    assert {answer.status for answer in answers} == {503}
    assert answers[0].headers["Retry-After"]
    assert (answers[0].field("username"), answers[0].field("next")) == ("alice", "/wiki")
    assert (await browser.post(LOGIN, form)).status == 303
    assert site.parts.logins.by_outcome()["busy"] == 20


async def test_remember_me_makes_a_lasting_cookie_and_session(site: ControlSite) -> None:
    browser = site.browser()
    answer = await browser.login(ALICE, remember=True)
    (cookie,) = (line for line in answer.cookies if line.startswith("__Host-gateway_session="))
    assert f"; Max-Age={30 * 86400}; Expires=" in cookie
    session = await browser.session()
    assert session
    assert session.remembered
    site.clock.move(20 * 86400)
    assert await browser.session()
    site.clock.move(11 * 86400)
    assert await browser.session() is None


async def test_without_remember_me_the_cookie_ends_with_the_browser(site: ControlSite) -> None:
    browser = site.browser()
    answer = await browser.login(ALICE)
    (cookie,) = (line for line in answer.cookies if line.startswith("__Host-gateway_session="))
    assert "Max-Age" not in cookie
    assert "Expires" not in cookie
    assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")


async def test_where_remember_me_is_off_it_is_neither_offered_nor_given(start_site: StartSite) -> None:
    settings = Settings()
    settings.lifetimes = type(settings.lifetimes)(remember=None)
    site = await start_site(settings)
    browser = site.browser()
    assert "Keep me signed in" not in (await browser.get(LOGIN)).text
    await browser.login(ALICE, remember=True)
    session = await browser.session()
    assert session
    assert not session.remembered


async def test_a_large_session_is_split_over_cookies_and_surplus_ones_are_removed(start_site: StartSite) -> None:
    crowd = User("crowd", "many groups 5", "C", tuple(f"group-{number:04}" for number in range(280)))
    site = await start_site(Settings(users=(crowd, ALICE)))
    browser = site.browser()
    other_tab = await filled(browser, ALICE)
    answer = await browser.login(crowd)
    assert [line.partition("=")[0] for line in answer.cookies] == ["__Host-gateway_session", "__Host-gateway_session_1"]
    session = await browser.session()
    assert session
    assert session.identity.user == "crowd"
    answer = await browser.post(LOGIN, other_tab)
    assert [line.partition("=")[0] for line in answer.cookies] == ["__Host-gateway_session", "__Host-gateway_session_1"]
    assert "Max-Age=0" in answer.cookies[1]
    assert set(browser.cookies) == {"__Host-gateway_browser", "__Host-gateway_session"}


async def test_a_session_too_large_for_cookies_is_refused_with_the_way_out(start_site: StartSite) -> None:
    crowd = User("crowd", "many groups 5", "C", tuple(f"group-{number:05}" for number in range(900)))
    site = await start_site(Settings(users=(crowd,)))
    browser = site.browser()
    answer = await browser.login(crowd)
    assert answer.status == 500
    assert "session.store" in answer.text
    assert "__Host-gateway_session" not in browser.cookies
    assert site.audited("login") == []
    assert site.audited("login_failed")[0].reason == "the session is too large for cookies"


@pytest.mark.parametrize(
    ("content", "body", "status"),
    [
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 415),
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({}, b"username=alice", 415),
        ({**FORM, "Content-Encoding": "gzip"}, b"\x1f\x8b\x08\x00\x00\x00\x00\x00", 415),
        ({"Content-Type": "application/x-www-form-urlencoded; charset=utf-16"}, b"a=b", 415),
        (FORM, b"username=alice&username=bob", 400),
        (FORM, b"&".join(b"f%d=1" % number for number in range(40)), 400),
        (FORM, b"username=" + b"a" * 40_000, 413),
    ],
)
async def test_any_other_body_than_a_plain_form_is_refused(
    site: ControlSite, content: dict[str, str], body: bytes, status: int
) -> None:
    answer = await site.browser().send("POST", LOGIN, {"Accept": "application/json", **content}, body)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_form_may_name_utf_8_and_hold_any_letters(start_site: StartSite) -> None:
    user = User("jürgen", "pässwörd ☃", "Jürgen")
    site = await start_site(Settings(users=(user,)))
    browser = site.browser()
    page = await browser.get(LOGIN)
    form = f"username=j%C3%BCrgen&password=p%C3%A4ssw%C3%B6rd+%E2%98%83&csrf_token={page.field('csrf_token')}"
    content = {**PAGE, "Content-Type": 'application/x-www-form-urlencoded; charset="UTF-8"'}
    assert (await browser.send("POST", LOGIN, content, form.encode())).status == 303


@pytest.mark.parametrize("odd", [b"%ff%fe", b"\xff", b"%ed%a0%80", b"javascript:%a0alert(1)"])
async def test_bytes_that_are_no_text_are_no_user_and_no_place_to_go(site: ControlSite, odd: bytes) -> None:
    browser = site.browser()
    form = await filled(browser, ALICE)
    token = f"&csrf_token={form['csrf_token']}".encode()
    sent = {**PAGE, **FORM}
    assert (await browser.send("POST", LOGIN, sent, b"username=" + odd + b"&password=" + odd + token)).status == 401
    body = f"username=alice&password={quote(ALICE.password)}&next=".encode() + odd + token
    answer = await browser.send("POST", LOGIN, sent, body)
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_a_password_over_1024_bytes_is_a_wrong_one(site: ControlSite) -> None:
    answer = await site.browser().login(ALICE, password=ALICE.password + "x" * 1024)
    assert answer.status == 401


async def test_with_a_cookie_domain_the_login_page_is_on_the_public_host_alone(start_site: StartSite) -> None:
    site = await start_site(Settings(cookie=CookiePolicy(domain="example.com")))
    answer = await site.browser("mail.example.com").get(f"{LOGIN}?next=/inbox%3Fa%3D1")
    assert answer.status == 302
    back = "https%3A//mail.example.com/inbox%3Fa%3D1"
    assert answer.headers["Location"] == f"https://{HOST}/_gateway/login?next={back}"
    answer = await site.browser("mail.example.com").get(f"{LOGIN}?next=https://{HOST}/wiki")
    assert answer.headers["Location"] == f"https://{HOST}/_gateway/login?next=https%3A//{HOST}/wiki"
    browser = site.browser()
    answer = await browser.login(ADMIN, next_url="https://mail.example.com/inbox?a=1")
    assert answer.headers["Location"] == "https://mail.example.com/inbox?a=1"
    *removed, cookie = (line for line in answer.cookies if line.startswith("__Secure-gateway_session="))
    # One for the host alone, as from before the domain was configured, would come back beside it.
    assert all("Max-Age=0" in line and "Domain" not in line for line in removed)
    assert "; Domain=example.com; Secure" in cookie


async def test_where_no_login_method_is_configured_the_page_says_so(start_site: StartSite) -> None:
    site = await start_site(Settings(local_login=False))
    browser = site.browser()
    page = await browser.get(LOGIN)
    assert page.status == 200
    assert "No way to sign in is set up" in page.text
    assert (await browser.post(LOGIN, {"username": "alice"})).status == 404


async def test_logins_are_counted_by_outcome(site: ControlSite) -> None:
    await site.browser().login(ALICE)
    await site.browser().login(ALICE, password="wrong")
    await site.browser().post(LOGIN, {"username": "alice"})
    counted = site.parts.logins.by_outcome()
    assert {outcome: count for outcome, count in counted.items() if count} == {"success": 1, "failure": 1, "csrf": 1}
