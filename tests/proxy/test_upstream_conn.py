"""One upstream connection: the head of an answer is found whatever its pieces, and nonsense is the upstream's fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import RequestError, UpstreamError
from gateway.proxy.upstream_conn import MAX_INFORMATIONAL, UpstreamConn
from gateway.wire.head import AnswerHead
from tests.proxy.loopback import LONG, Peer, Upstream, until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
Pair = tuple[UpstreamConn, Peer]


@pytest.fixture
async def pair(upstream: Upstream) -> AsyncIterator[Pair]:
    """A leased connection, and the upstream's end of it."""
    pool = upstream.pool(answer_head=2000)
    conn = await pool.connect(LONG)
    yield conn, await upstream.peer()
    pool.discard(conn)


async def head_of(conn: UpstreamConn, informational: list[AnswerHead] | None = None) -> AnswerHead:
    async with asyncio.timeout(LONG):
        return await conn.answer_head((informational if informational is not None else []).append)


async def failure_of(conn: UpstreamConn) -> UpstreamError:
    (error,) = await asyncio.gather(head_of(conn), return_exceptions=True)
    assert isinstance(error, UpstreamError)
    return error


async def test_an_answer_in_one_piece(pair: Pair) -> None:
    """The head is given, and what follows it is left for the body."""
    conn, peer = pair
    conn.send(b"GET / HTTP/1.1\r\n\r\n")
    assert await peer.hear(18) == b"GET / HTTP/1.1\r\n\r\n"
    assert not bool(conn.answered)
    await peer.say(ANSWER + b"hello")
    head = await head_of(conn)
    assert (head.status, head.content_length) == (200, 5)
    assert conn.answered
    assert conn.take_rest(4) is None
    assert conn.take_rest(5) == b"hello"
    assert conn.is_usable()


async def test_an_answer_byte_by_byte(pair: Pair) -> None:
    """It makes no difference in which pieces a head comes."""
    conn, peer = pair
    waiting = conn.answer_head(lambda _: None)
    for byte in ANSWER:
        assert not waiting.done()
        await peer.say(bytes([byte]))
        await asyncio.sleep(0)
    async with asyncio.timeout(LONG):
        assert (await waiting).content_length == 5


async def test_an_answer_before_it_is_asked_for(pair: Pair) -> None:
    """What an upstream says while the request is still on its way is its answer (RFC 9110 §7.5)."""
    conn, peer = pair
    await peer.say(ANSWER)
    await until(lambda: conn.answered)
    assert (await head_of(conn)).status == 200


