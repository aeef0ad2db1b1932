"""HTTP/1.1 rules for intermediaries (RFC 9110, RFC 9112), as both sides of the gateway see them."""

from __future__ import annotations

import asyncio
import re
from email.utils import parsedate_to_datetime

import pytest

from tests.conftest import StartGateway
from tests.e2e.conftest import Site
from tests.support.gateway import gateway_config, route
from tests.support.messages import Request
from tests.support.upstream import OK, RecorderUpstream, UpstreamConnection
from tests.support.waiting import PATIENCE, wait_for

# --- connections ----------------------------------------------------------------------------------


def test_keep_alive(site: Site) -> None:
    """HTTP/1.1 connections serve many requests, and the upstream's connection is used again."""
    with site.gateway.connect() as client:
        for i in range(20):
            client.send(f"GET /keep/{i} HTTP/1.1\r\n{site.host()}\r\n")
            assert client.answer().status == 200
    used = {request.connection for request in site.upstream.requests if request.target.startswith("/keep/")}
    assert len(used) == 1


def test_http10_is_closed_unless_asked(site: Site) -> None:
    """HTTP/1.0 connections close after the answer, unless the client asks for keep-alive."""
    with site.gateway.connect() as client:
        client.send(f"GET /ten HTTP/1.0\r\n{site.host()}\r\n")
        assert client.answer().status == 200
        assert client.is_closed()
    with site.gateway.connect() as client:
        for _ in range(3):
            client.send(f"GET /ten HTTP/1.0\r\n{site.host()}Connection: keep-alive\r\n\r\n")
            assert client.answer().status == 200


def test_connection_close_is_heeded(site: Site) -> None:
    """`Connection: close` from the client closes after the answer, which says so."""
    with site.gateway.connect() as client:
        client.send(f"GET /close HTTP/1.1\r\n{site.host()}Connection: close\r\n\r\n")
        answer = client.answer()
        assert "close" in (answer.get("Connection") or "")
        assert client.is_closed()


