"""Bodies through the gateway: how they are framed on either side, and that every byte arrives as it was sent."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from tests.e2e.conftest import Site
from tests.support.messages import Request
from tests.support.upstream import UpstreamConnection


def test_head_keeps_the_length(site: Site) -> None:
    """HEAD is forwarded as HEAD, and its answer keeps Content-Length without a body (RFC 9110 §9.3.2)."""
    site.upstream.says("/head", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", then="stay")
    with site.gateway.connect() as client:
        for _ in range(2):
            client.send(f"HEAD /head HTTP/1.1\r\n{site.host()}\r\n")
            answer = client.answer("HEAD")
            assert (answer.status, answer.get("Content-Length")) == (200, "1234")
    assert site.seen("/head").method == "HEAD"


def test_204_has_no_length(site: Site) -> None:
    """204 has neither body nor length, and the connection goes on (RFC 9110 §8.6)."""
    site.upstream.says("/204", b"HTTP/1.1 204 No Content\r\n\r\n", then="stay")
    with site.gateway.connect() as client:
        for _ in range(3):
            client.send(f"GET /204 HTTP/1.1\r\n{site.host()}\r\n")
            answer = client.answer()
            assert (answer.status, answer.get("Content-Length"), answer.get("Transfer-Encoding")) == (204, None, None)


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_205_has_no_content(site: Site, framing: bytes) -> None:
    """205 is told to be empty, however its end was to be found, and the connection goes on (RFC 9110 §15.3.6)."""
    last_chunk = b"0\r\n\r\n" if b"chunked" in framing else b""
    site.upstream.says("/205", b"HTTP/1.1 205 Reset Content\r\n" + framing + b"\r\n" + last_chunk)
    with site.gateway.connect() as client:
        for _ in range(3):
            client.send(f"GET /205 HTTP/1.1\r\n{site.host()}\r\n")
            answer = client.answer()
            assert (answer.status, answer.get("Content-Length"), answer.get("Transfer-Encoding")) == (205, "0", None)


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
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
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
    assert site.ask(request.format(1, site.host(), "Transfer-Encoding: chunked", chunks))[0] == 200
    assert (site.seen("/up1").body, site.seen("/up1").get("X-Sum")) == (b"hello world", None)
    assert site.ask(request.format(2, site.host(), "Content-Length: 5", "hello"))[0] == 200
    assert (site.seen("/up2").body, site.seen("/up2").get("Content-Length")) == (b"hello", "5")


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
    assert hashlib.sha256(site.seen("/upload").body).digest() == hashlib.sha256(body).digest()
    site.seen("/upload").body = b""


def test_requests_around_long_uploads(site: Site) -> None:
    """What comes right behind a long body is the next request, and every upload on the connection is whole."""
    sizes = [3_000_000, 10, 200_000, 1_000_000]
    bodies = [pattern(size)[::-1] for size in sizes]
    with site.gateway.connect(timeout=30) as client:
        for number, body in enumerate(bodies):
            head = f"PUT /between{number} HTTP/1.1\r\n{site.host()}Content-Length: {len(body)}\r\n\r\n".encode()
            client.send(head + body + f"GET /behind{number} HTTP/1.1\r\n{site.host()}\r\n".encode())
            assert client.answer().status == 200
            assert client.answer().body == b"ok"
    for number, body in enumerate(bodies):
        assert site.seen(f"/between{number}").body == body
        assert site.seen(f"/behind{number}").method == "GET"


def test_a_long_upload_waits_for_its_upstream(site: Site) -> None:
    """An upstream that takes a long body slowly gets all of it, as it was, and the client waits meanwhile."""
    body = pattern(6_000_000)
    taken: list[bytes] = []

    async def slowly(connection: UpstreamConnection, request: Request) -> None:
        while sum(map(len, taken)) < len(body):
            taken.append(await connection.more())
            if len(taken) < 20:
                await asyncio.sleep(0.02)
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")

    site.upstream.raw("/slowly", slowly)
    with site.gateway.connect(timeout=30) as client:
        client.send(f"PUT /slowly HTTP/1.1\r\n{site.host()}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert client.answer().body == b"slow"
    assert b"".join(taken) == body


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
