"""Forms are taken from our own pages only, and from all of them: many tabs, a restored browser."""

from __future__ import annotations

import pytest

from gateway.control.csrf import CsrfGuard
from gateway.core.cookie import CookiePolicy
from tests.control.conftest import StartSite
from tests.control.harness import HOST, Browser, ControlSite, Settings
from tests.support.users import ALICE, BOB

LOGIN, LOGOUT = "/_gateway/login", "/_gateway/logout"
COOKIE = "__Host-gateway_browser"
FORM = {"username": "alice", "password": ALICE.password, "next": "/wiki"}


async def token(browser: Browser, path: str = LOGIN) -> str:
    return (await browser.get(path)).field("csrf_token")


async def assert_refused_but_fresh(site: ControlSite, browser: Browser, form: dict[str, str], reason: str) -> None:
    """A refused form comes back with what was typed and a token with which the next try works."""
    answer = await browser.post(LOGIN, form)
    assert answer.status == 403
    assert 'role="alert"' in answer.text
    assert (answer.field("username"), answer.field("next")) == ("alice", "/wiki")
    assert await browser.session() is None
    assert site.audited("csrf_refused")[-1].reason == reason
    again = {**FORM, "csrf_token": answer.field("csrf_token")}
    assert (await browser.post(LOGIN, again)).status == 303


async def test_a_form_without_a_token_is_refused(site: ControlSite) -> None:
    browser = site.browser()
    await token(browser)
    await assert_refused_but_fresh(site, browser, FORM, "no token")


@pytest.mark.parametrize("made_up", ["x", "A" * 54, "é" * 20, "A" * 53 + "=", "a b", "-" * 54])
async def test_a_made_up_token_is_refused(site: ControlSite, made_up: str) -> None:
    browser = site.browser()
    await token(browser)
    answer = await browser.post(LOGIN, {**FORM, "csrf_token": made_up})
    assert answer.status == 403


async def test_a_token_of_another_browser_is_refused(site: ControlSite) -> None:
    browser = site.browser()
    await token(browser)
    stolen = await token(site.browser())
    await assert_refused_but_fresh(site, browser, {**FORM, "csrf_token": stolen}, "stale token")


async def test_a_browser_that_kept_no_cookie_is_told_so(site: ControlSite) -> None:
    browser = site.browser()
    form = {**FORM, "csrf_token": await token(browser)}
    browser.cookies.clear()
    answer = await browser.post(LOGIN, form)
    assert answer.status == 403
    assert "Allow cookies" in answer.text


async def test_a_browser_that_cannot_keep_the_cookie_over_http_is_sent_to_https(site: ControlSite) -> None:
    browser = site.browser(scheme="http")
    form = {**FORM, "csrf_token": await token(browser)}
    browser.cookies.clear()
    assert "https only" in (await browser.post(LOGIN, form)).text


async def test_any_number_of_tabs_works_in_any_order(site: ControlSite) -> None:
    browser = site.browser()
    tokens = [await token(browser) for _ in range(5)]
    assert len(set(tokens)) == 5
    for value in reversed(tokens):
        assert (await browser.post(LOGIN, {**FORM, "csrf_token": value})).status == 303


async def test_a_restored_browser_can_send_the_page_it_shows(site: ControlSite) -> None:
    browser = site.browser()
    page = await browser.get(LOGIN)
    lasting = [line.partition("=")[0] for line in page.cookies if "; Max-Age=" in line]
    assert lasting == [COOKIE]
    browser.restart(lasting)
    site.clock.move(3 * 86400)
    assert (await browser.post(LOGIN, {**FORM, "csrf_token": page.field("csrf_token")})).status == 303


async def test_the_browser_cookie_stays_the_same_and_is_locked_down(site: ControlSite) -> None:
    browser = site.browser()
    (cookie,) = (await browser.get(LOGIN)).cookies
    assert cookie.startswith(f"{COOKIE}=")
    assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
    value = browser.cookies[COOKIE]
    await browser.login(ALICE)
    await browser.get(LOGOUT)
    assert browser.cookies[COOKIE] == value


