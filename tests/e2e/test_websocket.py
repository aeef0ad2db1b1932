"""WebSockets through the gateway: the handshake is checked on both sides, then bytes pass as they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta

import aiohttp
import pytest

from tests.conftest import StartGateway
from tests.e2e.conftest import Site
from tests.support.clock import SetClock
from tests.support.frames import BINARY, CLOSE, TEXT, Frame, decode, encode
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Request
from tests.support.raw import RawClient
from tests.support.upstream import RecorderUpstream, UpstreamConnection
from tests.support.users import ALICE
from tests.support.visitor import Visitor, logged_in
from tests.support.waiting import PATIENCE, wait_for

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"


@pytest.fixture(scope="module")
def echo() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(echo: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("ws", "/ws", echo.url),
        route("off", "/ws-off", echo.url, websocket=False),
        route("friends", "/ws-friends", echo.url, origins=["https://friend.example"]),
    )
    with GatewayProcess(tmp_path_factory.mktemp("ws"), config) as process:
        yield process


@pytest.fixture(scope="module")
def alice(gateway: GatewayProcess) -> Visitor:
    return logged_in(gateway, ALICE)


def handshake(
    gateway: GatewayProcess,
    alice: Visitor,
    path: str,
    *,
    origin: str = "",
    fields: str = UPGRADE,
    receive_buffer: int = 0,
) -> RawClient:
    """Send a handshake; the origin is the gateway's own unless one is given."""
    client = gateway.connect(receive_buffer=receive_buffer)
    line = f"Origin: {origin or 'http://' + gateway.authority}\r\n"
    client.send(
        f"GET {path} HTTP/1.1\r\nHost: {gateway.authority}\r\nCookie: {alice.cookie_header()}\r\n{line}{fields}\r\n"
    )
    return client


def frames(client: RawClient, count: int) -> list[Frame]:
    """Return the next frames."""
    found: list[Frame] = []
    data = b""
    while len(found) < count:
        piece = client.more()
        assert piece, f"closed after {found}"
        more, data = decode(data + piece)
        found += more
    return found


async def test_real_client(gateway: GatewayProcess, alice: Visitor, echo: RecorderUpstream) -> None:
    """A real WebSocket client talks through the gateway: text, binary, large messages, ping, and a clean close."""
    headers = {"Cookie": alice.cookie_header(), "Origin": f"http://{gateway.authority}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"http://{gateway.authority}/ws/echo", compress=0) as ws,
    ):
        await ws.send_str("grüß dich")
        assert await ws.receive_str(timeout=PATIENCE) == "grüß dich"
        await ws.send_bytes(b"\0\xff" * 50_000)
        assert await ws.receive_bytes(timeout=PATIENCE) == b"\0\xff" * 50_000
        await ws.ping()
        await asyncio.gather(*(ws.send_str(str(i)) for i in range(100)))
        assert [await ws.receive_str(timeout=PATIENCE) for _ in range(100)] == [str(i) for i in range(100)]
        await ws.close(code=4001, message=b"bye")
    request = echo.last()
    assert request.get("X-Forwarded-User") == "alice"
    assert alice.session_pair()[1] not in request.head.decode("latin-1")


def test_subprotocol_and_extensions_pass(site: Site) -> None:
    """What was offered and chosen passes; a choice that was never offered is 502 (RFC 6455 §4.1)."""

    async def choose(connection: UpstreamConnection, request: Request) -> None:
        chosen = request.target.partition("?")[2].encode()
        await connection.upgrade(request, b"Sec-WebSocket-Protocol: " + chosen + b"\r\n")
        await connection.until_closed()

    site.upstream.on("/ws/choose", choose)
    for choice, status in (("chat", 101), ("superchat", 101), ("evil", 502)):
        with handshake(
            site.gateway,
            site.alice,
            f"/ws/choose?{choice}",
            fields=UPGRADE + "Sec-WebSocket-Protocol: chat, superchat\r\n",
        ) as client:
            answer = client.answer()
            assert answer.status == status
            assert answer.get("Sec-WebSocket-Protocol") == (choice if status == 101 else None)


