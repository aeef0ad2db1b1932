"""Clients and machines that misbehave: slow ones, greedy ones, full pipes and spent descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import StartGateway
from tests.support.frames import CLOSE, decode
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.hostile import HostileUpstream
from tests.support.load import canaries, many_sockets
from tests.support.messages import Request
from tests.support.upstream import RecorderUpstream, UpstreamConnection
from tests.support.users import ALICE, User
from tests.support.visitor import PAGE, Visitor, form_fields
from tests.support.waiting import PATIENCE, wait_for

MB = 1_000_000
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def get(gateway: GatewayProcess, target: str = "/x") -> int:
    """Return the status of one request on a connection of its own."""
    with gateway.connect() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
        return client.answer().status


def test_28_client_that_stops_reading(start_gateway: StartGateway) -> None:
    """A client that stops reading a 1 GB download: the upstream is paused, memory is bounded, the stall is cut."""
    size = 1000 * MB

    async def endless(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while connection.sent < size:
            await connection.send(b"x" * 65536)

    with HostileUpstream() as upstream:
        upstream.on("/big", endless)
        gateway = start_gateway(
            gateway_config(route("app", "/", upstream.url, public=True), limits={"write_stall_time": "2s"})
        )
        assert get(gateway) == 200
        before = gateway.memory()
        with gateway.connect(receive_buffer=8192) as client:
            client.send(f"GET /big HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
            client.head()
            (request,) = upstream.seen("/big")
            connection = upstream.connections[request.connection]
            time.sleep(1)
            sent = connection.sent
            assert gateway.memory() - before < 16 * MB
            assert sent < 64 * MB, "socket buffers at most"
            assert get(gateway) == 200
            wait_for(lambda: connection.ended, 20, "the stalled download to be cut")
            assert connection.sent - sent < 64 * MB
        record = gateway.wait_for_log(lambda found: found["path"] == "/big")
        assert record["error"]


SLOW_HEAD = "GET /x HTTP/1.1\r\nHost: localhost\r\nX-A: "
SLOW_BODY = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nab"


@pytest.mark.parametrize("start", [SLOW_HEAD, SLOW_BODY], ids=["head", "body"])
def test_29_slow_senders(start_gateway: StartGateway, start: str) -> None:
    """200 clients that send slowly hold nobody else up, and the timers close them."""
    limits = {"head_time": "3s", "body_idle_time": "3s", "linger_time": "1s"}
    with RecorderUpstream() as upstream:
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True), limits=limits))
        with canaries(gateway) as others, many_sockets(gateway.port, 200) as slow:
            for connection in slow:
                connection.sendall(start.encode())
            for _ in range(4):
                time.sleep(0.5)
                if start == SLOW_HEAD:
                    for connection in slow:
                        # On a slow machine some are closed by now.
                        with contextlib.suppress(OSError):
                            connection.sendall(b"a")
            wait_for(lambda: gateway.open_sockets() < 100, what="the slow clients to be closed")
        others.assert_fine()


@pytest.mark.parametrize(
    ("first", "rest"),
    [("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab", "cd"), (SLOW_HEAD, "a\r\n\r\n")],
    ids=["body", "head"],
)
def test_29_what_came_while_the_gateway_stood_still(start_gateway: StartGateway, first: str, rest: str) -> None:
    """A process that got no time reads what has come before it takes anybody for slow."""
    limits = {"head_time": "1s", "body_idle_time": "1s", "first_byte_time": "1s"}
    with RecorderUpstream() as upstream:
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True), limits=limits))
        with gateway.connect() as client:
            client.send(first)
            if "ab" in first:
                wait_for(lambda: upstream.received().endswith(b"ab"), what="the first half upstream")
            pids = gateway.pids()
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                client.send(rest)
                time.sleep(1.5)
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
            assert client.answer().status == 200


def test_29_slow_readers(start_gateway: StartGateway) -> None:
    """200 clients that take nothing of a large answer hold nobody else up, and the timers close them."""
    size = 20 * MB
    piece = b"x" * MB

    async def big(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(20):
            await connection.send(piece)

    with HostileUpstream() as upstream:
        upstream.on("/big", big)
        gateway = start_gateway(
            gateway_config(route("app", "/", upstream.url, public=True), limits={"write_stall_time": "6s"})
        )
        before = gateway.memory()
        with many_sockets(gateway.port, 200, receive_buffer=4096) as slow:
            for connection in slow:
                connection.sendall(f"GET /big HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n".encode())
            wait_for(lambda: len(upstream.seen("/big")) == 200, what="the slow readers to be served")
            with canaries(gateway) as others:
                wait_for(lambda: gateway.open_sockets() < 100, what="the slow readers to be cut")
        others.assert_fine(10.0)
        # What uvloop reads at once with the head, the first piece of the body, and what may lie unsent.
        assert gateway.memory() - before < 200 * (256 + 128 + 64) * 1024 + 16 * MB


def test_30_idle_websockets(start_gateway: StartGateway) -> None:
    """2 000 idle WebSockets cost little, hold nobody up, and are closed with 1001 when the gateway stops."""
    count = 2000
    with RecorderUpstream() as upstream:
        gateway = start_gateway(
            gateway_config(
                route("app", "/", upstream.url, public=True),
                limits={"upstream_connections": 5000, "first_byte_time": "1m"},
            )
        )
        for _ in range(20):
            get(gateway)
        before = gateway.memory()
        handshake = (
            f"GET /ws/idle HTTP/1.1\r\nHost: {gateway.authority}\r\nOrigin: http://{gateway.authority}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        ).encode()
        with many_sockets(gateway.port, count) as sockets:
            for connection in sockets:
                connection.sendall(handshake)
            for connection in sockets:
                assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
            each = (gateway.memory() - before) / count
            assert each < 24 * 1024, f"{each / 1024:.1f} KiB for a WebSocket and its upstream"
            with canaries(gateway) as others:
                time.sleep(1)
            others.assert_fine()
            gateway.signal(signal.SIGTERM)
            codes = [close_code(connection) for connection in sockets]
            assert set(codes) == {1001}, {code: codes.count(code) for code in set(codes)}
            assert gateway.wait() == 0
            gateway.assert_no_traceback()


def close_code(connection: socket.socket) -> int:
    """Return the code of the close frame that comes; 0 where the end comes without one."""
    connection.settimeout(PATIENCE)
    data = b""
    while True:
        try:
            piece = connection.recv(4096)
        except OSError:
            piece = b""
        if not piece:
            return 0
        frames, data = decode(data + piece)
        for frame in frames:
            if frame.opcode == CLOSE:
                return frame.close_code()


def dropped_lines(gateway: GatewayProcess) -> float:
    """Return how many log lines the metrics say were dropped."""
    found = re.findall(r"(?m)^\w*dropped\w*(?:\{[^}]*\})? ([0-9.e+]+)$", gateway.admin("/metrics"))
    assert found, "no metric counts dropped log lines"
    return sum(map(float, found))


def test_35_standard_output_blocked(start_gateway: StartGateway) -> None:
    """A pipe that nobody reads holds up no request, and no memory is filled for it."""
    reader, writer = os.pipe()
    with RecorderUpstream() as upstream, os.fdopen(reader, "rb"), os.fdopen(writer, "wb") as stdout:
        config = gateway_config(route("app", "/", upstream.url, public=True))
        config["log"] = {"access": "stdout", "audit": "off"}
        gateway = start_gateway(config, stdout=stdout)
        target = "/" + "x" * 7000
        with canaries(gateway) as others, gateway.connect() as client:
            for _ in range(2000):
                client.send(f"GET {target} HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
                assert client.answer().status == 200
        others.assert_fine()
        wait_for(lambda: dropped_lines(gateway) > 0, what="dropped lines to be counted")
        assert gateway.memory() < 200 * MB
        gateway.terminate()


def test_35_log_on_a_full_disk(start_gateway: StartGateway) -> None:
    """A log file that cannot be written costs lines, which are counted, and no request."""
    with RecorderUpstream() as upstream:
        config = gateway_config(route("app", "/", upstream.url, public=True))
        config["log"] = {"access": "/dev/full", "audit": "off"}
        gateway = start_gateway(config)
        for _ in range(200):
            assert get(gateway) == 200
        assert wait_for(lambda: dropped_lines(gateway) > 0, what="dropped lines to be counted")


def test_36_no_descriptors_left(start_gateway: StartGateway) -> None:
    """At the limit of open files accepting pauses and resumes: no busy loop, no crash, health still answers."""
    with RecorderUpstream() as upstream:
        gateway = start_gateway(
            gateway_config(route("app", "/", upstream.url, public=True), limits={"first_byte_time": "1m"}),
            open_files=256,
        )
        assert get(gateway) == 200
        with many_sockets(gateway.port, 400):
            time.sleep(1)
            used = gateway.cpu()
            time.sleep(2)
            assert gateway.cpu() - used < 1, "a busy loop"
            assert gateway.is_alive()
            assert gateway.admin("/healthz")
        assert wait_for(lambda: get(gateway) == 200, what="service to resume")
        gateway.assert_no_traceback()


def test_36_too_many_connections(start_gateway: StartGateway) -> None:
    """Beyond `limits.connections` a client gets 503 with Retry-After, and service resumes when some leave."""
    with RecorderUpstream() as upstream:
        gateway = start_gateway(
            gateway_config(route("app", "/", upstream.url, public=True), limits={"connections": 20})
        )
        with many_sockets(gateway.port, 20) as sockets:
            for connection in sockets:
                connection.sendall(f"GET /x HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n".encode())
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            with gateway.connect() as client:
                client.send(f"GET /x HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
                answer = client.answer()
                assert (answer.status, bool(answer.get("Retry-After"))) == (503, True)
                assert client.is_closed()
        assert wait_for(lambda: get(gateway) == 200, what="service to resume")


def test_38_many_uploads(start_gateway: StartGateway) -> None:
    """100 uploads of 5 MB at once to an upstream that reads slowly are streamed: memory stays bounded."""
    count, size = 100, 5 * MB
    done: list[int] = []

    async def slow(connection: UpstreamConnection, request: Request) -> None:
        await asyncio.sleep(1.5)
        await connection.body(request)
        done.append(len(request.body))
        request.body = b""
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def upload(_: int) -> int:
        with gateway.connect(timeout=60) as client:
            client.send(f"POST /upload HTTP/1.1\r\nHost: {gateway.authority}\r\nContent-Length: {size}\r\n\r\n")
            client.send(b"x" * size)
            return client.answer().status

    with HostileUpstream() as upstream:
        upstream.raw("/upload", slow)
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True)))
        assert get(gateway) == 200
        before, peak = gateway.memory(), 0
        with ThreadPoolExecutor(count) as pool:
            answers = [pool.submit(upload, i) for i in range(count)]
            while not all(answer.done() for answer in answers):
                peak = max(peak, gateway.memory())
                time.sleep(0.05)
        assert [answer.result() for answer in answers] == [200] * count
        assert done == [size] * count
        assert peak - before < count * 256 * 1024 + 16 * MB, f"{(peak - before) / MB:.0f} MB"


STRONG = User("alice", ALICE.password, ALICE.name, ALICE.groups, memory=65536, rounds=3)


def test_41_login_storm(start_gateway: StartGateway) -> None:
    """100 logins at once: some are served, the rest get 429 or 503 with Retry-After, and nobody else waits."""
    with RecorderUpstream() as upstream:
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True)), users=[STRONG])
        visitor = Visitor(gateway)
        token = form_fields(visitor.get("/_gateway/login", PAGE).text())["csrf_token"]
        form = {"username": "alice", "password": ALICE.password, "next": "/", "csrf_token": token}
        barrier = threading.Barrier(100)

        def login(_: int) -> tuple[int, bool]:
            one = Visitor(gateway)
            one.cookies = dict(visitor.cookies)
            barrier.wait()
            answer = one.post("/_gateway/login", form, timeout=120)
            return answer.status, answer.get("Retry-After") is not None

        before = gateway.memory()
        with canaries(gateway) as others, ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(login, range(100)))
        others.assert_fine()
        statuses = [status for status, _ in answers]
        assert set(statuses) <= {303, 429, 503}, sorted(set(statuses))
        assert 303 in statuses
        assert all(retry for status, retry in answers if status in (429, 503))
        assert gateway.memory() - before < 64 * MB * (os.cpu_count() or 1) + 64 * MB
        assert wait_for(
            lambda: Visitor(gateway).try_login("alice", ALICE.password).status == 303, 60, "logins to go on"
        )


def test_29_a_pipelined_flood_is_served_fairly(start_gateway: StartGateway) -> None:
    """A client that sends requests faster than it reads answers is paused, and others are served meanwhile."""
    with RecorderUpstream() as upstream:
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True)))
        assert get(gateway) == 200
        before = gateway.memory()
        flood = f"GET /x HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n".encode() * 1000
        with canaries(gateway) as others, many_sockets(gateway.port, 10, receive_buffer=4096) as greedy:
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                for connection in greedy:
                    connection.settimeout(0.01)
                    with contextlib.suppress(OSError):
                        connection.sendall(flood)
            assert gateway.memory() - before < 32 * MB
        others.assert_fine(10.0)
