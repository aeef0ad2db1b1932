"""Upstreams that misbehave: whatever they send, the client sees a correct answer, a 502 or a cut connection.

One test for each of HB-01 to HB-20; each docstring is the promise. After each, the next user of the
same route gets the right answer.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator

import pytest

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.hostile import HostileUpstream
from tests.support.messages import Answer, Request, Truncated
from tests.support.upstream import OK, UpstreamConnection
from tests.support.waiting import wait_for

STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"


@pytest.fixture(scope="module")
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(upstream: HostileUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("hb", "/hb", upstream.url, public=True, timeout={"connect": "10s", "response": "10s"}),
        limits={"answer_idle_time": "10s", "answer_head": 8192},
    )
    with GatewayProcess(tmp_path_factory.mktemp("hostile"), config) as process:
        yield process


@pytest.fixture(autouse=True)
def next_user_is_unaffected(gateway: GatewayProcess, upstream: HostileUpstream) -> Iterator[None]:
    """After every test a plain request on the same route gets its own answer, and no worker has died."""
    yield
    answer = ask(gateway, "/hb/plain")
    assert (answer.status, answer.body) == (200, b"ok")
    assert not upstream.violations, upstream.violations
    gateway.assert_no_traceback()


def ask(gateway: GatewayProcess, target: str, method: str = "GET") -> Answer:
    """Return the answer to one request on a connection of its own; it may be cut short."""
    with gateway.connect() as client:
        client.send(f"{method} {target} HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
        return client.partial_answer(method)


def is_cut_short(gateway: GatewayProcess, target: str) -> bool:
    """Tell whether the client can see that the answer is not whole, and the connection is over."""
    with gateway.connect() as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
        try:
            answer = client.partial_answer()
        except Truncated:
            return True
        return not answer.complete and client.closed_by_peer


def test_hb01_extra_answer_on_an_idle_connection(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """Bytes on an idle pooled connection close it; they never answer the next request."""

    async def late(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(OK)
        await asyncio.sleep(0.1)
        await connection.send(STOLEN)

    upstream.on("/hb/01", late)
    assert ask(gateway, "/hb/01").body == b"ok"
    (request,) = upstream.seen("/hb/01")
    wait_for(lambda: upstream.connections[request.connection].ended, what="the connection to be dropped")
    for _ in range(3):
        assert ask(gateway, "/hb/plain").body == b"ok"


def test_hb02_extra_answer_in_the_same_packet(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """Bytes beyond an answer are dropped with their connection."""
    upstream.says("/hb/02", OK + STOLEN, then="stay")
    assert ask(gateway, "/hb/02").body == b"ok"
    assert ask(gateway, "/hb/plain").body == b"ok"
    (request,) = upstream.seen("/hb/02")
    wait_for(lambda: upstream.connections[request.connection].ended, what="the connection to be dropped")


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: \r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_hb03_contradicting_lengths(gateway: GatewayProcess, upstream: HostileUpstream, fields: bytes) -> None:
    """An answer with two differing lengths, or with length and coding, is 502."""
    upstream.says("/hb/03", b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nhello")
    assert ask(gateway, "/hb/03").status == 502


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
def test_hb04_answer_cut_short(gateway: GatewayProcess, upstream: HostileUpstream, answer: bytes, then: str) -> None:
    """An answer that ends early cuts the client's connection: no padding, no last chunk."""
    upstream.says("/hb/04", answer, then=then)
    assert is_cut_short(gateway, "/hb/04")


