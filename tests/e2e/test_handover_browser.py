"""A real Chromium on three hosts under two domains, over https: log in once, open all, log out once."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.conftest import StartGateway
from tests.support.browser import PATIENCE_MS, launch, launch_with_profile, sign_in
from tests.support.certificates import make_certificate
from tests.support.gateway import GatewayProcess, new_key
from tests.support.hosts_site import HOSTS, PUBLIC, TENANT, WIKI, start_hosts
from tests.support.messages import Request
from tests.support.oidc_site import audited, only_audited
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE

RULES = "--host-resolver-rules=MAP *.example.com 127.0.0.1, MAP *.example.org 127.0.0.1"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = launch(playwright, RULES)
    yield browser
    browser.close()


@dataclass
class Stage:
    """A gateway on https, and a browser without memory."""

    gateway: GatewayProcess
    context: BrowserContext

    def url(self, host: str, target: str = "/") -> str:
        return f"https://{host}:{self.gateway.port}{target}"

    def open_app(self, page: Page, host: str, target: str = "/") -> None:
        """Open an app, whose page must be shown to alice."""
        page.goto(self.url(host, target))
        expect(page).to_have_url(self.url(host, target))
        expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()

    def sign_in(self, page: Page, host: str, target: str = "/") -> None:
        """Open an app as nobody, and sign in where that leads."""
        page.goto(self.url(host, target))
        expect(page).to_have_url(re.compile(re.escape(self.url(PUBLIC, "/_gateway/login?"))))
        expect(page.get_by_text("to continue to")).to_contain_text(host)
        sign_in(page, ALICE.user, ALICE.password)
        expect(page).to_have_url(self.url(host, target))
        expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()


def greet(request: Request) -> bytes:
    """Answer with a page that names the user."""
    body = b"<!doctype html><title>App</title><h1>Hello %b</h1>" % (request.get("X-Forwarded-User") or "").encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream(greet) as upstream:
        yield upstream
        assert upstream.violations == []


def https_hosts(
    start_gateway: StartGateway, app: RecorderUpstream, folder: Path, same_site: str = "lax"
) -> GatewayProcess:
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    certificate, key = make_certificate(folder, "hosts", start=now - day, end=now + day)
    session = {"keys": [new_key()], "cookie": {"same_site": same_site}}
    tls = {"certificate": str(certificate), "key": str(key)}
    return start_hosts(start_gateway, app, "https", tls=tls, session=session)


@pytest.fixture(params=["lax", "strict"])
def stage(
    request: pytest.FixtureRequest,
    chromium: Browser,
    start_gateway: StartGateway,
    app: RecorderUpstream,
    tmp_path: Path,
) -> Iterator[Stage]:
    gateway = https_hosts(start_gateway, app, tmp_path, request.param)
    context = chromium.new_context(ignore_https_errors=True)
    context.set_default_timeout(PATIENCE_MS)
    yield Stage(gateway, context)
    context.close()
    gateway.assert_no_traceback()


def test_one_login_opens_all_hosts_and_one_logout_closes_them(stage: Stage) -> None:
    page = stage.context.new_page()
    stage.sign_in(page, WIKI, "/page?year=2026")
    for host in (PUBLIC, TENANT, WIKI):
        stage.open_app(page, host, "/other")
    assert {
        cookie["domain"] for cookie in stage.context.cookies() if cookie["name"] == "__Host-gateway_session"
    } == set(HOSTS)
    only_audited(stage.gateway, "login")
    page.goto(stage.url(TENANT, "/_gateway/logout"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    for host in HOSTS:
        page.goto(stage.url(host))
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        assert page.url.startswith(stage.url(PUBLIC, "/_gateway/login"))


def test_tabs_on_several_hosts_all_arrive(stage: Stage) -> None:
    """All wait at the login; after one of them has signed in, the others go on when they are loaded again."""
    places = [(host, f"/tab/{number}") for number, host in enumerate((WIKI, WIKI, TENANT, PUBLIC))]
    pages = [stage.context.new_page() for _ in places]
    for page, (host, target) in zip(pages, places, strict=True):
        page.goto(stage.url(host, target))
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    sign_in(pages[0], ALICE.user, ALICE.password)
    expect(pages[0]).to_have_url(stage.url(*places[0]))
    for page, (host, target) in list(zip(pages, places, strict=True))[1:]:
        page.reload()
        expect(page).to_have_url(stage.url(host, target))
        expect(page.get_by_role("heading", name="Hello alice")).to_be_visible()
    assert audited(stage.gateway, "handover_refused") == []


def test_the_way_back_leads_through_no_circle(stage: Stage) -> None:
    """The back button, and the address with the code loaded again, end on the app."""
    page = stage.context.new_page()
    codes: list[str] = []
    page.on("request", lambda request: codes.append(request.url) if "handover?code=" in request.url else None)
    stage.sign_in(page, WIKI, "/one")
    page.goto(codes[0])
    expect(page).to_have_url(stage.url(WIKI))
    page.go_back()
    page.wait_for_load_state()
    assert audited(stage.gateway, "handover_refused") == []
    stage.open_app(page, WIKI, "/two")


def test_a_browser_that_keeps_no_cookies_of_a_host_is_told_so(
    playwright: Playwright, start_gateway: StartGateway, app: RecorderUpstream, tmp_path: Path
) -> None:
    """There a page says so and leads nowhere by itself, and that host's own form says it again."""
    gateway = https_hosts(start_gateway, app, tmp_path)
    settings = {"profile": {"content_settings": {"exceptions": {"cookies": {f"https://{WIKI},*": {"setting": 2}}}}}}
    (tmp_path / "profile/Default").mkdir(parents=True)
    (tmp_path / "profile/Default/Preferences").write_text(json.dumps(settings), encoding="utf-8")
    context = launch_with_profile(playwright, tmp_path / "profile", RULES)
    stage = Stage(gateway, context)
    page = context.new_page()
    stage.sign_in(page, PUBLIC)
    page.goto(stage.url(WIKI, "/page"))
    expect(page.get_by_role("heading", name="You are not signed in here")).to_be_visible()
    page.get_by_role("link", name="Sign in on this site").click()
    sign_in(page, ALICE.user, ALICE.password)
    expect(page.get_by_role("alert")).to_contain_text("did not keep this site's cookie")
    context.close()
    gateway.assert_no_traceback()
