"""Cookies that are not ours: apps keep theirs, and those of another gateway are as good as absent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import Config, GatewayProcess, gateway_config, new_key, route
from tests.support.messages import Request
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB
from tests.support.visitor import PAGE, PROGRAM, Visitor, form_fields

HOST = "apps.example.com"
HTTPS = {"X-Forwarded-Proto": "https"}


def setting_cookies(request: Request) -> bytes:
    """Answer with the cookies that the query names."""
    names = request.target.partition("?")[2].split("&") if "?" in request.target else []
    lines = "".join(f"Set-Cookie: {name}=abc; Path=/\r\n" for name in names)
    return f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{lines}\r\nok".encode()


@pytest.fixture(scope="module")
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream(setting_cookies) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("cookies"), on_https(app)) as process:
        yield process


def on_https(app: RecorderUpstream, **more: object) -> Config:
    return gateway_config(
        route("app", "/", app.url), public_url=f"https://{HOST}", trusted_proxies=["127.0.0.1/32"], **more
    )


class Browser(Visitor):
    """A visitor who comes through a proxy that speaks https."""

    def __init__(self, gateway: GatewayProcess) -> None:
        super().__init__(gateway, host=HOST)

    def request(self, method, target, headers=(), body=b"", timeout=30.0):  # type: ignore[no-untyped-def]
        pairs = list(headers.items()) if hasattr(headers, "items") else list(headers)
        return super().request(method, target, [*pairs, *HTTPS.items()], body, timeout)


def test_apps_keep_their_sessions(gateway: GatewayProcess, app: RecorderUpstream) -> None:
    """Whatever it is called but ours: Flask's and Starlette's is ``session``."""
    alice = Browser(gateway)
    alice.login(ALICE)
    theirs = [
        "session",
        "Session",
        "gateway_session",
        "gateway_foo",
        "__Host-gateway_session_7",
        "__host-gateway_session",
    ]
    ours = ["__Host-gateway_session", "__Host-gateway_session_1", "__Host-gateway_browser", "__Host-gateway_logins"]
    answer = alice.get("/x?" + "&".join([*theirs, *ours]), PROGRAM)
    assert [line.partition("=")[0] for line in answer.get_all("Set-Cookie")] == theirs
    assert alice.get("/x", PROGRAM).status == 200
    sent = (app.last().get("Cookie") or "").split("; ")
    assert sorted(sent) == sorted(f"{name}=abc" for name in theirs)


def test_a_foreign_cookie_of_our_name_is_absent(gateway: GatewayProcess, app: RecorderUpstream) -> None:
    """As where another gateway serves a parent domain: one of ours counts, wherever it stands, and login works."""
    alice = Browser(gateway)
    alice.login(ALICE)
    name, value = alice.session_pair()
    foreign = f"{name}=v1.{'A' * 80}"
    for line in (f"{foreign}; {name}={value}", f"{name}={value}; {foreign}", f"{name}=; {name}={value}; {foreign}x"):
        other = Browser(gateway)
        assert other.get("/x", [*PROGRAM.items(), ("Cookie", line)]).status == 200
        assert app.last().get("X-Forwarded-User") == "alice"
    line = "; ".join([*(f"{foreign}{number:02}" for number in range(20)), f"{name}={value}"])
    assert Browser(gateway).get("/x", [*PROGRAM.items(), ("Cookie", line)]).status == 401, "eight are looked at"
    page = Browser(gateway).get("/_gateway/login", [*PAGE.items(), ("Cookie", f"{foreign}; {foreign}x")])
    assert page.status == 200
    assert "cookie" not in page.text().lower()


@pytest.mark.parametrize("store", ["cookie", "sqlite"])
def test_two_of_ours_are_none(app: RecorderUpstream, start_gateway: StartGateway, store: str) -> None:
    """Expired or revoked ones too. The login page says it, and its button removes them everywhere."""
    gateway = start_gateway(on_https(app, session={"keys": [new_key()], "store": store}))
    alice, bob = Browser(gateway), Browser(gateway)
    alice.login(ALICE)
    bob.login(BOB)
    name, value = bob.session_pair()
    line = f"{alice.cookie_pair()}; {name}={value}"
    before = len(app.requests)
    assert Browser(gateway).get("/x", [*PROGRAM.items(), ("Cookie", line)]).status == 401
    bob.logout()
    assert Browser(gateway).get("/x", [*PROGRAM.items(), ("Cookie", line)]).status == 401, "a revoked one is ours, too"
    assert len(app.requests) == before
    browser = Browser(gateway)
    page = browser.get("/_gateway/login?next=/x", [*PAGE.items(), ("Cookie", line)])
    assert page.status == 200
    assert "cookie" in page.text().lower()
    assert "two different session cookies" in gateway.errors()
    fields = form_fields(page.text())
    answer = browser.post("/_gateway/login", {**fields, "remove_cookies": "1"})
    assert (answer.status, answer.get("Location")) == (303, "/_gateway/login?next=/x")
    removed = [line for line in answer.get_all("Set-Cookie") if line.startswith(f"{name}=;")]
    assert removed
    assert all("Max-Age=0" in line for line in removed)


def test_with_a_domain_every_domain_above_is_cleared(app: RecorderUpstream, start_gateway: StartGateway) -> None:
    gateway = start_gateway(
        on_https(app, session={"keys": [new_key()], "cookie": {"domain": "example.com"}}),
    )
    alice = Browser(gateway)
    answer = alice.login(ALICE)
    name = "__Secure-gateway_session"
    lines = [line for line in answer.get_all("Set-Cookie") if line.startswith(f"{name}=")]
    assert "Max-Age=0" in lines[0]
    assert "Domain" not in lines[0], "the one for the host alone goes"
    assert "Domain=example.com" in lines[-1]
    other = Browser(gateway)
    other.login(BOB)
    line = f"{alice.cookie_pair()}; {other.cookie_pair()}"
    browser = Browser(gateway)
    page = browser.get("/_gateway/login", [*PAGE.items(), ("Cookie", line)])
    answer = browser.post("/_gateway/login", {**form_fields(page.text()), "remove_cookies": "1"})
    removed = [line for line in answer.get_all("Set-Cookie") if line.startswith(f"{name}=;")]
    for attribute in ("; Domain=apps.example.com;", "; Domain=example.com;"):
        assert any(attribute in line for line in removed), attribute
    assert any("Domain" not in line for line in removed)


def test_check_warns_of_a_framework_s_name(app: RecorderUpstream, start_gateway: StartGateway) -> None:
    config = on_https(app, session={"keys": [new_key()], "cookie": {"name": "session"}})
    gateway = start_gateway(config)
    assert "session.cookie.name" in gateway.errors()
