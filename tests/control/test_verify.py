"""Forward-auth: the same verdicts as for proxied requests, for a proxy that asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from gateway.control.pages import CSP
from gateway.core.cookie import CookiePolicy
from gateway.core.policy import Allow, Rule
from gateway.core.route import Route
from gateway.core.upstream import UpstreamAddress
from tests.control.conftest import StartSite
from tests.control.harness import HOST, Answer, Browser, ControlSite, Settings, route
from tests.support.users import ALICE, BOB
from tests.support.visitor import PAGE, PROGRAM


async def ask(
    browser: Browser,
    uri: str,
    *,
    method: str = "GET",
    host: str = HOST,
    by: str = "GET",
    headers: Mapping[str, str] = PROGRAM,
    redirect: bool = False,
) -> Answer:
    told = {"X-Gateway-Original-Method": method, "X-Gateway-Original-Host": host, "X-Gateway-Original-Uri": uri}
    return await browser.send(by, f"/_gateway/verify{'?redirect=1' * redirect}", {**headers, **told})


async def test_an_allowed_request_gets_200_and_the_identity(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    for by in ("GET", "POST", "HEAD"):
        answer = await ask(browser, "/wiki/page?x=1", by=by)
        assert answer.status == 200
        assert answer.headers["X-Forwarded-User"] == "alice"
        assert answer.headers["X-Forwarded-Groups"] == "staff,wiki"


async def test_without_a_session_it_is_401_with_the_login_that_leads_back(site: ControlSite) -> None:
    answer = await ask(site.browser(), "/wiki/page?x=1&y=2", host="mail.example.com")
    assert answer.status == 401
    login = "https://mail.example.com/_gateway/login?next=/wiki/page%3Fx%3D1%26y%3D2"
    assert answer.headers["Location"] == answer.headers["X-Gateway-Login"] == json.loads(answer.text)["login"] == login
    assert "X-Forwarded-User" not in answer.headers


async def test_a_browser_without_a_session_gets_a_page_that_leads_on_to_the_login(site: ControlSite) -> None:
    """Still 401: nginx knows nothing else; Caddy and Traefik show what they get."""
    answer = await ask(site.browser(), "/wiki/a?x=1&y='%22", headers=PAGE)
    assert answer.status == 401
    login = "https://apps.example.com/_gateway/login?next=/wiki/a%3Fx%3D1%26y%3D%27%2522"
    assert answer.headers["Location"] == answer.headers["X-Gateway-Login"] == login
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert f'<meta http-equiv="refresh" content="0;url={login}">' in answer.text
    assert f'href="{login}">Sign in</a>' in answer.text
    assert answer.headers["Content-Security-Policy"] == CSP


async def test_a_browser_is_redirected_if_the_proxy_asks_for_that(site: ControlSite) -> None:
    answer = await ask(site.browser(), "/wiki/a", headers=PAGE, redirect=True)
    assert answer.status == 302
    login = f"https://{HOST}/_gateway/login?next=/wiki/a"
    assert answer.headers["Location"] == answer.headers["X-Gateway-Login"] == login


@pytest.mark.parametrize(
    ("headers", "method"),
    [(PROGRAM, "GET"), ({**PAGE, "Sec-Fetch-Mode": "cors"}, "GET"), ({"Accept": "text/html"}, "POST"), ({}, "GET")],
)
async def test_what_is_no_browser_on_its_way_to_a_page_gets_401_in_any_case(
    site: ControlSite, headers: Mapping[str, str], method: str
) -> None:
    for redirect in (False, True):
        answer = await ask(site.browser(), "/wiki/a", method=method, headers=headers, redirect=redirect)
        assert answer.status == 401
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_redirect_is_for_the_login_only(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(BOB)
    assert (await ask(browser, "/wiki/page", headers=PAGE, redirect=True)).status == 403
    assert (await ask(browser, "/news/x", headers=PAGE, redirect=True)).status == 200
    assert (await ask(browser, "/wiki", host="other.example.org", headers=PAGE, redirect=True)).status == 403


async def test_the_host_that_is_asked_about_counts_and_not_the_one_asked(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    browser.host = "gateway:8080"
    assert (await ask(browser, "/wiki/page")).status == 200
    assert (await ask(browser, "/wiki/page", host="gateway:8080")).status == 403


@pytest.mark.parametrize("domain", [None, "example.com"])
async def test_a_login_from_too_long_an_address_leads_back_to_its_path(
    start_site: StartSite, domain: str | None
) -> None:
    """The login page would not take it, and nobody could log in."""
    site = await start_site(Settings(cookie=CookiePolicy(domain=domain)))
    answer = await ask(site.browser(), "/inbox?q=" + "%22" * 2000, host="mail.example.com")
    assert answer.status == 401
    origin = "https%3A//mail.example.com" if domain else ""
    assert answer.headers["Location"].endswith(f"/_gateway/login?next={origin}/inbox")


async def test_with_a_cookie_domain_the_login_is_on_the_public_host(start_site: StartSite) -> None:
    site = await start_site(Settings(cookie=CookiePolicy(domain="example.com")))
    answer = await ask(site.browser(), "/inbox", host="mail.example.com")
    assert answer.headers["Location"] == f"https://{HOST}/_gateway/login?next=https%3A//mail.example.com/inbox"


async def test_without_the_right_it_is_403(site: ControlSite) -> None:
    browser = site.browser()
    await browser.login(BOB)
    answer = await ask(browser, "/wiki/page")
    assert answer.status == 403
    assert json.loads(answer.text)["detail"] == "This is not open to you."


async def test_what_is_public_is_allowed_to_anybody(site: ControlSite) -> None:
    answer = await ask(site.browser(), "/news/today")
    assert answer.status == 200
    assert "X-Forwarded-User" not in answer.headers


@pytest.mark.parametrize(("uri", "host"), [("/nothing", HOST), ("/wiki", "other.example.org")])
async def test_what_no_route_serves_is_403(site: ControlSite, uri: str, host: str) -> None:
    browser = site.browser()
    await browser.login(ALICE)
    answer = await ask(browser, uri, host=host)
    assert answer.status == 403
    assert json.loads(answer.text)["detail"] == "No app of this site is at that address, so nobody is let in there."


@pytest.mark.parametrize("missing", ["Method", "Host", "Uri"])
async def test_a_request_of_which_too_little_is_told_is_400(site: ControlSite, missing: str) -> None:
    told = {"Method": "GET", "Host": HOST, "Uri": "/news"}
    del told[missing]
    headers = {f"X-Gateway-Original-{name}": value for name, value in told.items()}
    answer = await site.browser().send("GET", "/_gateway/verify", {**PROGRAM, **headers})
    assert answer.status == 400
    assert "trusted_proxies" in answer.text


@pytest.mark.parametrize("uri", ["/news/../wiki", "/news/%2e%2e/wiki", "news", "/news%00", "/news/..;/wiki"])
async def test_a_target_that_can_be_read_in_two_ways_is_400(site: ControlSite, uri: str) -> None:
    assert (await ask(site.browser(), uri)).status == 400


async def test_an_encoded_slash_is_refused_unless_the_route_passes_it(start_site: StartSite) -> None:
    for encoded_slashes, status in ((False, 400), (True, 200)):
        news = replace(route("news", "/news", public=True), pass_encoded_slashes=encoded_slashes)
        site = await start_site(Settings(routes=[news]))
        assert (await ask(site.browser(), "/news/a%2Fb")).status == status


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_a_method_that_is_never_proxied_is_403(site: ControlSite, method: str) -> None:
    assert (await ask(site.browser(), "/news/today", method=method)).status == 403


@pytest.mark.parametrize("host", [f"{HOST}:@evil.example", f"{HOST}:443@evil.example", f"{HOST}/x", f"{HOST}:999999"])
async def test_a_host_that_would_make_the_login_another_sites_is_400(site: ControlSite, host: str) -> None:
    answer = await ask(site.browser(), "/wiki", host=host)
    assert answer.status == 400
    assert "Location" not in answer.headers


@pytest.mark.parametrize("method", ["post", "Post", "POST /", "P\xc4ST", "P" * 33])
async def test_a_method_that_no_rule_may_know_is_400(start_site: StartSite, method: str) -> None:
    """Some servers take ``post`` for POST, so a rule about POST would be passed by; requests are refused for it too."""
    rules = (Rule("y:1", path="/wiki", methods=frozenset({"POST"}), allow=Allow(groups=frozenset({"admins"}))),)
    route = Route("wiki", (UpstreamAddress("127.0.0.1", 1),), Rule("y:2"), path="/wiki", rules=rules)
    site = await start_site(Settings(routes=(route,)))
    browser = site.browser()
    await browser.login(ALICE)
    assert (await ask(browser, "/wiki/page", method="GET")).status == 200
    assert (await ask(browser, "/wiki/page", method="POST")).status == 403
    assert (await ask(browser, "/wiki/page", method=method)).status == 400


async def test_readings_of_a_path_that_lead_to_different_rules_are_403(start_site: StartSite) -> None:
    secret = Rule("g:2", path="/app/secret", allow=Allow(groups=frozenset({"admins"})))
    app = Route("app", (UpstreamAddress("127.0.0.1", 9),), Rule("g:1", public=True), path="/app", rules=(secret,))
    site = await start_site(Settings(routes=(app,)))
    browser = site.browser()
    assert (await ask(browser, "/app/open//page")).status == 200
    assert (await ask(browser, "/app//secret")).status == 403
    assert (await ask(browser, "/app/secret;x=1")).status == 403
    assert (await ask(browser, "/app/Secret")).status == 403
    assert (await ask(browser, "/app/Open")).status == 200
