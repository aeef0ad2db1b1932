"""What the gateway ends under way: the access log says why, a counter counts it, a warning names the key that helps."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.support.counted import count, logged
from tests.support.frames import TEXT, encode
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.hostile import HostileUpstream
from tests.support.messages import Request
from tests.support.upstream import UpstreamConnection
from tests.support.users import ALICE
from tests.support.visitor import Visitor, logged_in
from tests.support.waiting import PATIENCE, wait_for

HOST = "Host: localhost\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def dribble(connection: UpstreamConnection, request: Request) -> None:
    """Answer with a head and a first piece, and no more."""
    kind = b"text/event-stream" if request.target.endswith("events") else b"text/plain"
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 100000000\r\n\r\nx" % kind)
    await connection.until_closed()


async def flood(connection: UpstreamConnection, request: Request) -> None:
    """Answer with more than a client takes."""
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    while not connection.ended:
        await connection.send(b"x" * 65536)


async def open_socket(connection: UpstreamConnection, request: Request) -> None:
    await connection.upgrade(request)
    await connection.until_closed()


Start = Callable[..., tuple[GatewayProcess, Visitor]]


@pytest.fixture
def cutting(start_gateway: StartGateway) -> Iterator[Start]:
    """Start a gateway with some settings, an app that never ends what it begins, and alice."""
    with HostileUpstream() as server:
        for path in ("/app/rest", "/app/events"):
            server.on(path, dribble)
        server.on("/app/flood", flood)
        server.on("/app/socket", open_socket)

        def start(**more: Any) -> tuple[GatewayProcess, Visitor]:
            running = start_gateway(gateway_config(route("app", "/app", server.url), **more))
            return running, logged_in(running, ALICE)

        yield start


def cut(gateway: GatewayProcess, visitor: Visitor, path: str, do: Callable[[], object], fields: str = "") -> None:
    """Open a response that does not end by itself, do something, and wait until the gateway has ended it."""
    with gateway.connect(receive_buffer=4096 if path.endswith("flood") else 0) as client:
        client.send(f"GET {path} HTTP/1.1\r\n{HOST}Cookie: {visitor.cookie_header()}\r\n{fields}\r\n")
        client.head()
        do()
        gateway.wait_for_log(lambda record: record["path"] == path)


def assert_cut(gateway: GatewayProcess, path: str, cut_by: str, key: str = "") -> None:
    """The log says why it was, and blames neither client nor app; a warning names the key, if there is one."""
    record = gateway.wait_for_log(lambda found: found["path"] == path)
    assert record["cut_by"] == cut_by
    assert record.get("error") not in ("client_gone", "upstream_aborted")
    assert count(gateway, f'gateway_cut_total{{reason="{cut_by}"}}') == 1
    if key:
        (line,) = [line for line in gateway.stderr if "route app: " in line and key in line]
        assert '"level": "warning"' in line


def nothing() -> None:
    """Wait for time to do it."""


@pytest.mark.parametrize("path", ["/app/rest", "/app/events"])
def test_cut_by_a_logout(cutting: Start, path: str) -> None:
    gateway, alice = cutting()
    cut(gateway, alice, path, alice.logout)
    assert_cut(gateway, path, "session_revoked")


def test_websocket_ended_by_a_logout(cutting: Start) -> None:
    gateway, alice = cutting()
    origin = f"Origin: http://localhost\r\n{UPGRADE}"
    cut(gateway, alice, "/app/socket", alice.logout, origin)
    assert_cut(gateway, "/app/socket", "session_revoked")


def test_cut_by_idleness_and_by_the_end(cutting: Start) -> None:
    """A stream of a session that nobody uses; and of one that has reached its end."""
    gateway, alice = cutting(session={**gateway_config()["session"], "idle": "3s", "lifetime": "1h"})
    cut(gateway, alice, "/app/events", nothing)
    assert_cut(gateway, "/app/events", "idle")
    gateway, alice = cutting(session={**gateway_config()["session"], "idle": "3s", "lifetime": "3s"})
    cut(gateway, alice, "/app/rest", nothing)
    assert_cut(gateway, "/app/rest", "session_expired")


def test_cut_by_an_app_that_sends_no_more(cutting: Start) -> None:
    gateway, alice = cutting(limits={"answer_idle_time": "1s"})
    cut(gateway, alice, "/app/rest", nothing)
    assert_cut(gateway, "/app/rest", "response_idle", "limits.answer_idle_time")


def test_cut_by_a_client_that_takes_no_more(cutting: Start) -> None:
    gateway, alice = cutting(limits={"write_stall_time": "1s"})
    cut(gateway, alice, "/app/flood", nothing)
    assert_cut(gateway, "/app/flood", "write_stall", "limits.write_stall_time")


def test_websocket_on_which_nothing_moves(cutting: Start) -> None:
    gateway, alice = cutting(limits={"stream_idle_time": "1s"})
    cut(gateway, alice, "/app/socket", nothing, f"Origin: http://localhost\r\n{UPGRADE}")
    assert_cut(gateway, "/app/socket", "stream_idle", "limits.stream_idle_time")


@pytest.mark.parametrize("kind", ["idle", "slow", "large", "invalid"])
def test_uploads_that_are_cut(cutting: Start, kind: str) -> None:
    """A response says so too; one warning names the key."""
    gateway, alice = cutting(limits={"body_idle_time": "1s", "body_rate_time": "1s", "body": 2000})
    cookie = f"Cookie: {alice.cookie_header()}\r\n"
    bodies = {"large": f"{2001:x}\r\n{'x' * 2001}\r\n", "invalid": "zz\r\n"}
    status, reason, cut_by, key = {
        "large": (413, "body_too_large", "upload_too_large", "routes[].max_body"),
        "invalid": (400, "bad_framing", "upload_invalid", ""),
    }.get(kind, (408, "too_slow", "upload_slow", "limits.body_rate"))
    with gateway.connect() as client:
        client.send(f"POST /app/up HTTP/1.1\r\n{HOST}{cookie}Transfer-Encoding: chunked\r\n\r\n")
        client.send(bodies.get(kind, "1\r\n"))
        if kind == "slow":
            client.send("x\r\n")
            for _ in range(6):
                time.sleep(0.2)
                client.send("1\r\nx\r\n")
        answer = client.answer()
    assert (answer.status, answer.get("X-Gateway-Reason")) == (status, reason)
    assert logged(gateway, answer)["reason"] == reason
    assert_cut(gateway, "/app/up", cut_by, key)


def test_a_client_that_left_is_still_said_to_have_left(cutting: Start) -> None:
    """Nothing is cut by us where the client closes."""
    gateway, alice = cutting()
    with gateway.connect() as client:
        client.send(f"GET /app/rest HTTP/1.1\r\n{HOST}Cookie: {alice.cookie_header()}\r\n\r\n")
        client.head()
        client.abort()
    record = gateway.wait_for_log(lambda found: found["path"] == "/app/rest")
    assert (record["error"], record.get("cut_by")) == ("client_gone", None)


def test_cut_by_the_stop(cutting: Start) -> None:
    """What is still open when the time to stop is over is ended by us, WebSockets too."""
    gateway, alice = cutting(limits={"drain_time": "1s", "tunnel_drain_time": "1s"})
    with gateway.connect() as download, gateway.connect() as socket:
        cookie = f"Cookie: {alice.cookie_header()}\r\n"
        download.send(f"GET /app/rest HTTP/1.1\r\n{HOST}{cookie}\r\n")
        download.head()
        socket.send(f"GET /app/socket HTTP/1.1\r\n{HOST}{cookie}Origin: http://localhost\r\n{UPGRADE}\r\n")
        socket.head()
        socket.send(encode(TEXT, b"x", masked=True))
        gateway.signal(signal.SIGTERM)
        assert gateway.wait(PATIENCE) == 0
    wait_for(lambda: len([r for r in gateway.access_log() if r.get("cut_by") == "shutdown"]) == 2, what="both lines")
    assert not [record for record in gateway.access_log() if record.get("error") == "client_gone"]
