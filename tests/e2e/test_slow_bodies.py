"""Request bodies that trickle: they hold nobody's place for ever, and nobody is cut whose app is what is slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from gateway.core.own_pages import FORM_BYTES
from tests.conftest import StartGateway
from tests.support.gateway import gateway_config, route
from tests.support.hostile import HostileUpstream
from tests.support.load import many_sockets
from tests.support.messages import Request
from tests.support.raw import RawClient
from tests.support.upstream import OK, UpstreamConnection
from tests.support.users import ALICE
from tests.support.visitor import PAGE, Visitor, form_fields, logged_in
from tests.support.waiting import PATIENCE, wait_for

FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
FRAMINGS = {"length": "Content-Length: 8000", "chunked": "Transfer-Encoding: chunked"}


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as running:
        yield running
        assert not running.violations, running.violations


def pieces(framing: str, size: int, count: int) -> Iterator[bytes]:
    """Yield a body as it is sent, in so many pieces of a size."""
    piece = b"x" * size
    for _ in range(count):
        yield b"%x\r\n%b\r\n" % (size, piece) if framing == "chunked" else piece
    if framing == "chunked":
        yield b"0\r\n\r\n"


def send_slowly(client: RawClient, framing: str, size: int, count: int) -> None:
    """Send a body with pauses, until the gateway has closed."""
    with contextlib.suppress(OSError):
        for piece in pieces(framing, size, count):
            client.send(piece)
            time.sleep(0.1)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_that_trickles(start_gateway: StartGateway, upstream: HostileUpstream, framing: str) -> None:
    """It is 408 once its time is over, though it never rests; the upstream's request is given up."""
    limits = {"body_rate_time": "1s"}
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True), limits=limits))
    with gateway.connect() as client:
        client.send(f"POST /x HTTP/1.1\r\nHost: {gateway.authority}\r\n{FRAMINGS[framing]}\r\n\r\n")
        sender = threading.Thread(target=send_slowly, args=(client, framing, 1, int(10 * PATIENCE)), daemon=True)
        started = time.monotonic()
        sender.start()
        answer = client.answer()
        assert (answer.status, answer.get("Connection")) == (408, "close")
        assert time.monotonic() - started > 1.0
        assert client.is_closed()
        sender.join(PATIENCE)
    (connection,) = upstream.connections
    wait_for(lambda: connection.ended, what="the upstream's connection to be closed")
    assert not any(request.complete for request in upstream.requests)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_that_is_slow_but_not_too_slow(
    start_gateway: StartGateway, upstream: HostileUpstream, framing: str
) -> None:
    """Above the rate it may take as long as it takes."""
    limits = {"body_rate_time": "500ms", "body_rate": "100B"}
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True), limits=limits))
    with gateway.connect() as client:
        client.send(f"POST /x HTTP/1.1\r\nHost: {gateway.authority}\r\n{FRAMINGS[framing]}\r\n\r\n")
        send_slowly(client, framing, 400, 20)
        assert client.answer().status == 200
    assert upstream.seen("/x")[0].body == b"x" * 8000


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_upload_that_waits_for_its_app(start_gateway: StartGateway, upstream: HostileUpstream, framing: str) -> None:
    """While the upstream takes nothing, the client is not to blame."""
    size, count = 1_000_000, 40

    async def late(connection: UpstreamConnection, request: Request) -> None:
        await asyncio.sleep(5)
        await connection.body(request)
        await connection.send(OK)

    upstream.raw("/late", late)
    limits = {"body_rate_time": "1s", "body_rate": "4MiB"}
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True), limits=limits))
    with gateway.connect() as client:
        length = FRAMINGS["chunked"] if framing == "chunked" else f"Content-Length: {size * count}"
        client.send(f"POST /late HTTP/1.1\r\nHost: {gateway.authority}\r\n{length}\r\n\r\n")
        for piece in pieces(framing, size, count):
            client.send(piece)
        assert client.answer().status == 200
    assert len(upstream.seen("/late")[0].body) == size * count


