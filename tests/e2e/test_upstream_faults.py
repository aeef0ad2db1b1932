"""Upstreams and connections that fail: what each client sees, and what is never done twice."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.support.certificates import make_certificate
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.hostile import HostileUpstream
from tests.support.messages import Answer, Request, Truncated
from tests.support.ports import free_port
from tests.support.upstream import OK, RecorderUpstream, ScriptedUpstream, UpstreamConnection
from tests.support.users import ALICE
from tests.support.visitor import logged_in
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(shared_upstream: HostileUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("app", "/", shared_upstream.url, public=True),
        route("quick", "/quick", shared_upstream.url, public=True, timeout={"response": "1s"}),
        limits={"answer_idle_time": "3s"},
    )
    with GatewayProcess(tmp_path_factory.mktemp("faults"), config) as process:
        yield process


@pytest.fixture
def upstream(shared_upstream: HostileUpstream, gateway: GatewayProcess) -> Iterator[HostileUpstream]:
    """The upstream of the shared gateway; after each test the next user gets the right answer."""
    yield shared_upstream
    assert (answer := ask(gateway, "/next")).status == 200
    assert answer.body == b"ok"
    assert not shared_upstream.violations, shared_upstream.violations


def ask(gateway: GatewayProcess, target: str, method: str = "GET", body: bytes = b"") -> Answer:
    """Return the answer to one request on a connection of its own; it may be cut short."""
    with gateway.connect() as client:
        length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
        client.send(f"{method} {target} HTTP/1.1\r\nHost: {gateway.authority}\r\n{length}\r\n".encode() + body)
        return client.partial_answer(method)


def test_20_refused_connection(start_gateway: StartGateway) -> None:
    """An upstream that refuses connections is 502; with a second address nobody notices."""
    with RecorderUpstream() as alive:
        dead = f"http://127.0.0.1:{free_port()}"
        gateway = start_gateway(
            gateway_config(
                route("dead", "/dead", dead, public=True), route("half", "/half", [dead, alive.url], public=True)
            )
        )
        assert ask(gateway, "/dead/x").status == 502
        for i in range(10):
            assert ask(gateway, f"/half/{i}").status == 200
            assert ask(gateway, f"/half/post{i}", "POST", b"body").status == 200
        assert len(alive.requests) == 20, "each request arrives once"
        record = gateway.wait_for_log(lambda found: found["path"] == "/dead/x")
        assert record["status"] == 502
        assert record["error"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_21_keep_alive_race(start_gateway: StartGateway, how: str) -> None:
    """A pooled connection that dies under a request: GET is repeated once on a new one, POST never."""
    seen: list[Request] = []

    async def once(connection: UpstreamConnection) -> None:
        """Answer one request, and drop the connection at the next."""
        first = await connection.request()
        assert first
        seen.append(first)
        await connection.send(OK)
        second = await connection.request()
        if second:
            seen.append(second)
            if how == "reset":
                connection.abort()

    with ScriptedUpstream(once) as upstream:
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True)))
        assert ask(gateway, "/first").status == 200
        assert ask(gateway, "/get").status == 200
        assert [request.target for request in seen] == ["/first", "/get", "/get"]
        for method, target in (("POST", "/post"), ("PUT", "/put")):

            def second(method: str = method, target: str = target) -> int:
                """Send it on the connection of the request before; one that rested for a second is not taken."""
                seen.clear()
                assert ask(gateway, "/first").status == 200
                status = ask(gateway, target, method, b"payment").status
                return status if seen[-1].connection == seen[-2].connection else 0

            assert wait_for(second) == 502
            assert [request.target for request in seen].count(target) == 1, "a body that was streamed is not sent again"
        assert not upstream.violations


def test_21_reset_before_the_answer_is_not_repeated_for_ever(start_gateway: StartGateway) -> None:
    """An upstream that resets every connection after the head is asked at most twice, and the client gets 502."""
    seen: list[Request] = []

    async def reset(connection: UpstreamConnection) -> None:
        request = await connection.request()
        assert request
        seen.append(request)
        connection.abort()

    with ScriptedUpstream(reset) as upstream:
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url, public=True)))
        assert ask(gateway, "/get").status == 502
        assert len(seen) <= 2
        seen.clear()
        assert ask(gateway, "/post", "POST", b"x").status == 502
        assert len(seen) == 1


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_22_cut_within_a_body(gateway: GatewayProcess, upstream: HostileUpstream, framing: str, then: str) -> None:
    """An answer cut within its body cuts the client's connection, and the access log says upstream_aborted."""
    answers = {
        "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 50_000,
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc350\r\n" + b"x" * 50_000 + b"\r\n",
    }
    path = f"/cut/{framing}/{then}"
    upstream.says(path, answers[framing], then=then)
    with gateway.connect() as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
        try:
            answer = client.partial_answer()
            assert not answer.complete
        except Truncated:
            pass
        assert client.closed_by_peer
    record = gateway.wait_for_log(lambda found: found["path"] == path)
    assert record["error"] == "upstream_aborted"