def test_upstream_close_does_not_close_the_client(site: Site) -> None:
    """`Connection: close` from the upstream ends the upstream's connection alone."""
    site.upstream.says("/upclose", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    with site.gateway.connect() as client:
        for _ in range(3):
            client.send(f"GET /upclose HTTP/1.1\r\n{site.host()}\r\n")
            assert client.answer().get("Connection") != "close"


def test_pipelined_answers_come_in_order(site: Site) -> None:
    """Pipelined requests are answered in their order, however long each takes (RFC 9112 §9.3.2)."""

    async def late(connection: UpstreamConnection, request: Request) -> None:
        await asyncio.sleep(0.15 if request.target.endswith("0") else 0)
        body = request.target.encode()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    site.upstream.on("/order", late)
    with site.gateway.connect() as client:
        client.send("".join(f"GET /order?{i} HTTP/1.1\r\n{site.host()}\r\n" for i in range(10)))
        assert [client.answer().body for _ in range(10)] == [f"/order?{i}".encode() for i in range(10)]


def test_pipelined_requests_of_two_users_are_not_mixed(site: Site) -> None:
    """Each pipelined request is judged by its own cookie."""
    with site.gateway.connect() as client:
        client.send(
            f"GET /app/one HTTP/1.1\r\n{site.host()}{site.cookie()}\r\n"
            f"GET /app/two HTTP/1.1\r\n{site.host()}\r\n"
            f"GET /app/three HTTP/1.1\r\n{site.host()}{site.cookie()}\r\n"
        )
        assert [client.answer().status for _ in range(3)] == [200, 401, 200]
    assert not site.upstream.seen("/app/two")


def test_request_byte_by_byte(site: Site) -> None:
    """A request that arrives one byte at a time is the same request."""
    text = (
        f"POST /bytes?x=1 HTTP/1.1\r\n{site.host()}Transfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n3;a=b\r\n...\r\n0\r\nX: y\r\n\r\n"
    )
    with site.gateway.connect() as client:
        for character in text:
            client.send(character)
        assert client.answer().status == 200
    assert (site.seen("/bytes").body, site.seen("/bytes").target) == (b"hello...", "/bytes?x=1")


# --- Expect and interim answers -------------------------------------------------------------------


def test_expect_is_forwarded_and_100_relayed(site: Site) -> None:
    """`Expect: 100-continue` reaches the upstream, whose 100 reaches the client before the body is sent."""

    async def careful(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await connection.body(request)
        await connection.send(OK)

    site.upstream.raw("/expect", careful)
    with site.gateway.connect() as client:
        client.send(f"POST /expect HTTP/1.1\r\n{site.host()}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.head().startswith(b"HTTP/1.1 100 ")
        client.send("hello")
        assert client.answer().status == 200
    assert (site.seen("/expect").get("Expect"), site.seen("/expect").body) == ("100-continue", b"hello")


def test_expect_refused_by_the_upstream(site: Site) -> None:
    """A final answer in place of 100 is relayed, and the body that was not sent is no request."""

    async def refuse(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        await connection.until_closed()

    site.upstream.raw("/expect-no", refuse)
    with site.gateway.connect() as client:
        client.send(f"POST /expect-no HTTP/1.1\r\n{site.host()}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.answer().status == 417


def test_expect_without_a_session_gets_no_100(site: Site) -> None:
    """Without a session the body is not asked for: 401 at once, and nothing reaches the upstream."""
    with site.gateway.connect() as client:
        client.send(f"POST /app/expect HTTP/1.1\r\n{site.host()}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.interim) == (401, [])
    assert not site.upstream.seen("/app/expect")


def test_expect_of_http10_is_ignored(site: Site) -> None:
    """An HTTP/1.0 client gets no 100, whatever it expects (RFC 9110 §10.1.1)."""
    with site.gateway.connect() as client:
        client.send(f"POST /expect10 HTTP/1.0\r\n{site.host()}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        answer = client.answer()
        assert (answer.status, answer.interim) == (200, [])


@pytest.mark.parametrize("status", [102, 103])
def test_interim_answers_are_relayed(site: Site, status: int) -> None:
    """1xx answers are forwarded (RFC 9110 §15.2), and their cookies and identity headers are not special."""
    site.upstream.says(f"/i{status}", b"HTTP/1.1 %d Interim\r\nLink: </a>\r\n\r\n" % status + OK, then="stay")
    with site.gateway.connect() as client:
        client.send(f"GET /i{status} HTTP/1.1\r\n{site.host()}\r\n")
        assert [interim for interim, _ in client.answer().interim] == [status]


# --- headers --------------------------------------------------------------------------------------


def test_connection_nominated_headers_go(site: Site) -> None:
    """What `Connection` names is for one hop; Host, Cookie, length and identity stay (RFC 9110 §7.6.1)."""
    site.ask(
        f"POST /app/hop HTTP/1.1\r\n{site.host()}{site.cookie()}X-Hop: 1\r\nX-Keep: 2\r\nKeep-Alive: timeout=5\r\n"
        "Connection: X-Hop, Host, Content-Length, X-Forwarded-User, X-Forwarded-For\r\nContent-Length: 2\r\n\r\nhi",
    )
    request = site.seen("/app/hop")
    assert (request.get("X-Hop"), request.get("X-Keep"), request.get("Keep-Alive")) == (None, "2", None)
    assert (request.get("X-Forwarded-User"), request.body) == ("alice", b"hi")
    assert request.get("X-Forwarded-For") == "127.0.0.1"


def test_order_and_duplicates_are_kept(site: Site) -> None:
    """Headers arrive in their order, repeats included, on both ways (RFC 9110 §5.3)."""
    site.upstream.says(
        "/dup",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nVary: a\r\nX-A: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        b"Content-Length: 0\r\n\r\n",
        then="stay",
    )
    with site.gateway.connect() as client:
        client.send(f"GET /dup HTTP/1.1\r\n{site.host()}X-B: 1\r\nAccept: a\r\nX-B: 2\r\nx-b: 3\r\n\r\n")
        answer = client.answer()
    assert (answer.get_all("X-A"), answer.get_all("Set-Cookie")) == (["1", "2"], ["a=1", "b=2"])
    assert site.seen("/dup").get_all("X-B") == ["1", "2", "3"]


def test_via_date_and_forwarded(site: Site) -> None:
    """Requests gain Via and X-Forwarded-*; an answer without Date gains one (RFC 9110 §7.6.3, §6.6.1)."""
    site.upstream.says("/date", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", then="stay")
    with site.gateway.connect() as client:
        client.send(f"GET /date HTTP/1.1\r\n{site.host()}Via: 1.0 before\r\n\r\n")
        answer = client.answer()
    request = site.seen("/date")
    via = ", ".join(request.get_all("Via"))
    assert re.fullmatch(r"1\.0 before, 1\.1 \S+", via), via
    assert request.get("X-Forwarded-Proto") == "http"
    assert request.get("X-Forwarded-Host") == site.gateway.authority
    assert request.get("X-Request-Id")
    assert parsedate_to_datetime(answer.get("Date") or "").year >= 2026


def test_date_of_the_upstream_is_kept(site: Site) -> None:
    """A Date that is there stays as it is."""
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    site.upstream.says("/date2", f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode(), then="stay")
    with site.gateway.connect() as client:
        client.send(f"GET /date2 HTTP/1.1\r\n{site.host()}\r\n")
        assert client.answer().get("Date") == date


def test_http10_client_is_noted_in_via(site: Site) -> None:
    """Via names the version in which the request came, and the upstream gets our own (RFC 9112 §2.3)."""
    site.ask(f"GET /via10 HTTP/1.0\r\n{site.host()}\r\n")
    request = site.seen("/via10")
    assert (request.get("Via") or "").startswith("1.0 ")
    assert request.version == "HTTP/1.1"


def test_max_forwards(site: Site) -> None:
    """OPTIONS with Max-Forwards 0 is answered here, with more it is counted down; GET ignores it."""
    status, _ = site.ask(f"OPTIONS /max0 HTTP/1.1\r\n{site.host()}Max-Forwards: 0\r\n\r\n")
    assert status in (200, 204)
    assert not site.upstream.seen("/max0")
    assert site.ask(f"OPTIONS /max5 HTTP/1.1\r\n{site.host()}Max-Forwards: 5\r\n\r\n")[0] == 200
    assert site.seen("/max5").get("Max-Forwards") == "4"
    assert site.ask(f"GET /maxget HTTP/1.1\r\n{site.host()}Max-Forwards: 0\r\n\r\n")[0] == 200


@pytest.mark.parametrize(
    ("method", "target"), [("TRACE", "/trace"), ("TRACE", "/app/trace"), ("CONNECT", "x.example:80")]
)
def test_trace_and_connect_are_refused(site: Site, method: str, target: str) -> None:
    """TRACE and CONNECT are 405 or 501, and echo nothing (RFC 9110 §9.3.6, §9.3.8)."""
    with site.gateway.connect() as client:
        client.send(f"{method} {target} HTTP/1.1\r\n{site.host()}{site.cookie()}\r\n")
        answer = client.answer()
    assert answer.status in (405, 501)
    if answer.status == 405:
        assert "GET" in (answer.get("Allow") or ""), "RFC 9110 §15.5.6"
    assert site.alice.session_pair()[1].encode() not in answer.body


@pytest.mark.parametrize("target", ["/t?", "/t?a=b&&=", "/t/?%2f%5c", "/t;x=y/z", "/t/a%20b%41", "/t//x", "/t?a=/../b"])
def test_target_is_forwarded_untouched(site: Site, target: str) -> None:
    """Path and query reach the upstream to the letter, a lone question mark too (RFC 9110 §7.7)."""
    assert site.ask(f"GET {target} HTTP/1.1\r\n{site.host()}\r\n")[0] == 200
    assert site.upstream.requests[-1].target == target


def test_unknown_method_is_forwarded(site: Site) -> None:
    """Methods nobody knows are forwarded (RFC 9110 §7.6)."""
    assert site.ask(f"FROBNICATE /frob HTTP/1.1\r\n{site.host()}\r\n")[0] == 200
    assert site.seen("/frob").method == "FROBNICATE"


def test_unknown_status_is_relayed(site: Site) -> None:
    """A status nobody knows is relayed with its body."""
    site.upstream.says("/299", b"HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", then="stay")
    assert site.ask(f"GET /299 HTTP/1.1\r\n{site.host()}\r\n") == (299, b"ok")


def test_compressed_answer_passes_untouched(site: Site) -> None:
    """Nothing is decompressed or transformed (RFC 9110 §7.7)."""
    site.upstream.says(
        "/gz", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\0\xff", then="stay"
    )
    with site.gateway.connect() as client:
        client.send(f"GET /gz HTTP/1.1\r\n{site.host()}Accept-Encoding: gzip\r\n\r\n")
        answer = client.answer()
    assert (answer.body, answer.get("Content-Encoding")) == (b"\x1f\x8b\0\xff", "gzip")


def test_forwarding_loop_is_noticed(site: Site) -> None:
    """A request that has been through this gateway many times is not sent round for ever (RFC 9110 §7.6)."""
    site.ask(f"GET /via HTTP/1.1\r\n{site.host()}\r\n")
    own = (site.seen("/via").get("Via") or "").split(" ", 1)[1]
    via = ", ".join([f"1.1 {own}"] * 50)
    status, _ = site.ask(f"GET /looped HTTP/1.1\r\n{site.host()}Via: {via}\r\n\r\n")
    assert status in (502, 508)
    assert not site.upstream.seen("/looped")


def test_access_log_tells_the_request(site: Site) -> None:
    """One JSON line holds time, client, method, host, path, status, bytes, durations, user, route, request id."""
    site.ask(f"GET /app/logged?password=geheim HTTP/1.1\r\n{site.host()}{site.cookie()}\r\n")
    record = site.gateway.wait_for_log(lambda found: found["path"] == "/app/logged")
    assert (record["client"], record["method"], record["status"]) == ("127.0.0.1", "GET", 200)
    assert (record["user"], record["route"], record["host"].split(":")[0]) == ("alice", "app", "127.0.0.1")
    assert record["bytes"] >= 2
    assert 0 <= record["upstream_duration"] <= record["duration"] < PATIENCE
    assert record["request_id"] == site.seen("/app/logged").get("X-Request-Id")
    assert "geheim" not in site.gateway.log_text()


def test_half_closed_client_still_gets_its_answer(site: Site) -> None:
    """A client that has sent its request and shut its side down is served, as programs like netcat do."""

    async def late(connection: UpstreamConnection, request: Request) -> None:
        await asyncio.sleep(0.2)
        await connection.send(OK)

    site.upstream.on("/half", late)
    with site.gateway.connect() as client:
        client.send(f"GET /half HTTP/1.1\r\n{site.host()}\r\n")
        wait_for(lambda: site.upstream.seen("/half"))
        client.socket.shutdown(1)
        assert client.answer().status == 200


def test_who_has_left_takes_no_place(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Reading on after the last answer is for clients that may still send; one that has closed is let go at once."""
    gateway = start_gateway(gateway_config(route("app", "/", recorder.url, public=True), limits={"linger_time": "1h"}))
    for connection in ("keep-alive", "close"):
        for shuts in (False, True):
            with gateway.connect() as client:
                client.send(f"GET /x HTTP/1.1\r\nHost: {gateway.authority}\r\nConnection: {connection}\r\n\r\n")
                if shuts:
                    client.socket.shutdown(1)
                assert client.answer().status == 200
    with gateway.connect():
        pass
    wait_for(lambda: "\ngateway_connections 0.0\n" in gateway.admin("/metrics"), what="the connections to go")
