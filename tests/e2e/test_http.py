"""HTTP/1.1 rules for intermediaries (RFC 9110, RFC 9112), as both sides of the gateway see them."""

from __future__ import annotations

import asyncio
import hashlib
import re
from email.utils import parsedate_to_datetime

import pytest

from tests.e2e.conftest import Site
from tests.support.messages import Request
from tests.support.upstream import OK, UpstreamConnection
from tests.support.waiting import wait_for


def exchange(site: Site, request: str, method: str = "GET") -> tuple[int, bytes]:
    """Send a whole request; return status and body."""
    with site.gateway.connect() as client:
        client.send(request)
        answer = client.answer(method)
        return answer.status, answer.body


def seen(site: Site, path: str) -> Request:
    """Return the newest request to a path."""
    return site.upstream.seen(path)[-1]


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
    text = f"POST /bytes?x=1 HTTP/1.1\r\n{site.host()}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\n...\r\n0\r\nX: y\r\n\r\n"
    with site.gateway.connect() as client:
        for character in text:
            client.send(character)
        assert client.answer().status == 200
    assert (seen(site, "/bytes").body, seen(site, "/bytes").target) == (b"hello...", "/bytes?x=1")


# --- bodies ---------------------------------------------------------------------------------------


def test_head_keeps_the_length(site: Site) -> None:
    """HEAD is forwarded as HEAD, and its answer keeps Content-Length without a body (RFC 9110 §9.3.2)."""
    site.upstream.says("/head", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", then="stay")
    with site.gateway.connect() as client:
        for _ in range(2):
            client.send(f"HEAD /head HTTP/1.1\r\n{site.host()}\r\n")
            answer = client.answer("HEAD")
            assert (answer.status, answer.get("Content-Length")) == (200, "1234")
    assert seen(site, "/head").method == "HEAD"


def test_204_has_no_length(site: Site) -> None:
    """204 has neither body nor length, and the connection goes on (RFC 9110 §8.6)."""
    site.upstream.says("/204", b"HTTP/1.1 204 No Content\r\n\r\n", then="stay")
    with site.gateway.connect() as client:
        for _ in range(3):
            client.send(f"GET /204 HTTP/1.1\r\n{site.host()}\r\n")
            answer = client.answer()
            assert (answer.status, answer.get("Content-Length"), answer.get("Transfer-Encoding")) == (204, None, None)


def test_304_keeps_the_length_it_names(site: Site) -> None:
    """304 may name the length that 200 would have; it has no body."""
    site.upstream.says("/304", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n', then="stay")
    with site.gateway.connect() as client:
        for _ in range(3):
            client.send(f"GET /304 HTTP/1.1\r\n{site.host()}\r\n")
            answer = client.answer()
            assert (answer.status, answer.get("Content-Length"), answer.get("ETag")) == (304, "99", '"a"')


def test_answer_without_length_to_http11(site: Site) -> None:
    """An answer that ends with its connection arrives chunked at an HTTP/1.1 client, whose connection goes on."""
    site.upstream.says("/until", b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
    with site.gateway.connect() as client:
        for _ in range(2):
            client.send(f"GET /until HTTP/1.1\r\n{site.host()}\r\n")
            answer = client.answer()
            assert (answer.body, answer.get("Transfer-Encoding")) == (b"until the end", "chunked")


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_answer_without_length_to_http10(site: Site, version: bytes) -> None:
    """To an HTTP/1.0 client the same is delimited by the close; chunked is never sent to it (RFC 9112 §6.1)."""
    site.upstream.says("/until10", version + b" 200 OK\r\n\r\nuntil the end")
    site.upstream.says(
        "/chunked10", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", then="stay"
    )
    for path, body in (("/until10", b"until the end"), ("/chunked10", b"hello")):
        with site.gateway.connect() as client:
            client.send(f"GET {path} HTTP/1.0\r\n{site.host()}Connection: keep-alive\r\n\r\n")
            answer = client.answer()
            assert (answer.body, answer.get("Transfer-Encoding")) == (body, None)
            assert client.is_closed()


def test_chunked_answer_is_framed_anew(site: Site) -> None:
    """Extensions and trailers of an upstream's chunks do not pass; the data does."""
    site.upstream.says(
        "/ext",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        then="stay",
    )
    with site.gateway.connect() as client:
        for _ in range(2):
            client.send(f"GET /ext HTTP/1.1\r\n{site.host()}\r\n")
            answer = client.answer()
            assert (answer.body, answer.get("X-Sum")) == (b"hello", None)


def test_chunked_request_is_framed_anew(site: Site) -> None:
    """A chunked body reaches the upstream chunked, without extensions and trailers; a length stays a length."""
    request = "POST /up{} HTTP/1.1\r\n{}{}\r\n\r\n{}"
    chunks = "5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert exchange(site, request.format(1, site.host(), "Transfer-Encoding: chunked", chunks))[0] == 200
    assert (seen(site, "/up1").body, seen(site, "/up1").get("X-Sum")) == (b"hello world", None)
    assert exchange(site, request.format(2, site.host(), "Content-Length: 5", "hello"))[0] == 200
    assert (seen(site, "/up2").body, seen(site, "/up2").get("Content-Length")) == (b"hello", "5")


SIZE = 30_000_000


def pattern(size: int) -> bytes:
    """Return bytes in which a lost, doubled or swapped piece shows."""
    block = b"".join(i.to_bytes(4, "big") for i in range(250_000))
    return (block * (size // len(block) + 1))[:size]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_large_download_is_exact(site: Site, framing: str) -> None:
    """A large answer arrives byte by byte as it was sent, however it is framed."""
    body = pattern(SIZE)

    async def download(connection: UpstreamConnection, request: Request) -> None:
        head = {"length": b"Content-Length: %d\r\n" % SIZE, "chunked": b"Transfer-Encoding: chunked\r\n", "close": b""}
        await connection.send(b"HTTP/1.1 200 OK\r\n" + head[framing] + b"\r\n")
        for at in range(0, SIZE, 77_777):
            piece = body[at : at + 77_777]
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" else piece)
        if framing == "chunked":
            await connection.send(b"0\r\n\r\n")
        if framing == "close":
            await connection.finish()
            await connection.until_closed()

    site.upstream.on("/download", download)
    with site.gateway.connect(timeout=30) as client:
        client.send(f"GET /download HTTP/1.1\r\n{site.host()}\r\n")
        answer = client.answer()
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
        client.send(f"GET /after HTTP/1.1\r\n{site.host()}\r\n")
        assert client.answer().body == b"ok"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_large_upload_is_exact(site: Site, framing: str) -> None:
    """A large request body arrives byte by byte as it was sent."""
    body = pattern(SIZE)
    with site.gateway.connect(timeout=30) as client:
        if framing == "length":
            client.send(f"PUT /upload HTTP/1.1\r\n{site.host()}Content-Length: {SIZE}\r\n\r\n".encode() + body)
        else:
            client.send(f"PUT /upload HTTP/1.1\r\n{site.host()}Transfer-Encoding: chunked\r\n\r\n")
            for at in range(0, SIZE, 99_999):
                piece = body[at : at + 99_999]
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\n\r\n")
        assert client.answer().status == 200
    assert hashlib.sha256(seen(site, "/upload").body).digest() == hashlib.sha256(body).digest()
    seen(site, "/upload").body = b""


def test_events_are_not_held_back(site: Site) -> None:
    """A piece of an answer reaches the client when the upstream sends it, not when the answer ends."""

    async def events(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await connection.until_closed()

    site.upstream.on("/events", events)
    with site.gateway.connect(timeout=5) as client:
        client.send(f"GET /events HTTP/1.1\r\n{site.host()}\r\n")
        assert client.head().startswith(b"HTTP/1.1 200 ")
        received = b""
        while b"data: 1\n\n" not in received:
            received += client.more()


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
    assert (seen(site, "/expect").get("Expect"), seen(site, "/expect").body) == ("100-continue", b"hello")


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
    exchange(
        site,
        f"POST /app/hop HTTP/1.1\r\n{site.host()}{site.cookie()}X-Hop: 1\r\nX-Keep: 2\r\nKeep-Alive: timeout=5\r\n"
        "Connection: X-Hop, Host, Content-Length, X-Forwarded-User, X-Forwarded-For\r\nContent-Length: 2\r\n\r\nhi",
    )
    request = seen(site, "/app/hop")
    assert (request.get("X-Hop"), request.get("X-Keep"), request.get("Keep-Alive")) == (None, "2", None)
    assert (request.get("X-Forwarded-User"), request.body) == ("alice", b"hi")
    assert request.get("X-Forwarded-For") == "127.0.0.1"


def test_order_and_duplicates_are_kept(site: Site) -> None:
    """Headers arrive in their order, repeats included, on both ways (RFC 9110 §5.3)."""
    site.upstream.says(
        "/dup",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nVary: a\r\nX-A: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        then="stay",
    )
    with site.gateway.connect() as client:
        client.send(f"GET /dup HTTP/1.1\r\n{site.host()}X-B: 1\r\nAccept: a\r\nX-B: 2\r\nx-b: 3\r\n\r\n")
        answer = client.answer()
    assert (answer.get_all("X-A"), answer.get_all("Set-Cookie")) == (["1", "2"], ["a=1", "b=2"])
    assert seen(site, "/dup").get_all("X-B") == ["1", "2", "3"]


def test_via_date_and_forwarded(site: Site) -> None:
    """Requests gain Via and X-Forwarded-*; an answer without Date gains one (RFC 9110 §7.6.3, §6.6.1)."""
    site.upstream.says("/date", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", then="stay")
    with site.gateway.connect() as client:
        client.send(f"GET /date HTTP/1.1\r\n{site.host()}Via: 1.0 before\r\n\r\n")
        answer = client.answer()
    request = seen(site, "/date")
    via = ", ".join(request.get_all("Via"))
    assert re.fullmatch(r"1\.0 before, 1\.1 \S+", via), via
    assert request.get("X-Forwarded-Proto") == "http"
    assert request.get("X-Forwarded-Host") == site.gateway.authority
    assert request.get("X-Request-Id")
    assert parsedate_to_datetime(answer.get("Date") or "")


def test_date_of_the_upstream_is_kept(site: Site) -> None:
    """A Date that is there stays as it is."""
    date = "Tue, 15 Nov 1994 08:12:31 GMT"
    site.upstream.says("/date2", f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode(), then="stay")
    with site.gateway.connect() as client:
        client.send(f"GET /date2 HTTP/1.1\r\n{site.host()}\r\n")
        assert client.answer().get("Date") == date


def test_http10_client_is_noted_in_via(site: Site) -> None:
    """Via names the version in which the request came, and the upstream gets our own (RFC 9112 §2.3)."""
    exchange(site, f"GET /via10 HTTP/1.0\r\n{site.host()}\r\n")
    request = seen(site, "/via10")
    assert (request.get("Via") or "").startswith("1.0 ")
    assert request.version == "HTTP/1.1"


def test_max_forwards(site: Site) -> None:
    """OPTIONS with Max-Forwards 0 is answered here, with more it is counted down; GET ignores it."""
    status, _ = exchange(site, f"OPTIONS /max0 HTTP/1.1\r\n{site.host()}Max-Forwards: 0\r\n\r\n")
    assert status in (200, 204)
    assert not site.upstream.seen("/max0")
    assert exchange(site, f"OPTIONS /max5 HTTP/1.1\r\n{site.host()}Max-Forwards: 5\r\n\r\n")[0] == 200
    assert seen(site, "/max5").get("Max-Forwards") == "4"
    assert exchange(site, f"GET /maxget HTTP/1.1\r\n{site.host()}Max-Forwards: 0\r\n\r\n")[0] == 200


@pytest.mark.parametrize(("method", "target"), [("TRACE", "/trace"), ("TRACE", "/app/trace"), ("CONNECT", "x.example:80")])
def test_trace_and_connect_are_refused(site: Site, method: str, target: str) -> None:
    """TRACE and CONNECT are 405 or 501, and echo nothing (RFC 9110 §9.3.6, §9.3.8)."""
    status, body = exchange(site, f"{method} {target} HTTP/1.1\r\n{site.host()}{site.cookie()}\r\n")
    assert status in (405, 501)
    assert site.alice.session_pair()[1].encode() not in body


@pytest.mark.parametrize("target", ["/t?", "/t?a=b&&=", "/t/?%2f%5c", "/t;x=y/z", "/t/a%20b%41", "/t//x", "/t?a=/../b"])
def test_target_is_forwarded_untouched(site: Site, target: str) -> None:
    """Path and query reach the upstream to the letter, a lone question mark too (RFC 9110 §7.7)."""
    assert exchange(site, f"GET {target} HTTP/1.1\r\n{site.host()}\r\n")[0] == 200
    assert site.upstream.requests[-1].target == target


def test_unknown_method_is_forwarded(site: Site) -> None:
    """Methods nobody knows are forwarded (RFC 9110 §7.6)."""
    assert exchange(site, f"FROBNICATE /frob HTTP/1.1\r\n{site.host()}\r\n")[0] == 200
    assert seen(site, "/frob").method == "FROBNICATE"


def test_unknown_status_is_relayed(site: Site) -> None:
    """A status nobody knows is relayed with its body."""
    site.upstream.says("/299", b"HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", then="stay")
    assert exchange(site, f"GET /299 HTTP/1.1\r\n{site.host()}\r\n") == (299, b"ok")


def test_compressed_answer_passes_untouched(site: Site) -> None:
    """Nothing is decompressed or transformed (RFC 9110 §7.7)."""
    site.upstream.says("/gz", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\0\xff", then="stay")
    with site.gateway.connect() as client:
        client.send(f"GET /gz HTTP/1.1\r\n{site.host()}Accept-Encoding: gzip\r\n\r\n")
        answer = client.answer()
    assert (answer.body, answer.get("Content-Encoding")) == (b"\x1f\x8b\0\xff", "gzip")


def test_forwarding_loop_is_noticed(site: Site) -> None:
    """A request that has been through this gateway many times is not sent round for ever (RFC 9110 §7.6)."""
    exchange(site, f"GET /via HTTP/1.1\r\n{site.host()}\r\n")
    own = (seen(site, "/via").get("Via") or "").split(" ", 1)[1]
    via = ", ".join([f"1.1 {own}"] * 50)
    status, _ = exchange(site, f"GET /looped HTTP/1.1\r\n{site.host()}Via: {via}\r\n\r\n")
    assert status in (502, 508)
    assert not site.upstream.seen("/looped")


def test_access_log_tells_the_request(site: Site) -> None:
    """One JSON line holds time, client, method, host, path, status, bytes, durations, user, route, request id."""
    exchange(site, f"GET /app/logged?password=geheim HTTP/1.1\r\n{site.host()}{site.cookie()}\r\n")
    record = site.gateway.wait_for_log(lambda found: found["path"] == "/app/logged")
    assert (record["client"], record["method"], record["status"]) == ("127.0.0.1", "GET", 200)
    assert (record["user"], record["route"], record["host"].split(":")[0]) == ("alice", "app", "127.0.0.1")
    assert record["bytes"] >= 2
    assert 0 <= record["upstream_duration"] <= record["duration"] < 5
    assert record["request_id"] == seen(site, "/app/logged").get("X-Request-Id")
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
