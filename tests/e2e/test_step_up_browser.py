"""Step-up in a real Chromium at a real, certified provider: asked once, then let in; never led in circles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import StartGateway
from tests.support.browser import PATIENCE_MS, launch, sign_in_there
from tests.support.certified import CLIENT_ID, CLIENT_SECRET, STRONG, CertifiedProvider, client
from tests.support.gateway import GatewayProcess, route
from tests.support.oidc_site import audited, callback_at, only_audited, start_with_providers, url_of
from tests.support.ports import free_port
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.waiting import wait_for

BUTTON = "Continue with Test provider"
AT_PROVIDER = re.compile(r"^http://127\.0\.0\.1:\d+/interaction/")


@dataclass
class Stage:
    """A gateway, the app behind it, the provider, and what a browser was sent to the provider with."""

    gateway: GatewayProcess
    app: RecorderUpstream
    provider: CertifiedProvider
    page: Page
    asked: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.path == "/auth":
            self.asked.append({name: values[0] for name, values in parse_qs(parts.query).items()})

    def open(self, path: str) -> None:
        self.page.goto(url_of(self.gateway) + path)

    def is_at(self, path: str) -> None:
        expect(self.page).to_have_url(url_of(self.gateway) + path)

    def sign_in_there(self, name: str = "alice") -> None:
        """Fill in the provider's form, then its consent page where it asks."""
        expect(self.page).to_have_url(AT_PROVIDER)
        sign_in_there(self.page, name)

    def sign_in(self, name: str = "alice") -> None:
        """Open the plain app as somebody of the provider."""
        self.open("/plain")
        self.page.get_by_role("link", name=BUTTON).click()
        self.sign_in_there(name)
        self.is_at("/plain")
        self.asked.clear()

    def session_cookie(self) -> str:
        (value,) = [c["value"] for c in self.page.context.cookies() if c["name"] == "gateway_session"]
        return value


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser without memory. The provider's own pages ask for fonts elsewhere, and get none."""
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE_MS)
    context.route(lambda url: urlsplit(url).hostname not in ("localhost", "127.0.0.1"), lambda route: route.abort())
    yield context
    context.close()


@pytest.fixture
def stage(start_gateway: StartGateway, recorder: RecorderUpstream, context: BrowserContext) -> Iterator[Stage]:
    port = free_port()
    with CertifiedProvider(client(callback_at(port))) as provider:
        strong, url = {"acr_values": [STRONG]}, recorder.url
        routes = [
            route("plain", "/plain", url),
            route("payroll", "/payroll", url, step_up=strong, title="Payroll"),
            route("bank", "/bank", url, step_up={"max_age": "5m"}),
            route("vault", "/vault", url, step_up={**strong, "max_age": "0s", "prompt": "login"}),
        ]
        entry = {"id": "sso", "name": "Test provider", "issuer": provider.issuer}
        entry |= {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        gateway = start_with_providers(start_gateway, recorder, entry, port=port, routes=routes)
        yield Stage(gateway, recorder, provider, context.new_page())
        gateway.assert_no_traceback()


def test_a_stronger_login_is_asked_for_once_at_the_provider(stage: Stage) -> None:
    stage.sign_in()
    before = stage.session_cookie()
    stage.open("/payroll/june?x=1")
    stage.sign_in_there()
    stage.is_at("/payroll/june?x=1")
    assert stage.app.last().get("X-Forwarded-User") == "sso:alice"
    assert [asked["acr_values"] for asked in stage.asked] == [STRONG]
    assert stage.session_cookie() != before
    for path in ("/payroll/july", "/plain", "/payroll"):
        stage.open(path)
        stage.is_at(path)
    assert len(stage.asked) == 1
    (ended,) = wait_for(lambda: audited(stage.gateway, "session_superseded"), what="the log")
    assert ended["reason"] == "a new login"


def test_a_fresh_login_at_the_provider_is_found_out_without_a_page(stage: Stage) -> None:
    """The first login did not say when it was made; the provider knows, and is asked."""
    stage.sign_in()
    stage.open("/bank/page")
    stage.is_at("/bank/page")
    assert [(asked["max_age"], asked.get("prompt")) for asked in stage.asked] == [("300", None)]
    stage.open("/bank")
    stage.is_at("/bank")
    assert len(stage.asked) == 1


def test_a_login_that_must_be_new_is_typed_again(stage: Stage) -> None:
    stage.sign_in()
    stage.open("/vault")
    stage.sign_in_there()
    stage.is_at("/vault")
    (asked,) = stage.asked
    assert (asked["max_age"], asked["prompt"], asked["acr_values"]) == ("0", "login", STRONG)
    stage.page.reload()
    stage.is_at("/vault")


def test_who_has_nothing_stronger_gets_a_page_and_no_circle(stage: Stage) -> None:
    stage.sign_in("bob")
    before = stage.session_cookie()
    stage.open("/payroll")
    stage.sign_in_there("bob")
    page = stage.page
    expect(page.get_by_role("heading", name="That sign-in is not enough")).to_be_visible()
    expect(page.get_by_text("Payroll needs a stronger or fresher sign-in than Test provider gave.")).to_be_visible()
    assert len(stage.asked) == 1
    assert stage.session_cookie() == before
    page.get_by_role("link", name="Try another way").click()
    expect(page.get_by_text("Payroll needs a stronger sign-in than other pages.")).to_be_visible()
    expect(page.get_by_label("Password")).to_have_count(0)
    assert len(stage.asked) == 1
    page.get_by_role("link", name=BUTTON).click()
    stage.sign_in_there("bob")
    expect(page.get_by_role("heading", name="That sign-in is not enough")).to_be_visible()
    assert len(stage.asked) == 2
    only_audited(stage.gateway, "login")
    stage.open("/plain")
    stage.is_at("/plain")


def test_nobody_logs_in_strongly_at_once(stage: Stage) -> None:
    stage.open("/payroll/june")
    expect(stage.page.get_by_label("Password")).to_have_count(0)
    stage.page.get_by_role("link", name=BUTTON).click()
    stage.sign_in_there()
    stage.is_at("/payroll/june")
    assert len(stage.asked) == 1


def test_a_local_user_types_the_password_or_goes_to_the_provider(stage: Stage) -> None:
    page = stage.page
    stage.open("/bank")
    page.get_by_label("Username").fill(ALICE.user)
    page.get_by_label("Password").fill(ALICE.password)
    page.get_by_role("button", name="Sign in").click()
    stage.is_at("/bank")
    stage.open("/payroll")
    expect(page.get_by_text("Payroll needs a stronger sign-in than other pages.")).to_be_visible()
    page.get_by_role("link", name=BUTTON).click()
    stage.sign_in_there()
    stage.is_at("/payroll")
    assert stage.app.last().get("X-Forwarded-User") == "sso:alice"


def test_a_script_in_a_page_is_told_where_to_go(stage: Stage) -> None:
    stage.sign_in()
    found = stage.page.evaluate("fetch('/payroll/data').then(async r => [r.status, (await r.json()).login])")
    assert found == [401, "/_gateway/login?next=/payroll/data&step_up=payroll"]
