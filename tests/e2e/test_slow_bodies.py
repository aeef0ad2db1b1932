"""Request bodies that trickle: they hold nobody's place for ever, and nobody is cut whose app is what is slow."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import gateway_config, route
from tests.support.hostile import HostileUpstream
from tests.support.load import many_sockets
from tests.support.messages import Request
from tests.support.raw import RawClient
from tests.support.upstream import OK, UpstreamConnection
from tests.support.users import ALICE
from tests.support.visitor import Visitor, logged_in
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


def test_login_goes_on_while_others_trickle(start_gateway: StartGateway, upstream: HostileUpstream) -> None:
    """As many bodies that trickle as there are places: once their time is over, people can log in again."""
    limits = {"body_rate_time": "5s", "upstream_connections": 8, "upstream_wait_time": "100ms"}
    gateway = start_gateway(gateway_config(route("app", "/", upstream.url), limits=limits))
    head = f"POST /_gateway/login HTTP/1.1\r\nHost: {gateway.authority}\r\nContent-Length: 8000\r\n{FORM}\r\n"
    over = threading.Event()
    with many_sockets(gateway.port, 8) as slow:

        def trickle() -> None:
            while not over.wait(0.2):
                for connection in slow:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"a")

        for connection in slow:
            connection.sendall(head.encode())
        sender = threading.Thread(target=trickle, daemon=True)
        sender.start()
        try:
            wait_for(lambda: Visitor(gateway).get("/_gateway/login").status == 503, what="all places to be taken")
            wait_for(lambda: Visitor(gateway).get("/_gateway/login").status == 200, what="a place to be free")
            assert logged_in(gateway, ALICE).get("/x").status == 200
        finally:
            over.set()
            sender.join(PATIENCE)