def test_a_body_that_waits_to_be_asked_for(start_gateway: StartGateway, upstream: HostileUpstream) -> None:
    """While a client waits for a 100, the time is the upstream's; then it is the client's (RFC 9110 §10.1.1)."""

    async def late(connection: UpstreamConnection, request: Request) -> None:
        if request.target == "/never":
            await connection.until_closed()
        await asyncio.sleep(4.5)
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await connection.body(request)
        await connection.send(OK if request.complete else b"")

    upstream.raw("/late", late)
    upstream.raw("/never", late)
    app = route("app", "/", upstream.url, public=True)
    never = route("never", "/never", upstream.url, public=True, timeout={"response": "1s"})
    limits = {"body_idle_time": "2s", "body_rate_time": "2s"}
    gateway = start_gateway(gateway_config(app, never, limits=limits))
    for target, body, statuses in (("/late", b"hello", [100, 200]), ("/late", b"", [100, 408]), ("/never", b"", [504])):
        with gateway.connect() as client:
            fields = f"Host: {gateway.authority}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
            client.send(f"POST {target} HTTP/1.1\r\n{fields}\r\n")
            for status in statuses:
                assert int(client.head().split()[1]) == status
                client.send(body if status == 100 else b"")


LOGIN_FRAMINGS = {**FRAMINGS, "asked for": "Content-Length: 8000\r\nExpect: 100-continue"}


@pytest.mark.parametrize("framing", LOGIN_FRAMINGS)
def test_login_goes_on_while_others_trickle(
    start_gateway: StartGateway, upstream: HostileUpstream, framing: str
) -> None:
    """More bodies that trickle than there are places at the login page: none of them has one."""
    limits = {"body_rate_time": "60s", "upstream_connections": 4, "upstream_wait_time": "100ms"}
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url), limits=limits))
    head = f"POST /_gateway/login HTTP/1.1\r\nHost: {gateway.authority}\r\n{LOGIN_FRAMINGS[framing]}\r\n{FORM}\r\n"
    with many_sockets(gateway.port, 8) as slow:
        for connection in slow:
            connection.sendall(head.encode())
            if framing == "asked for":
                assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for _ in range(3):
            for connection in slow:
                connection.sendall(b"1\r\na\r\n" if framing == "chunked" else b"a")
            assert logged_in(gateway, ALICE).get("/x").status == 200


SPELLINGS = [
    "lo%67in", "/login", "./login", "x/../login", "login/", "login;a", "login?x=1", "LOGIN", "logout", "sessions",
    "oidc/sso/backchannel-logout", "oidc/sso/back%63hannel-logout", "oidc/a%2Fb/backchannel-logout",
    "oidc/sso/callback", "verify", "me", "", "nothing",
]  # fmt: skip


def test_no_page_and_no_spelling_of_one_gives_a_place_to_who_trickles(
    start_gateway: StartGateway, upstream: HostileUpstream
) -> None:
    """Either the body is read first, or the head is answered without it."""
    limits = {"body_rate_time": "60s", "upstream_connections": 2, "upstream_wait_time": "100ms"}
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url), limits=limits))
    for method, spelling in [*(("POST", each) for each in SPELLINGS), ("GET", "login"), ("PUT", "login")]:
        head = (
            f"{method} /_gateway/{spelling} HTTP/1.1\r\nHost: {gateway.authority}\r\nContent-Length: 8000\r\n{FORM}\r\n"
        )
        with many_sockets(gateway.port, 4) as slow:
            for connection in slow:
                connection.sendall(head.encode())
            time.sleep(0.2)
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"a")
            assert Visitor(gateway).get("/_gateway/login").status == 200, (method, spelling)