def test_frames_pass_untouched(gateway: GatewayProcess, alice: Visitor) -> None:
    """Frames sent right behind the handshake, in one packet, arrive and are answered."""
    with gateway.connect() as client:
        client.send(
            f"GET /ws/x HTTP/1.1\r\nHost: {gateway.authority}\r\nCookie: {alice.cookie_header()}\r\n"
            f"Origin: http://{gateway.authority}\r\n{UPGRADE}\r\n".encode()
            + encode(TEXT, b"early", masked=True)
            + encode(BINARY, b"bird", masked=True)
        )
        assert client.answer().status == 101
        assert frames(client, 2) == [Frame(TEXT, b"early"), Frame(BINARY, b"bird")]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:1", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("", 101),
    ],
)
def test_origin_is_checked(
    gateway: GatewayProcess, alice: Visitor, echo: RecorderUpstream, origin: str, status: int
) -> None:
    """A foreign Origin opens no WebSocket, for browsers send cookies along from anywhere (RFC 6455 §10.2)."""
    before = len(echo.requests)
    with handshake(gateway, alice, "/ws/origin", origin=origin) as client:
        assert client.answer().status == status
    assert len(echo.requests) - before == (status == 101)


@pytest.mark.parametrize(("origin", "status"), [("https://friend.example", 101), ("https://friend.example.evil", 403)])
def test_further_origins(gateway: GatewayProcess, alice: Visitor, origin: str, status: int) -> None:
    """A route may name further Origins; they match whole."""
    with handshake(gateway, alice, "/ws-friends", origin=origin) as client:
        assert client.answer().status == status


