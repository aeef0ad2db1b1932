"""Two tabs on two hosts, both at the login page: a second login ends nothing of the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import StartGateway
from tests.support.browser import PATIENCE_MS, OpenContext, sign_in
from tests.support.gateway import gateway_config, route
from tests.support.messages import Request
from tests.support.ports import free_port
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB, User

PUBLIC, FIRST, SECOND = "apps.localhost", "a.localhost", "b.localhost"

TAKES_NOTE = 2000
"""Milliseconds in which every worker has long taken note of what was revoked."""

PAGE = b"""<!doctype html><title>App</title><h1>Hello %b</h1><script>
const socket = new WebSocket(`ws://${location.host}/ws/echo`);
window.opened = new Promise(resolve => { socket.onopen = resolve; });
window.ended = new Promise(resolve => { socket.onclose = event => resolve(event.code); });
window.echo = text => new Promise((resolve, reject) => {
  socket.onmessage = event => resolve(event.data);
  socket.addEventListener("close", event => reject(new Error(`closed with ${event.code}`)));
  if (socket.readyState !== WebSocket.OPEN) reject(new Error(`state ${socket.readyState}`));
  socket.send(text);
});
</script>"""


def greet(request: Request) -> bytes:
    """Answer with a page that names the user and opens a WebSocket."""
    body = PAGE % (request.get("X-Forwarded-User") or "").encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@dataclass
class Tab:
    """A tab that belongs to one host."""

    page: Page
    url: str

    def open(self) -> None:
        """Open the app as nobody, which leads to the login page."""
        self.page.goto(self.url)
        expect(self.page.get_by_role("button", name="Sign in")).to_be_visible()

    def log_in(self, user: User) -> None:
        """Log in, which leads back to the app and its WebSocket."""
        sign_in(self.page, user.user, user.password)
        expect(self.page.get_by_role("heading", name=f"Hello {user.user}")).to_be_visible()
        assert self.page.url == self.url
        self.page.evaluate("opened")

    def log_out(self) -> None:
        """Log out in this tab."""
        self.page.goto(f"{self.url}_gateway/logout")
        self.page.get_by_role("button", name="Sign out").click()
        expect(self.page.get_by_text("You are signed out.")).to_be_visible()

    def works(self) -> None:
        """Fail unless the page's WebSocket and its `fetch` work as before."""
        assert self.page.evaluate("echo('still here')") == "still here"
        assert self.fetch() == 200

    def fetch(self) -> int:
        """Return the status that a script of the page gets."""
        status: int = self.page.evaluate("fetch('/data').then(answer => answer.status)")
        return status

    def close_code(self) -> int:
        """Wait for the end of the page's WebSocket, and return its code."""
        limit = "new Promise((_, reject) => setTimeout(() => reject(new Error('still open')), patience))"
        code: int = self.page.evaluate(f"patience => Promise.race([ended, {limit}])", PATIENCE_MS)
        return code


@pytest.fixture
def tabs(start_gateway: StartGateway, new_context: OpenContext) -> Iterator[tuple[Tab, Tab]]:
    """Two tabs of one browser, both at the login page."""
    with RecorderUpstream(greet) as app:
        port = free_port()
        config = gateway_config(
            route("first", "/", app.url, host=FIRST),
            route("second", "/", app.url, host=SECOND),
            listen=f"127.0.0.1:{port}",
            public_url=f"http://{PUBLIC}:{port}",
            workers=2,
        )
        start_gateway(config)
        context = new_context()
        first, second = (Tab(context.new_page(), f"http://{host}:{port}/") for host in (FIRST, SECOND))
        first.open()
        second.open()
        yield first, second
        assert app.violations == []


def test_a_second_login_ends_nothing_of_the_first(tabs: tuple[Tab, Tab]) -> None:
    """Both tabs go on; a logout in either ends both, open WebSockets too."""
    first, second = tabs
    first.log_in(ALICE)
    second.log_in(ALICE)
    first.page.wait_for_timeout(TAKES_NOTE)
    first.works()
    second.works()
    first.page.reload()
    expect(first.page.get_by_role("heading", name="Hello alice")).to_be_visible()
    first.page.evaluate("opened")
    second.log_out()
    assert first.close_code() == 1008
    assert first.fetch() == 401


def test_the_login_of_somebody_else_ends_the_first(tabs: tuple[Tab, Tab]) -> None:
    """There the browser has changed hands: nothing of the earlier person's goes on."""
    first, second = tabs
    first.log_in(ALICE)
    second.log_in(BOB)
    assert first.close_code() == 1008
    assert first.fetch() == 401
    second.works()