@pytest.mark.parametrize("framing", LOGIN_FRAMINGS)
def test_a_login_that_comes_in_pieces(start_gateway: StartGateway, upstream: HostileUpstream, framing: str) -> None:
    """It is what it is in one piece, and what follows it is the next request."""
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url)))
    visitor = Visitor(gateway)
    page = visitor.get("/_gateway/login", PAGE)
    form = {"username": ALICE.user, "password": ALICE.password, "csrf_token": form_fields(page.text())["csrf_token"]}
    body = urlencode(form).encode()
    fields = LOGIN_FRAMINGS[framing].replace("8000", str(len(body)))
    common = f"Host: {gateway.authority}\r\nCookie: {visitor.cookie_header()}\r\n"
    pieces = [body[at : at + 20] for at in range(0, len(body), 20)]
    if framing == "chunked":
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
    with gateway.connect() as client:
        client.send(f"POST /_gateway/login HTTP/1.1\r\n{common}{fields}\r\n{FORM}\r\n")
        if framing == "asked for":
            assert client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in pieces[:-1]:
            client.send(piece)
            time.sleep(0.02)
        client.send(pieces[-1] + f"GET /_gateway/login HTTP/1.1\r\n{common}\r\n".encode())
        answer = client.answer()
        assert (answer.status, answer.interim) == (303, [])
        assert client.answer().status == 200
    visitor.keep_cookies(answer)
    assert visitor.get("/x").status == 200


ODD_LOGINS = {
    "too slow": (FRAMINGS["length"], b"a", 408),
    "too slow, in chunks": (FRAMINGS["chunked"], b"1\r\na\r\n", 408),
    "too much": (f"Content-Length: {FORM_BYTES + 1}", b"", 413),
    "too much, in chunks": (FRAMINGS["chunked"], b"%x\r\n%b\r\n" % (FORM_BYTES + 1, b"a" * (FORM_BYTES + 1)), 413),
    "no chunk": (FRAMINGS["chunked"], b"x\r\n", 400),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("case", ODD_LOGINS)
def test_a_login_that_does_not_come(
    start_gateway: StartGateway, upstream: HostileUpstream, case: str, late: bool
) -> None:
    """Nobody but the gateway answers; the connection ends, and the next one is served."""
    fields, body, status = ODD_LOGINS[case]
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url), limits={"body_idle_time": "1s"}))
    with gateway.connect() as client:
        client.send(f"POST /_gateway/login HTTP/1.1\r\nHost: {gateway.authority}\r\n{fields}\r\n{FORM}\r\n")
        if late:
            time.sleep(0.2)
        with contextlib.suppress(OSError):
            client.send(body)
        answer = client.answer()
        assert (answer.status, answer.get("Connection")) == (status, "close")
        assert client.is_closed()
    assert Visitor(gateway).get("/_gateway/login").status == 200


@pytest.mark.parametrize(("target", "status"), [("verify", 404), ("nothing", 404), ("me", 405)])
def test_pages_without_forms_wait_for_no_body(
    start_gateway: StartGateway, upstream: HostileUpstream, target: str, status: int
) -> None:
    """They answer by the head, and ask nobody for a body (RFC 9110 §10.1.1)."""
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url), limits={"body_idle_time": "60s"}))
    for more in ("", "Expect: 100-continue\r\n"):
        with gateway.connect() as client:
            fields = f"Host: {gateway.authority}\r\nContent-Length: 10\r\n{more}"
            client.send(f"POST /_gateway/{target} HTTP/1.1\r\n{fields}\r\n")
            answer = client.answer()
            assert (answer.status, answer.interim) == (status, [])


def test_a_login_whose_client_leaves(start_gateway: StartGateway, upstream: HostileUpstream) -> None:
    """What remained of it is no login, and holds nothing."""
    limits = {"upstream_connections": 2, "upstream_wait_time": "100ms"}
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url), limits=limits))
    head = f"POST /_gateway/login HTTP/1.1\r\nHost: {gateway.authority}\r\n{FRAMINGS['length']}\r\n{FORM}\r\n"
    for half in (True, False):
        for _ in range(4):
            with gateway.connect() as client:
                client.send(head + "username=")
                time.sleep(0.05)
                client.send("alice")
                if half:
                    client.socket.shutdown(socket.SHUT_WR)
                    assert client.answer().status == 400
    assert logged_in(gateway, ALICE).get("/x").status == 200