@pytest.mark.parametrize("fields", [UPGRADE.replace("13", "8"), UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", "")])
def test_other_versions_get_426(gateway: GatewayProcess, alice: Visitor, fields: str) -> None:
    """A version other than 13 is 426, and the answer says which one is spoken (RFC 6455 §4.4, RFC 9110 §7.8)."""
    with handshake(gateway, alice, "/ws/old", fields=fields) as client:
        answer = client.answer()
        assert (answer.status, answer.get("Sec-WebSocket-Version")) == (426, "13")
        options = ",".join(answer.get_all("Connection")).replace(" ", "").lower().split(",")
        assert (answer.get("Upgrade"), sorted(options)) == ("websocket", ["close", "upgrade"])
        assert client.is_closed()


def test_route_without_websockets(gateway: GatewayProcess, alice: Visitor, echo: RecorderUpstream) -> None:
    """Where a route allows none, the request goes without its upgrade, or is refused."""
    before = len(echo.requests)
    with handshake(gateway, alice, "/ws-off/x") as client:
        assert client.answer().status != 101
    for request in echo.requests[before:]:
        assert request.get("Upgrade") is None


def test_without_a_session(gateway: GatewayProcess, echo: RecorderUpstream) -> None:
    """Without a session there is no handshake: 401."""
    before = len(echo.requests)
    with handshake(gateway, Visitor(gateway), "/ws/x") as client:
        assert client.answer().status == 401
    assert len(echo.requests) == before


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Sure\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 Sure\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Sure\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_101_of_the_upstream_is_checked(site: Site, answer: bytes) -> None:
    """101 reaches the client only if it answers this very handshake; else it is 502."""
    site.upstream.says("/ws/wrong", answer, then="stay")
    with handshake(site.gateway, site.alice, "/ws/wrong") as client:
        assert client.answer().status == 502


def test_a_101_sets_the_apps_cookies(site: Site) -> None:
    """An app may set cookies with its 101 as with any answer, but none of the gateway's."""

    async def greet(connection: UpstreamConnection, request: Request) -> None:
        lines = [b"Set-Cookie: app=1; Path=/", b"Set-Cookie: gateway_session=x", b"Set-Cookie: b=2"]
        await connection.upgrade(request, b"".join(line + b"\r\n" for line in lines))
        await connection.until_closed()

    site.upstream.on("/ws/cookies", greet)
    # Just logged in, so that no renewal of the session goes along.
    with handshake(site.gateway, logged_in(site.gateway, ALICE), "/ws/cookies") as client:
        answer = client.answer()
    assert (answer.status, answer.get_all("Set-Cookie")) == (101, ["app=1; Path=/", "b=2"])


def test_a_101_renews_the_session(start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock) -> None:
    """Who does nothing but open WebSockets stays logged in, too."""
    config = gateway_config(route("ws", "/ws", recorder.url))
    config["session"].update(idle="30m")
    own = start_gateway(config, env=clock.env)
    visitor = logged_in(own, ALICE)
    clock.jump(own, timedelta(minutes=10))

    def renewed() -> bool:
        with handshake(own, visitor, "/ws/open") as client:
            answer = client.answer()
        assert answer.status == 101
        return any(line.startswith("gateway_session=v1.") for line in answer.get_all("Set-Cookie"))

    wait_for(renewed, what="the renewed session")


def test_refused_handshake_is_an_ordinary_answer(site: Site) -> None:
    """An answer other than 101 is relayed as HTTP, and the client's early frames reach nobody."""

    async def refuse(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")

    site.upstream.on("/ws/refused", refuse)
    with handshake(site.gateway, site.alice, "/ws/refused") as client:
        client.send(encode(TEXT, b"GET /smuggled HTTP/1.1", masked=True))
        answer = client.answer()
        assert (answer.status, answer.body) == (403, b"no")
    (request,) = site.upstream.seen("/ws/refused")
    assert bytes(site.upstream.connections[request.connection].received).count(b"smuggled") == 0


def test_the_end_of_one_side_ends_the_other(gateway: GatewayProcess, alice: Visitor, echo: RecorderUpstream) -> None:
    """When the client goes, the upstream's connection goes; and the other way round."""
    with handshake(gateway, alice, "/ws/gone") as client:
        assert client.answer().status == 101
        connection = echo.connections[echo.last().connection]
        client.abort()
    wait_for(lambda: connection.ended, what="the upstream's side to end")
    with handshake(gateway, alice, "/ws/bye") as client:
        assert client.answer().status == 101
        client.send(encode(CLOSE, (4000).to_bytes(2, "big"), masked=True))
        assert frames(client, 1)[0].close_code() == 4000
        assert client.is_closed()


def test_logout_ends_open_websockets(gateway: GatewayProcess) -> None:
    """What is revoked also loses its open WebSockets within five seconds."""
    visitor = logged_in(gateway, ALICE)
    with handshake(gateway, visitor, "/ws/open") as client:
        assert client.answer().status == 101
        client.send(encode(TEXT, b"hello", masked=True))
        assert frames(client, 1) == [Frame(TEXT, b"hello")]
        assert visitor.logout().status == 303
        assert client.is_closed()


def test_expiry_ends_open_websockets(start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock) -> None:
    """What expires also loses its open WebSockets within five seconds."""
    config = gateway_config(route("ws", "/ws", recorder.url))
    config["session"].update(idle="30m", lifetime="1h")
    own = start_gateway(config, env=clock.env)
    with handshake(own, logged_in(own, ALICE), "/ws/open") as client:
        assert client.answer().status == 101
        assert client.is_quiet()
        clock.jump(own, timedelta(hours=1, minutes=1))
        assert client.is_closed()


def test_back_pressure(site: Site) -> None:
    """A client that stops reading pauses the upstream: memory stays bounded."""

    async def flood(connection: UpstreamConnection, request: Request) -> None:
        await connection.upgrade(request)
        frame = encode(BINARY, b"x" * 60_000, masked=False)
        while connection.sent < 300_000_000 and not connection.ended:
            await connection.send(frame)

    site.upstream.on("/ws/flood", flood)
    before = site.gateway.memory()
    with handshake(site.gateway, site.alice, "/ws/flood", receive_buffer=8192) as client:
        client.head()
        request = wait_for(lambda: site.upstream.seen("/ws/flood"))[0]
        wait_for(lambda: site.upstream.connections[request.connection].sent > 1_000_000)
        for _ in range(5):
            time.sleep(0.2)
            assert site.gateway.memory() - before < 32_000_000
        client.abort()
    wait_for(lambda: site.upstream.connections[request.connection].ended, what="the upstream's side to end")