CHUNKS = [
    b"5\r\nhelloworld\r\n0\r\n\r\n",
    b"zz\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_hb05_malformed_chunk(gateway: GatewayProcess, upstream: HostileUpstream, chunk: bytes) -> None:
    """A malformed chunk cuts the client's connection, or is 502 where nothing was sent yet."""
    upstream.says("/hb/05", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n" + chunk, then="stay")
    assert is_cut_short(gateway, "/hb/05") or ask(gateway, "/hb/05").status == 502


@pytest.mark.parametrize("chunk", CHUNKS)
def test_hb05_malformed_chunk_with_the_head(gateway: GatewayProcess, upstream: HostileUpstream, chunk: bytes) -> None:
    """One that comes with the head, before anything was written, is 502, and the client's connection goes on."""
    upstream.says("/hb/05", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, then="stay")
    with gateway.connect() as client:
        for target, status in (("/hb/05", 502), ("/hb/plain", 200)):
            client.send(f"GET {target} HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
            assert client.answer().status == status


def test_hb06_obs_fold(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """A folded header arrives on one line, or the answer is 502 (RFC 9112 §5.2)."""
    upstream.says("/hb/06", b"HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length: 2\r\n\r\nok")
    answer = ask(gateway, "/hb/06")
    assert answer.status == 502 or (answer.get("X-Long") or "").split() == ["a", "b"]


def test_hb07_line_feeds_only(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """A head with bare line feeds is written anew with CRLF, or refused as 502; never passed on as it is."""
    upstream.says("/hb/07", b"HTTP/1.1 200 OK\nX-A: b\nContent-Length: 2\n\nok")
    answer = ask(gateway, "/hb/07")
    assert answer.status == 502 or (answer.status, answer.body, answer.get("X-A")) == (200, b"ok", "b")


@pytest.mark.parametrize("value", [b"a\0b", b"a\rb", b"a\rX-Evil: yes", b"\0", b"a\nX-Evil: yes\x00"])
def test_hb08_nul_or_bare_cr(gateway: GatewayProcess, upstream: HostileUpstream, value: bytes) -> None:
    """NUL or a bare CR in a header is 502."""
    upstream.says("/hb/08", b"HTTP/1.1 200 OK\r\nX-A: " + value + b"\r\nContent-Length: 2\r\n\r\nok")
    answer = ask(gateway, "/hb/08")
    assert answer.status == 502
    assert answer.get("X-Evil") is None


@pytest.mark.parametrize("value", [b"a\x01b", b"a\x1fb", b"a\x7fb", b"\x08", b"a\x0bb"])
def test_hb09_control_characters(gateway: GatewayProcess, upstream: HostileUpstream, value: bytes) -> None:
    """A header with a control character is dropped, or the answer is 502; never 500."""
    upstream.says("/hb/09", b"HTTP/1.1 200 OK\r\nX-A: " + value + b"\r\nContent-Length: 2\r\n\r\nok")
    answer = ask(gateway, "/hb/09")
    assert answer.status == 502 or (answer.status, answer.get("X-A")) == (200, None)


@pytest.mark.parametrize("reason", [b"O\x01K", b"O\x7fK", b"Very \x1b[31mred", b"", b"Fine \xff\xfe", b"O\tK"])
def test_hb10_odd_reason_phrase(gateway: GatewayProcess, upstream: HostileUpstream, reason: bytes) -> None:
    """The reason phrase a client sees is printable whatever the upstream says."""
    upstream.says("/hb/10", b"HTTP/1.1 200 " + reason + b"\r\nContent-Length: 2\r\n\r\nok")
    answer = ask(gateway, "/hb/10")
    assert answer.status in (200, 502)
    assert answer.reason.isprintable()
    assert answer.reason.isascii()


def test_hb11_unasked_101(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """101 to a request that asked for no upgrade is 502, and its connection is closed."""
    upstream.says(
        "/hb/11", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\nEVIL", then="stay"
    )
    answer = ask(gateway, "/hb/11")
    assert answer.status == 502
    assert b"EVIL" not in answer.body
    (request,) = upstream.seen("/hb/11")
    wait_for(lambda: upstream.connections[request.connection].ended, what="the connection to be dropped")


def test_hb12_early_hints(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """103 is forwarded before the final answer, and to HTTP/1.0 clients not at all (RFC 9110 §15.2)."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    upstream.says("/hb/12", hints + OK, then="stay")
    answer = ask(gateway, "/hb/12")
    assert (answer.status, answer.body) == (200, b"ok")
    assert [(status, dict(headers)["Link"]) for status, headers in answer.interim] == [(103, "</a.css>; rel=preload")]
    with gateway.connect() as client:
        client.send(f"GET /hb/12 HTTP/1.0\r\nHost: {gateway.authority}\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.interim) == (200, [])


def test_hb12_endless_interim_answers(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """Interim answers without end are cut off; they keep no request alive for ever."""

    async def endless(connection: UpstreamConnection, request: Request) -> None:
        while not connection.ended:
            await connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" * 100)
            await asyncio.sleep(0.01)

    upstream.on("/hb/12b", endless)
    assert ask(gateway, "/hb/12b").status in (502, 504)


@pytest.mark.parametrize("status", [b"099", b"600", b"999", b"000", b"20", b"2000", b"abc", b"-20", b"2 0", b"+20"])
def test_hb13_odd_status(gateway: GatewayProcess, upstream: HostileUpstream, status: bytes) -> None:
    """A status outside 100 to 599 is 502."""
    upstream.says("/hb/13", b"HTTP/1.1 " + status + b" Odd\r\nContent-Length: 2\r\n\r\nok")
    assert ask(gateway, "/hb/13").status == 502


def test_hb14_redirects_are_relayed(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """A redirect goes to the client as it is; the gateway follows none."""
    with HostileUpstream() as other:
        location = f"http://127.0.0.1:{other.port}/elsewhere"
        upstream.says("/hb/14", f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        answer = ask(gateway, "/hb/14")
        assert (answer.status, answer.get("Location")) == (302, location)
        assert not other.connections


@pytest.mark.parametrize(
    "fields",
    [b"X-Big: " + b"a" * 10_000 + b"\r\n", b"X-N: v\r\n" * 200, b"X-N: v\r\n" * 20_000, b"X" * 100_000 + b": v\r\n"],
    ids=["10 kB line", "200 lines", "20000 lines", "100 kB name"],
)
def test_hb15_oversized_head(gateway: GatewayProcess, upstream: HostileUpstream, fields: bytes) -> None:
    """A head over `limits.answer_head` or `limits.answer_headers` is 502."""
    upstream.says("/hb/15", b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")
    assert ask(gateway, "/hb/15").status == 502


def test_hb15_endless_head(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """A head without an end is 502 at the limit, and no memory is filled with it."""

    async def endless(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nX: ")
        while connection.sent < 200_000_000:
            await connection.send(b"a" * 65536)

    upstream.on("/hb/15b", endless)
    before = gateway.memory()
    assert ask(gateway, "/hb/15b").status == 502
    assert gateway.memory() - before < 32_000_000


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nhello"),
        ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ],
)
def test_hb16_body_where_none_may_be(
    gateway: GatewayProcess, upstream: HostileUpstream, method: str, answer: bytes
) -> None:
    """A body after 204, 304 or to HEAD never reaches a client as the next answer; its connection is dropped."""
    upstream.says("/hb/16", answer, then="stay")
    with gateway.connect() as client:
        client.send(f"{method} /hb/16 HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
        got = client.answer(method)
        assert got.status in (200, 204, 304, 502)
        if got.status == 204:
            assert got.get("Content-Length") is None
            assert got.get("Transfer-Encoding") is None
        client.send(f"GET /hb/plain HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
        assert client.answer().body == b"ok"
    request = upstream.seen("/hb/16")[-1]
    wait_for(lambda: upstream.connections[request.connection].ended, what="the connection to be dropped")


@pytest.mark.parametrize("first", ["GET 204", "GET 304", "HEAD 200"])
@pytest.mark.parametrize("length", [b"Content-Length: %d\r\n" % len(STOLEN), b"Transfer-Encoding: chunked\r\n"])
def test_hb16_late_body_where_none_may_be(
    gateway: GatewayProcess, upstream: HostileUpstream, first: str, length: bytes
) -> None:
    """Nor does one that comes later, as an answer to the next request, which is nobody's on that connection."""
    method, status = first.split()

    async def late(connection: UpstreamConnection, request: Request) -> None:
        await connection.send(f"HTTP/1.1 {status} x\r\n".encode() + length + b"\r\n")
        if await connection.more():
            await connection.send(STOLEN)

    upstream.on("/hb/16/late", late)
    assert ask(gateway, "/hb/16/late", method).status == int(status)
    assert ask(gateway, "/hb/plain").body == b"ok"


@pytest.mark.parametrize(
    "answer",
    [b"hello, this is HTTP/0.9\n", b"", b"\0\0\0\0", b"HTTP/1.1", b"HTTP/2.0 200 OK\r\n\r\n", b"ICY 200 OK\r\n\r\n"],
)
def test_hb17_no_http(gateway: GatewayProcess, upstream: HostileUpstream, answer: bytes) -> None:
    """What is no HTTP/1 answer, or an empty close, is 502."""
    upstream.says("/hb/17", answer)
    assert ask(gateway, "/hb/17").status == 502


def test_hb18_cookies_of_the_gateway(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """An upstream cannot set the gateway's own cookies, whatever stands around the name; its own pass in order."""
    name = b"gateway_session"
    own = [name + b"=evil; Path=/", name + b"_1=evil", b" %b =evil" % name, name + b"=", b"\t%b=evil" % name, name]
    fields = b"".join(b"Set-Cookie: " + cookie + b"\r\n" for cookie in [b"app=1; Path=/", *own, b"session=x", b"app=2"])
    upstream.says("/hb/18", b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")
    answer = ask(gateway, "/hb/18")
    assert answer.get_all("Set-Cookie") == ["app=1; Path=/", "session=x", "app=2"]


def test_hb19_headers_that_are_not_the_upstreams_to_send(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """Identity headers, `X-Accel-*`, `Server` and `X-Request-Id` of an upstream do not reach the client."""
    fields = (
        b"Server: leaky/1.0\r\nX-Accel-Redirect: /internal\r\nX-Accel-Buffering: no\r\nX-Forwarded-User: admin\r\n"
        b"X_Forwarded_User: admin\r\nX-Forwarded-Groups: admins\r\n"
        b"Keep-Alive: timeout=99\r\nProxy-Authenticate: Basic\r\nX-Request-Id: theirs\r\n"
        b"Connection: X-Hop\r\nX-Hop: 1\r\nX-App: kept\r\n"
    )
    upstream.says("/hb/19", b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")
    answer = ask(gateway, "/hb/19")
    names = {name.lower().replace("_", "-") for name, _ in answer.headers}
    unwanted = {"x-accel-redirect", "x-accel-buffering", "x-forwarded-user", "x-forwarded-groups", "keep-alive",
                "proxy-authenticate", "x-hop"}  # fmt: skip
    assert not names & unwanted
    assert "leaky" not in "".join(answer.get_all("Server"))
    assert answer.get("X-Request-Id") not in (None, "theirs"), "ours, once"
    assert answer.get("X-App") == "kept"


def test_hb20_gzip_bomb(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """A compressed body passes as it is; nothing is ever decompressed."""
    bomb = gzip.compress(b"\0" * 200_000_000, 9)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    upstream.says("/hb/20", head + bomb)
    before = gateway.memory()
    answer = ask(gateway, "/hb/20")
    assert answer.body == bomb
    assert answer.get("Content-Encoding") == "gzip"
    assert gateway.memory() - before < 32_000_000


def test_connection_can_be_used_again_after_a_good_answer(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """The drops above are for misbehaviour: well-behaved connections are pooled."""
    ask(gateway, "/hb/plain")
    before = len(upstream.connections)
    for _ in range(5):
        assert ask(gateway, "/hb/plain").body == b"ok"
    assert len(upstream.connections) == before