async def test_on_http_the_cookie_has_no_prefix_that_browsers_would_refuse(start_site: StartSite) -> None:
    site = await start_site(Settings(public_url="http://localhost:8080", cookie=CookiePolicy(secure=False)))
    browser = site.browser("localhost:8080", scheme="http")
    (cookie,) = (await browser.get(LOGIN)).cookies
    assert cookie.startswith("gateway_browser=")
    assert "Secure" not in cookie
    assert (await browser.login(ALICE)).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://{HOST}:8443"},
        {"Origin": f"http://{HOST}"},
        {"Origin": f"https://{HOST}.evil.example"},
        {"Origin": f"https://sub.{HOST}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_a_form_sent_by_another_sites_page_is_refused(site: ControlSite, headers: dict[str, str]) -> None:
    browser = site.browser()
    form = {**FORM, "csrf_token": await token(browser)}
    answer = await browser.post(LOGIN, form, headers)
    assert answer.status == 403
    assert answer.field("username") == ""
    assert await browser.session() is None
    assert site.audited("csrf_refused")[0].reason.startswith("sent from a page of")


@pytest.mark.parametrize(
    ("scheme", "host", "headers"),
    [
        ("https", HOST, {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "same-origin"}),
        ("https", HOST, {"Sec-Fetch-Site": "none"}),
        ("https", f"{HOST}:443", {"Origin": f"https://{HOST}"}),
        ("https", f"{HOST}:8443", {"Origin": f"https://{HOST}:8443"}),
        # TLS ends at a proxy that is not in trusted_proxies.
        ("http", HOST, {"Origin": f"https://{HOST}"}),
    ],
)
async def test_our_own_origin_is_taken_however_it_is_written(
    site: ControlSite, scheme: str, host: str, headers: dict[str, str]
) -> None:
    browser = site.browser(host, scheme=scheme)
    form = {**FORM, "csrf_token": await token(browser)}
    assert (await browser.post(LOGIN, form, headers)).status == 303


async def test_a_logout_needs_a_token_of_this_very_session(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    of_first = await token(browser, LOGOUT)
    login = await token(site.browser())
    for wrong in ("", login, await token_for(site, browser, "login")):
        answer = await browser.post(LOGOUT, {"csrf_token": wrong})
        assert answer.status == 403
        assert await browser.session()
    browser.cookies.pop("__Host-gateway_session")
    await browser.login(BOB)
    answer = await browser.post(LOGOUT, {"csrf_token": of_first})
    assert answer.status == 403
    assert (await browser.post(LOGOUT, {"csrf_token": answer.field("csrf_token")})).status == 303


async def token_for(site: ControlSite, browser: Browser, purpose: str) -> str:
    """Return a token of this browser for another form."""
    guard = CsrfGuard(site.parts.csrf_keys, secure=True, random=site.parts.random)
    session = await browser.session()
    own = guard.new_browser()
    browser.cookies[COOKIE] = guard.set_cookie(own, 0.0).partition("=")[2].partition(";")[0]
    return guard.token(own, purpose, session.id if session else b"")


async def test_a_foreign_page_cannot_log_anybody_out(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    form = {"csrf_token": await token(browser, LOGOUT)}
    assert (await browser.post(LOGOUT, form, {"Origin": "https://evil.example"})).status == 403
    assert await browser.session()


@pytest.mark.parametrize(
    "forged",
    [
        "x=1, {good}",
        "x=1\u00a0; y={good}",
        'x="1; y={good}',
        "{name}=AAAAAAAAAAAAAAAAAAAAAA; {good}",
        "{lower}",
        "\u2003{good}",
    ],
)
async def test_a_cookie_that_only_a_lenient_parser_sees_is_none(site: ControlSite, forged: str) -> None:
    browser = site.browser()
    value = await token(browser)
    good = f"{COOKIE}={browser.cookies[COOKIE]}"
    line = forged.format(good=good, name=COOKIE, lower=good.lower())
    browser.cookies.clear()
    answer = await browser.post(LOGIN, {**FORM, "csrf_token": value}, {"Cookie": line})
    assert answer.status == 403


@pytest.mark.parametrize("line", ["{good}", "a=b;{good}", "a=b; \t{good} ; c", "{good}; {good}"])
async def test_the_cookie_is_found_among_others(site: ControlSite, line: str) -> None:
    browser = site.browser()
    value = await token(browser)
    line = line.format(good=f"{COOKIE}={browser.cookies[COOKIE]}")
    browser.cookies.clear()
    answer = await browser.post(LOGIN, {**FORM, "csrf_token": value}, {"Cookie": line})
    assert answer.status == 303


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="less than 32 bytes"):
        CsrfGuard([b"short"], secure=True, random=bytes)