async def test_informational_answers_come_first(pair: Pair) -> None:
    """Each 1xx is told, in order, and the final answer ends the wait."""
    conn, peer = pair
    said: list[AnswerHead] = []
    await peer.say(b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 103 y\r\nLink: </a>\r\n\r\n" + ANSWER)
    assert (await head_of(conn, said)).status == 200
    assert [(head.status, head.lines) for head in said] == [(100, []), (103, [b"Link: </a>"])]


async def test_a_101_is_final(pair: Pair) -> None:
    """After it the bytes are the tunnel's."""
    conn, peer = pair
    await peer.say(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00")
    assert (await head_of(conn)).status == 101
    assert conn.take_buffer() == b"\x81\x00"


async def test_too_many_informational_answers(pair: Pair) -> None:
    """An upstream that never comes to the point is at fault."""
    conn, peer = pair
    await peer.say(b"HTTP/1.1 100 x\r\n\r\n" * (MAX_INFORMATIONAL + 1))
    assert (await failure_of(conn)).status == 502


async def test_bare_line_feeds(pair: Pair) -> None:
    """A head with LF throughout is taken (RFC 9112 §2.2); its body may hold what it likes."""
    conn, peer = pair
    await peer.say(b"HTTP/1.1 200 OK\nContent-Length: 6\nA: b\n\n\r\n\r\n\n\n")
    head = await head_of(conn)
    assert head.lines == [b"A: b"]
    assert conn.take_rest(6) == b"\r\n\r\n\n\n"


NONSENSE = [
    b"SSH-2.0-OpenSSH\r\n",
    b"<html>",
    b"HTTP/2",
    b"\x15\x03\x01",
    b"\r\n\r\n",
    b"\n\n",
    b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
    b"HTTP/1.1 200 OK\nA: b\r\nC: d\n\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\n",
    b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
    b"HTTP/1.1 999 X\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"x" * 2001,
]


@pytest.mark.parametrize("data", NONSENSE, ids=[repr(data[:40]) for data in NONSENSE])
async def test_nonsense(upstream: Upstream, data: bytes) -> None:
    """What is no HTTP/1 is 502 as soon as that can be seen, or when the upstream has nothing more to say."""
    pool = upstream.pool(answer_head=2000)
    conn = await pool.connect(LONG)
    peer = await upstream.peer()
    await peer.say(data)
    peer.writer.write_eof()
    error = await failure_of(conn)
    assert (error.status, error.sent) == (502, True)
    pool.discard(conn)


MIXED = [
    b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\r\n",
    b"HTTP/1.1 200 OK\nA: b\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
    b"HTTP/1.1 200 OK\r\nA: b\n",
]
"""Line ends of both kinds, in a head whose end never comes."""


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH\r\n", b"\x15\x03\x01", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 2001, b"H" * 3, *MIXED]
)
async def test_nonsense_is_not_waited_for(pair: Pair, data: bytes) -> None:
    """An upstream that speaks something else, or without end, is told at once, though it stays connected."""
    conn, peer = pair
    await peer.say(data)
    assert (await failure_of(conn)).status == 502


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", b"HTTP/1.1 100 x\r\n\r\n"])
@pytest.mark.parametrize("abort", [True, False])
async def test_an_upstream_that_leaves(pair: Pair, data: bytes, abort: bool) -> None:
    """A close before the final answer is 502; it may have got the request."""
    conn, peer = pair
    waiting = asyncio.ensure_future(failure_of(conn))
    await peer.say(data)
    if abort:
        peer.writer.transport.abort()
    else:
        peer.writer.close()
    error = await waiting
    assert (error.status, error.sent) == (502, True)
    assert conn.has_ended()
    assert not conn.is_usable()


async def test_a_fault_of_the_client(pair: Pair) -> None:
    """What `fail` is given is what the waiting exchange gets, and the connection is used no more."""
    conn, _ = pair
    waiting = conn.answer_head(lambda _: None)
    conn.fail(RequestError(413, "too much"))
    with pytest.raises(RequestError):
        await waiting
    assert not conn.is_usable()


class Taker:
    """Takes what comes after the head."""

    def __init__(self) -> None:
        self.data = b""
        self.ends: list[Exception | None] = []

    def feed(self, data: bytes) -> None:
        """Take it."""
        self.data += data

    def upstream_closed(self, error: Exception | None) -> None:
        """Note it."""
        self.ends.append(error)


async def test_a_body_goes_to_its_sink(pair: Pair) -> None:
    """After the head every byte goes to who takes it, and so does the end, once."""
    conn, peer = pair
    await peer.say(ANSWER)
    await head_of(conn)
    taker = Taker()
    conn.sink = taker
    await peer.say(b"hel")
    await peer.say(b"lo")
    peer.writer.close()
    await until(lambda: taker.ends)
    assert taker.data == b"hello"
    assert taker.ends == [None]


async def test_a_paused_connection_reads_nothing(pair: Pair) -> None:
    """Back-pressure reaches the upstream, and nothing is lost by it."""
    conn, peer = pair
    taker = Taker()
    conn.sink = taker
    conn.pause()
    peer.writer.write(b"x" * 100_000)
    await asyncio.sleep(0.05)
    assert taker.data == b""
    conn.resume()
    await until(lambda: len(taker.data) == 100_000)
