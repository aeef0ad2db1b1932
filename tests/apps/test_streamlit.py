"""Streamlit, where people work over one WebSocket alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocket, expect

from tests.apps.app_process import AppProcess, streamlit
from tests.conftest import StartGateway
from tests.support.browser import sign_in
from tests.support.gateway import GatewayProcess, gateway_config, new_key, route
from tests.support.users import ALICE
from tests.support.waiting import PATIENCE

IDLE = 6
ENDS_WITHIN = 5
"""Seconds within which what has expired ends its WebSockets."""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    with streamlit(tmp_path_factory.mktemp("streamlit")) as app:
        yield app


@dataclass
class Wire:
    """What a tab sends beside the messages of its WebSockets, and what becomes of these."""

    opened: list[WebSocket] = field(default_factory=list)
    closed: list[WebSocket] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Take note of everything from now on."""
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", self._opened)

    def _opened(self, socket: WebSocket) -> None:
        self.opened.append(socket)
        socket.on("close", self._closed)

    def _closed(self, socket: WebSocket) -> None:
        self.closed.append(socket)


def start(start_gateway: StartGateway, app: AppProcess, **session: Any) -> GatewayProcess:
    session = {"keys": [new_key()], "idle": f"{IDLE}s", **session}
    return start_gateway(gateway_config(route("counter", "/", app.url), session=session, workers=2))


def open_the_counter(page: Page, gateway: GatewayProcess) -> Wire:
    """Log in, open the app and type a name; the page has everything that it needs then."""
    wire = Wire()
    wire.watch(page)
    page.goto(f"http://localhost:{gateway.port}/")
    sign_in(page, ALICE.user, ALICE.password)
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Name").press("Enter")
    expect(page.get_by_text("alice: 0 clicks")).to_be_visible()
    page.wait_for_load_state("networkidle")
    return wire


def test_work_over_a_websocket_alone_keeps_the_session(
    counter: AppProcess, start_gateway: StartGateway, context: BrowserContext, page: Page
) -> None:
    gateway = start(start_gateway, counter)
    wire = open_the_counter(page, gateway)
    wire.requests.clear()
    cookies = context.cookies()
    clicks, until = 0, time.monotonic() + 3 * IDLE
    while time.monotonic() < until:
        page.get_by_role("button", name="Count").click()
        clicks += 1
        expect(page.get_by_text(f"alice: {clicks} clicks")).to_be_visible()
        page.wait_for_timeout(1000)
    assert (wire.requests, context.cookies()) == ([], cookies), "the WebSocket was not all that was used"
    assert (len(wire.opened), len(wire.closed)) == (1, 0), "the WebSocket was opened once and is open"
    page.reload()
    expect(page.get_by_role("heading", name="Counter")).to_be_visible()


def test_websockets_may_be_no_activity(counter: AppProcess, start_gateway: StartGateway, page: Page) -> None:
    """With `websocket_activity: false` a session ends at `idle` whatever its WebSockets carry."""
    gateway = start(start_gateway, counter, websocket_activity=False)
    wire = open_the_counter(page, gateway)
    until = time.monotonic() + IDLE + ENDS_WITHIN + PATIENCE
    while not wire.closed and time.monotonic() < until:
        page.get_by_role("button", name="Count").dispatch_event("click")
        page.wait_for_timeout(500)
    assert wire.closed, "the WebSocket is still open"
    page.reload()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
