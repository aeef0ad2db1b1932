"""A Flask app with its own login and a Flask-WTF form, whose cookie has Flask's default name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.apps.app_process import AppProcess, flask
from tests.conftest import StartGateway
from tests.support.browser import sign_in
from tests.support.gateway import GatewayProcess, gateway_config, new_key, route
from tests.support.nginx import Nginx
from tests.support.users import ALICE

IDLE = 5
PIECE = 64 * 1024

TLS_IN_FRONT = """
        location / {{
            proxy_pass http://{gateway};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
"""


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    with flask(tmp_path_factory.mktemp("flask")) as app:
        yield app


def log_in(page: Page, url: str) -> None:
    """Open the app as nobody, and log in to the gateway."""
    page.goto(url)
    sign_in(page, ALICE.user, ALICE.password)


def work_with_the_notes(page: Page, url: str) -> None:
    """Log in to the app itself, count up, and send its protected form."""
    expect(page.get_by_role("heading", name="Log in to the notes")).to_be_visible()
    page.get_by_label("Nickname").fill("white rabbit")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Notes of white rabbit")).to_be_visible()
    for number in range(1, 4):
        expect(page.locator("#visits")).to_have_text(f"Visit {number}")
        page.goto(url)
    page.get_by_label("Note").fill("late again")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("listitem")).to_have_text("late again")
    expect(page.locator("#visits")).to_have_text("Visit 5")


def leave_the_notes(page: Page, url: str) -> None:
    """Log out of the app alone: it asks for its own login, and the gateway's goes on."""
    page.get_by_role("button", name="Log out of the notes").click()
    expect(page.get_by_role("heading", name="Log in to the notes")).to_be_visible()
    page.goto(f"{url}_gateway/")
    expect(page.get_by_role("heading", name="Your apps")).to_be_visible()


def names_of_cookies(context: BrowserContext) -> set[str]:
    return {cookie["name"] for cookie in context.cookies()}


def test_its_own_login_and_form_work(
    notes: AppProcess, start_gateway: StartGateway, context: BrowserContext, page: Page
) -> None:
    gateway = start_gateway(gateway_config(route("notes", "/", notes.url)))
    url = f"http://localhost:{gateway.port}/"
    log_in(page, url)
    work_with_the_notes(page, url)
    assert {"session", "gateway_session"} <= names_of_cookies(context)
    leave_the_notes(page, url)


def test_its_own_login_and_form_work_on_https(
    notes: AppProcess, start_gateway: StartGateway, context: BrowserContext, page: Page, tmp_path: Path
) -> None:
    config = gateway_config(route("notes", "/", notes.url), public_url="https://localhost")
    gateway = start_gateway(config | {"trusted_proxies": ["127.0.0.0/8"]})
    with Nginx(tmp_path, TLS_IN_FRONT.format(gateway=gateway.authority)) as nginx:
        url = f"https://localhost:{nginx.port}/"
        log_in(page, url)
        work_with_the_notes(page, url)
        assert {"session", "__Host-gateway_session"} <= names_of_cookies(context)
        leave_the_notes(page, url)


# --- downloads ------------------------------------------------------------------------------------


@pytest.fixture
def brief(notes: AppProcess, start_gateway: StartGateway) -> GatewayProcess:
    """A gateway whose sessions end after five seconds without use."""
    session = {"keys": [new_key()], "idle": f"{IDLE}s"}
    return start_gateway(gateway_config(route("notes", "/", notes.url), session=session, workers=2))


def start_download(page: Page, gateway: GatewayProcess, pieces: int, seconds: int) -> None:
    """Follow a link to a file that takes so long."""
    page.evaluate(
        "address => { const a = document.createElement('a'); a.href = address; document.body.append(a); a.click(); }",
        f"http://localhost:{gateway.port}/file/{pieces}?seconds={seconds}",
    )


def test_a_download_outlasts_idle(brief: GatewayProcess, context: BrowserContext, page: Page) -> None:
    """The file is whole, although it takes three times `idle` and nothing else is asked for meanwhile."""
    log_in(page, f"http://localhost:{brief.port}/")
    idle_tab = context.new_page()
    idle_tab.goto(f"http://localhost:{brief.port}/")
    asked: list[str] = []
    with page.expect_download() as started:
        start_download(page, brief, 64, 3 * IDLE)
    context.on("request", lambda request: asked.append(request.url))
    assert started.value.failure() is None
    assert asked == [], "something else was asked for, which may have kept the session alive"
    content = hashlib.sha256(b"".join(bytes((number,)) * PIECE for number in range(64)))
    assert hashlib.sha256(Path(started.value.path()).read_bytes()).digest() == content.digest()
    record = brief.wait_for_log(lambda found: found["path"] == "/file/64")
    assert (record["status"], record.get("error"), record.get("cut_by")) == (200, None, None)


def test_a_logout_ends_a_download(brief: GatewayProcess, context: BrowserContext, page: Page) -> None:
    """And the access log says that it was the gateway that cut it."""
    log_in(page, f"http://localhost:{brief.port}/")
    with page.expect_download() as started:
        start_download(page, brief, 200, 100)
    other_tab = context.new_page()
    other_tab.goto(f"http://localhost:{brief.port}/_gateway/logout")
    other_tab.get_by_role("button", name="Sign out").click()
    expect(other_tab.get_by_text("You are signed out.")).to_be_visible()
    assert started.value.failure() is not None
    record = brief.wait_for_log(lambda found: found["path"] == "/file/200")
    assert record.get("cut_by"), record
