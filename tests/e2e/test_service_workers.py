"""Service workers of apps: none may answer in place of the login page, unless the route says so."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import StartGateway
from tests.support.browser import PATIENCE_MS
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Request
from tests.support.ports import free_port
from tests.support.upstream import RecorderUpstream

OTHER = "wiki.localhost"
WORKER = b"""self.addEventListener("fetch", (event) => event.respondWith(new Response("worker was here")));"""
REGISTER = """async ([script, scope, cached]) => {
    if (cached) await (await fetch(script)).text();
    try {
        const options = {updateViaCache: "all", ...(scope ? {scope} : {})};
        const registration = await navigator.serviceWorker.register(script, options);
        return new URL(registration.scope).pathname;
    } catch (error) {
        return error.name;
    }
}"""


def serve(request: Request) -> bytes:
    """Answer with a worker's script that browsers may keep, or with a page; the query says what is allowed."""
    path, _, query = request.target.partition("?")
    kind, body = (b"text/javascript", WORKER) if path.endswith((".js", "/app")) else (b"text/html", b"<h1>App</h1>")
    allowed = b"Service-Worker-Allowed: %b\r\n" % query.encode() if query else b""
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: max-age=600\r\n%bContent-Length: %d\r\n\r\n%b" % (
        kind,
        allowed,
        len(body),
        body,
    )


@pytest.fixture
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream(serve) as upstream:
        yield upstream


@pytest.fixture
def gateway(start_gateway: StartGateway, app: RecorderUpstream) -> GatewayProcess:
    """Serve one app on the host of public_url and on another, and a second one below a path."""
    port = free_port()
    return start_gateway(
        gateway_config(
            route("root", "/", app.url, public=True),
            route("app", "/app", app.url, public=True, strip_prefix=True),
            route("wiki", "/", app.url, public=True, host=OTHER),
            route("below", "/app", app.url, public=True, host=OTHER),
            listen=f"127.0.0.1:{port}",
            public_url=f"http://localhost:{port}",
        )
    )


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()


def register(page: Page, gateway: GatewayProcess, host: str, script: str, scope: str = "", *, cached: bool) -> str:
    """Register a worker from a page of a host; return its scope, or what kind of error that was."""
    page.goto(f"http://{host}:{gateway.port}/")
    found = page.evaluate(REGISTER, [script, scope, cached])
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("cached", [False, True], ids=["asked for", "in the browser's memory"])
def test_no_worker_takes_in_the_login_page(gateway: GatewayProcess, page: Page, cached: bool) -> None:
    """On the host of public_url a worker for ``/`` is refused, also one whose script the browser has already."""
    assert register(page, gateway, "localhost", "/sw.js", cached=cached) == "TypeError"
    assert register(page, gateway, "localhost", "/app", cached=cached) == "TypeError"
    page.goto(f"http://localhost:{gateway.port}/_gateway/login")
    expect(page).to_have_title(re.compile("Sign in"))


@pytest.mark.parametrize(
    ("script", "scope"),
    [("/dir/sw.js?/", "/"), ("/dir/sw.js?/_g", "/_gateway/login"), ("/dir/sw.js?/dir/../", "/"), ("/app/sw.js?/", "/")],
)
def test_no_worker_there_is_given_a_wider_scope(gateway: GatewayProcess, page: Page, script: str, scope: str) -> None:
    """What the app allows with Service-Worker-Allowed does not take in the login page."""
    assert register(page, gateway, "localhost", script, scope, cached=False) == "SecurityError"


def test_workers_that_leave_the_login_page_alone_work(gateway: GatewayProcess, page: Page) -> None:
    """On the host of public_url within the app's own path, on another host for all of it."""
    assert register(page, gateway, "localhost", "/app/sw.js", cached=False) == "/app/"
    assert register(page, gateway, "localhost", "/app/deep/sw.js?/", "/app/", cached=False) == "/app/"
    assert register(page, gateway, "localhost", "/dir/deep/sw.js?/dir/", "/dir/", cached=False) == "/dir/"
    assert register(page, gateway, OTHER, "/sw.js", cached=False) == "/"
    assert register(page, gateway, OTHER, "/dir/sw.js?/", "/", cached=False) == "/"
    page.goto(f"http://{OTHER}:{gateway.port}/x")
    expect(page.get_by_text("worker was here")).to_be_visible()


def test_an_app_below_a_path_stays_there_on_every_host(gateway: GatewayProcess, page: Page) -> None:
    """It is told no scope in which another app's pages are."""
    assert register(page, gateway, OTHER, "/app/sw.js?/", "/", cached=False) == "SecurityError"
    assert register(page, gateway, OTHER, "/app/sw.js?/", "/apple", cached=False) == "SecurityError"
    assert register(page, gateway, OTHER, "/app/deep/sw.js?/", "/app/", cached=False) == "/app/"


def test_a_route_may_have_such_a_worker(start_gateway: StartGateway, app: RecorderUpstream, page: Page) -> None:
    """With ``service_worker: true``."""
    port = free_port()
    own = start_gateway(
        gateway_config(
            route("root", "/", app.url, public=True, service_worker=True),
            listen=f"127.0.0.1:{port}",
            public_url=f"http://localhost:{port}",
        )
    )
    assert register(page, own, "localhost", "/sw.js", cached=False) == "/"
    assert register(page, own, "localhost", "/dir/sw.js?/", "/", cached=False) == "/"


def test_what_the_refusal_says(gateway: GatewayProcess, app: RecorderUpstream) -> None:
    """403 with a code of its own, in any case of the value; the script itself stays open to pages."""
    with gateway.connect() as client:
        client.send("GET /sw.js?x=/y/ HTTP/1.1\r\nHost: localhost\r\nService-Worker: Script\r\n\r\n")
        answer = client.answer()
    assert (answer.status, answer.get("X-Gateway-Reason")) == (403, "service_worker")
    assert app.requests == []
    with gateway.connect() as client:
        client.send("GET /sw.js?/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = client.answer()
    assert (answer.status, answer.get("Service-Worker-Allowed"), answer.get("Vary")) == (200, None, "Service-Worker")


def test_forward_auth_refuses_such_a_script_too(start_gateway: StartGateway, app: RecorderUpstream) -> None:
    """Where another proxy serves the host of public_url, it is told so."""
    own = start_gateway(gateway_config(route("root", "/", app.url, public=True), forward_auth={"from": ["127.0.0.1"]}))
    for target, status, reason in (("/sw.js", 403, "service_worker"), ("/dir/sw.js", 200, None)):
        with own.connect() as client:
            client.send(f"GET /_gateway/verify{target} HTTP/1.1\r\nHost: localhost\r\nService-Worker: script\r\n\r\n")
            answer = client.answer()
        assert (answer.status, answer.get("X-Gateway-Reason")) == (status, reason)