def test_23_no_head_in_time(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """An answer whose head does not come in time is 504, and the upstream's connection is closed."""

    async def silent(connection: UpstreamConnection, request: Request) -> None:
        await connection.until_closed()

    upstream.on("/quick/slow", silent)
    started = time.monotonic()
    assert ask(gateway, "/quick/slow").status == 504
    assert time.monotonic() - started > 0.9
    (request,) = upstream.seen("/quick/slow")
    wait_for(lambda: upstream.connections[request.connection].ended, what="the upstream's connection to be closed")
    assert ask(gateway, "/next").status == 200


def test_24_trickling_body(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """A body that trickles passes while it moves within the idle limit, and is cut when it stops."""

    async def trickle(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for byte in b"abcdefgh":
            await connection.send(bytes((byte,)))
            await asyncio.sleep(0.5 if request.target == "/whole" else 0)
        if request.target == "/whole":
            await connection.send(b"ijkl")
        else:
            await connection.until_closed()

    upstream.on("/whole", trickle)
    upstream.on("/stops", trickle)
    assert ask(gateway, "/whole").body == b"abcdefghijkl", "4 s in all, but never 3 s without a byte"
    answer = ask(gateway, "/stops")
    assert (answer.complete, answer.body) == (False, b"abcdefgh")
    (request,) = upstream.seen("/stops")
    wait_for(lambda: upstream.connections[request.connection].ended, what="the upstream's connection to be closed")


def test_25_surplus_on_an_idle_connection(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """Unsolicited bytes on an idle pooled connection end it; the next user is unaffected."""
    surplus = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"

    async def two(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(OK)
        await asyncio.sleep(0.02)
        await connection.send(surplus)

    upstream.on("/surplus", two)
    for _ in range(20):
        assert ask(gateway, "/surplus").body == b"ok"
        used = upstream.connections[upstream.seen("/surplus")[-1].connection]
        wait_for(lambda used=used: used.ended, what="the connection with more than was asked for to be closed")  # type: ignore[misc]
        assert ask(gateway, "/next").body == b"ok"


@pytest.mark.parametrize("status", [413, 401])
@pytest.mark.parametrize("framing", ["Content-Length: 10000000", "Transfer-Encoding: chunked"])
def test_26_early_answer(gateway: GatewayProcess, upstream: HostileUpstream, status: int, framing: str) -> None:
    """An answer before the body was read is relayed, the upload stops, and no byte of it becomes a request."""

    async def refuse(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(
            f"HTTP/1.1 {status} Refused\r\nContent-Length: 7\r\nConnection: close\r\n\r\nrefused".encode()
        )
        await connection.finish()
        await connection.until_closed()

    path = f"/upload/{status}/{len(framing)}"
    upstream.raw(path, refuse)
    with gateway.connect() as client:
        client.send(f"POST {path} HTTP/1.1\r\nHost: {gateway.authority}\r\n{framing}\r\n\r\n")
        client.send(b"5\r\nhello\r\n" if "chunked" in framing else b"x" * 100_000)
        answer = client.answer()
        assert (answer.status, answer.body) == (status, b"refused")
        assert client.is_closed(), "the rest of the body must not be read as a request"
    assert ask(gateway, "/next").status == 200
    assert not upstream.violations, upstream.violations


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_27_client_gone_within_an_upload(start_gateway: StartGateway, framing: str, how: str) -> None:
    """When a client leaves within an upload, the upstream's request is aborted and its slot given back."""
    with RecorderUpstream() as upstream:
        gateway = start_gateway(
            gateway_config(
                route("app", "/", upstream.url, public=True),
                limits={"upstream_connections": 1, "upstream_wait_time": "200ms"},
            )
        )
        with gateway.connect() as client:
            client.send(f"POST /upload HTTP/1.1\r\nHost: {gateway.authority}\r\n{framing}\r\n\r\n")
            client.send(b"5\r\nhello\r\n" if "chunked" in framing else b"x" * 1000)
            wait_for(lambda: upstream.requests, what="the upload to arrive")
            if how == "reset":
                client.abort()
        wait_for(lambda: upstream.connections[0].ended, what="the upload to be aborted")
        assert not upstream.requests[0].complete, "a partial body must not look complete"
        assert wait_for(lambda: ask(gateway, "/next").status == 200, what="the slot to be free")
        assert not upstream.violations, upstream.violations


def test_27_client_gone_while_waiting_for_an_answer(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """When a client leaves before its answer, the upstream's connection is closed soon and not used again."""

    async def silent(connection: UpstreamConnection, request: Request) -> None:
        await connection.until_closed()

    upstream.on("/wait", silent)
    with gateway.connect() as client:
        client.send(f"GET /wait HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
        request = wait_for(lambda: upstream.seen("/wait"))[0]
    wait_for(lambda: upstream.connections[request.connection].ended, what="the upstream's connection to be closed")


def upstream_tls(directory: Path, *, expired: bool = False, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context with a self-signed certificate, and the certificate's file."""
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    address = ipaddress.ip_address(name) if name[0].isdigit() else None
    certificate, key = make_certificate(
        directory, name, address=address, start=now - 9 * day, end=now - day if expired else now + day
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@pytest.mark.parametrize("fault", ["self-signed", "expired", "other name"])
def test_42_upstream_with_a_bad_certificate(start_gateway: StartGateway, tmp_path: Path, fault: str) -> None:
    """An upstream whose certificate does not hold is 502, and not one byte is sent to it: no cookie, no identity."""
    name = "other.example" if fault == "other name" else "127.0.0.1"
    context, certificate = upstream_tls(tmp_path, expired=fault == "expired", name=name)
    with RecorderUpstream(tls=context) as upstream:
        target: dict[str, object] = {"url": upstream.url}
        if fault != "self-signed":
            target["ca"] = str(certificate)
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url) | {"upstream": target}))
        visitor = logged_in(gateway, ALICE)
        visitor.cookies["app"] = "secret"
        assert visitor.get("/x").status == 502
        assert not upstream.requests
        assert upstream.received() == b""


def test_42_upstream_with_a_good_certificate(start_gateway: StartGateway, tmp_path: Path) -> None:
    """With the right authority configured the same upstream is served."""
    context, certificate = upstream_tls(tmp_path)
    with RecorderUpstream(tls=context) as upstream:
        target = {"url": upstream.url, "ca": str(certificate)}
        gateway = start_gateway(gateway_config(route("app", "/", upstream.url) | {"upstream": target}))
        assert logged_in(gateway, ALICE).get("/x").status == 200
        assert upstream.last().get("X-Forwarded-User") == "alice"
