"""What the gateway refuses or drops can be found: in the response, the access log, counters, and in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.conftest import StartGateway
from tests.support.counted import count, logged
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.hostile import HostileUpstream
from tests.support.messages import Request
from tests.support.ports import free_port
from tests.support.upstream import UpstreamConnection
from tests.support.users import BOB
from tests.support.visitor import PAGE, Visitor, logged_in

HOST = "Host: localhost\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
FORM = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n"


@pytest.fixture(scope="module")
def upstream() -> Iterator[HostileUpstream]:
    async def silent(connection: UpstreamConnection, request: Request) -> None:
        await connection.until_closed()

    with HostileUpstream() as server:
        server.on("/silent", silent)
        server.says("/garbage", b"nonsense\r\n\r\n")
        yield server


@pytest.fixture(scope="module")
def gateway(upstream: HostileUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("open", "/open", upstream.url, public=True, max_body=10),
        route("silent", "/silent", upstream.url, public=True, timeout={"response": "1s"}),
        route("garbage", "/garbage", upstream.url, public=True),
        route("dead", "/dead", f"http://127.0.0.1:{free_port()}", public=True),
        route("app", "/app", upstream.url),
        route("staff", "/staff", upstream.url, allow={"groups": ["nobody"]}),
        route("fresh", "/fresh", upstream.url, step_up={"max_age": "0s"}),
        route("programs", "/programs", upstream.url, programs=["basic", "api-key"]),
        limits={"target": 2000, "head_time": "2s", "line": 4096},
    )
    with GatewayProcess(tmp_path_factory.mktemp("saying"), config) as process:
        yield process


@pytest.fixture(scope="module")
def bob(gateway: GatewayProcess) -> Visitor:
    return logged_in(gateway, BOB)


def warnings(gateway: GatewayProcess, text: str) -> list[str]:
    """Return the warnings so far that hold a text."""
    return [line for line in gateway.stderr if '"level": "warning"' in line and text in line.replace('\\"', '"')]


REFUSED: list[tuple[str, int, str]] = [
    (f"GET /open HTTP/1.1\n{HOST}\n\r\n\r\n", 400, "bad_request"),
    (f"GET /open x HTTP/1.1\r\n{HOST}\r\n", 400, "bad_request"),
    (f"GET /open HTTP/1.1\r\n{HOST}X Y: z\r\n\r\n", 400, "bad_header"),
    (f"GET /open HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "bad_framing"),
    (f"GET /open HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n\r\n", 501, "bad_framing"),
    ("GET /open HTTP/1.1\r\n\r\n", 400, "bad_host"),
    (f"GET /open HTTP/1.1\r\n{HOST}Host: b\r\n\r\n", 400, "bad_host"),
    (f"GET /op\x01en HTTP/1.1\r\n{HOST}\r\n", 400, "bad_path"),
    (f"GET /open/../app HTTP/1.1\r\n{HOST}\r\n", 400, "path_ambiguous"),
    (f"GET /app//../open HTTP/1.1\r\n{HOST}\r\n", 400, "path_ambiguous"),
    (f"GET /OPEN/x HTTP/1.1\r\n{HOST}\r\n", 404, "no_route"),
    (f"GET /open/a%2Fb HTTP/1.1\r\n{HOST}\r\n", 400, "encoded_slash"),
    (f"TRACE /open HTTP/1.1\r\n{HOST}\r\n", 405, "method"),
    (f"CONNECT localhost:80 HTTP/1.1\r\n{HOST}\r\n", 405, "method"),
    (f"get /open HTTP/1.1\r\n{HOST}\r\n", 501, "method"),
    (f"GET /open HTTP/2.0\r\n{HOST}\r\n", 505, "version"),
    (f"GET /open HTTP/1.1\r\n{HOST}Expect: much\r\n\r\n", 417, "expectation"),
    (f"GET /open HTTP/1.1\r\n{HOST}{UPGRADE.replace('13', '12')}\r\n", 426, "websocket"),
    (f"GET /open HTTP/1.1\r\n{HOST}{UPGRADE}Origin: https://other.example\r\n\r\n", 403, "origin"),
    (f"POST /open HTTP/1.1\r\n{HOST}Content-Length: 11\r\n\r\n", 413, "body_too_large"),
    (f"GET /open/{'a' * 3000} HTTP/1.1\r\n{HOST}\r\n", 414, "target_too_long"),
    (f"GET /open HTTP/1.1\r\n{HOST}X: {'a' * 5000}\r\n\r\n", 431, "head_too_large"),
    (f"GET /open HTTP/1.1\r\n{HOST}X: ", 408, "too_slow"),
    ("GET /open HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", 421, "unknown_host"),
    (f"GET /nowhere HTTP/1.1\r\n{HOST}\r\n", 404, "no_route"),
    (f"GET /app HTTP/1.1\r\n{HOST}Accept: text/html\r\n\r\n", 302, "no_session"),
    (f"GET /app HTTP/1.1\r\n{HOST}\r\n", 401, "no_session"),
    (f"GET /staff HTTP/1.1\r\n{HOST}COOKIE\r\n", 403, "forbidden"),
    (f"GET /dead HTTP/1.1\r\n{HOST}\r\n", 502, "upstream_unreachable"),
    (f"GET /garbage HTTP/1.1\r\n{HOST}\r\n", 502, "upstream_invalid"),
    (f"GET /silent HTTP/1.1\r\n{HOST}\r\n", 504, "upstream_timeout"),
    (f"GET /programs HTTP/1.1\r\n{HOST}Authorization: Bearer gwk_none\r\n\r\n", 401, "credential_invalid"),
    (
        f"GET /programs HTTP/1.1\r\n{HOST}Authorization: Basic YTpi\r\nSec-Fetch-Site: cross-site\r\n\r\n",
        403,
        "cross_site",
    ),
    (f"GET /programs HTTP/1.1\r\n{HOST}Authorization: Basic YTpi\r\nAuthorization: x\r\n\r\n", 400, "bad_header"),
    (f"GET /_gateway/nowhere HTTP/1.1\r\n{HOST}\r\n", 404, "no_route"),
    (f"GET /_gateway/me HTTP/1.1\r\n{HOST}\r\n", 401, "no_session"),
    (f"GET /_gateway/ HTTP/1.1\r\n{HOST}Accept: text/html\r\n\r\n", 302, "no_session"),
    (f"PROPFIND /_gateway/ HTTP/1.1\r\n{HOST}\r\n", 405, "method"),
    (f"POST /_gateway/login HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n", 415, "encoded_body"),
    (f"POST /_gateway/login HTTP/1.1\r\n{HOST}{FORM}\r\n", 403, "csrf"),
    (f"GET /_gateway/verify HTTP/1.1\r\n{HOST}\r\n", 404, "forward_auth"),
]


@pytest.mark.parametrize(("request_text", "status", "reason"), REFUSED)
def test_refusals_name_their_reason(
    gateway: GatewayProcess, bob: Visitor, request_text: str, status: int, reason: str
) -> None:
    """In the response once, in the access log, and in a counter; the log blames nobody who has not left."""
    before = count(gateway, f'gateway_refused_total{{reason="{reason}"}}')
    with gateway.connect() as client:
        client.send(request_text.replace("COOKIE", f"Cookie: {bob.cookie_header()}\r\n").encode("latin-1"))
        answer = client.answer()
    assert (answer.status, answer.get_all("X-Gateway-Reason")) == (status, [reason])
    record = logged(gateway, answer)
    assert (record["status"], record["reason"], record.get("error") == "client_gone") == (status, reason, False)
    assert count(gateway, f'gateway_refused_total{{reason="{reason}"}}') == before + 1


def test_a_wrong_password_and_too_many_of_them(gateway: GatewayProcess) -> None:
    """The login page's refusals are in the access log of the worker too."""
    visitor = Visitor(gateway)
    answers = [visitor.try_login("nobody", "wrong") for _ in range(30)]
    codes = {(answer.status, answer.get("X-Gateway-Reason")) for answer in answers}
    assert codes == {(401, "bad_credentials"), (429, "throttled")}
    assert {logged(gateway, answer)["reason"] for answer in answers} == {"bad_credentials", "throttled"}


def test_a_login_that_is_not_enough(gateway: GatewayProcess, bob: Visitor) -> None:
    answer = bob.get("/fresh", PAGE)
    assert answer.get("X-Gateway-Reason") in ("step_up", None), "just logged in, or led to a fresher login"
    assert bob.get("/fresh", {}).get("X-Gateway-Reason") in ("step_up", None)


def test_what_is_no_refusal_has_no_reason(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """Neither ours nor an app's, whose X-Gateway headers are dropped and counted."""
    upstream.says(
        "/open/lies", b"HTTP/1.1 403 No\r\nX-Gateway-Reason: csrf\r\nX_Gateway_Login: /x\r\nContent-Length: 0\r\n\r\n"
    )
    for _ in range(2):
        with gateway.connect() as client:
            client.send(f"GET /open/lies HTTP/1.1\r\n{HOST}\r\n")
            answer = client.answer()
        assert answer.status == 403
        assert not [name for name, _ in answer.headers if "gateway" in name.lower()]
        assert "reason" not in logged(gateway, answer)
    assert count(gateway, 'gateway_dropped_total{kind="response_header",route="open"}') == 2
    assert len(warnings(gateway, 'route open: the app\'s response header "x-gateway-reason" was dropped')) == 1
    with gateway.connect() as client:
        client.send(f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n")
        assert client.answer().get("X-Gateway-Reason") is None


BAD_HEADS: list[tuple[bytes, tuple[str, str, str]]] = [
    (b"GET /a/../b?token=secret HTTP/1.1\r\nHost: localhost\r\n\r\n", ("GET", "localhost", "/a/../b")),
    (b"PUT /x%2f..?q HTTP/1.1\r\nhOST: a.example:8080\r\n\r\n", ("PUT", "a.example:8080", "/x%2f..")),
    (b'GET /"\x1b\xff\\ HTTP/1.1\r\nHost: "x\r\n\r\n', ("GET", '"x', '/"\x1b\ufffd\\')),
    (b"GET http://u:secret@localhost/a HTTP/1.1\r\nHost: u:secret@b\r\n\r\n", ("GET", "b", "/a")),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", ("GET", "", "/" + "a" * 255)),
    (b"Cookie: gateway_session=secret\r\n\r\n", ("-", "", "")),
    (b"GET /half HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic secr", ("GET", "localhost", "/half")),
]


@pytest.mark.parametrize(("head", "expected"), BAD_HEADS, ids=range(len(BAD_HEADS)))
def test_heads_that_are_refused_are_in_the_log(
    gateway: GatewayProcess, head: bytes, expected: tuple[str, str, str]
) -> None:
    """As much of method, host and path as can be said safely; nothing of query, password or other headers."""
    with gateway.connect() as client:
        client.send(head)
        answer = client.answer()
    record = logged(gateway, answer)
    assert (record["method"], record["host"], record["path"]) == expected
    assert record["status"] == answer.status
    assert (record["reason"], record["route"]) == (answer.get("X-Gateway-Reason"), "-")
    assert "secret" not in gateway.log_text()


@pytest.mark.parametrize(
    ("request_text", "reason", "cure"),
    [
        (f"GET /open/a%2Fb HTTP/1.1\r\n{HOST}\r\n", "encoded_slash", r"route open: .*\]\.encoded_slashes: pass"),
        (f"POST /open HTTP/1.1\r\n{HOST}Content-Length: 11\r\n\r\n", "body_too_large", r"route open: .*\]\.max_body"),
        (
            f"GET /open HTTP/1.1\r\n{HOST}{UPGRADE}Origin: https://o\r\n\r\n",
            "origin",
            r"route open: .* routes\[\].origins",
        ),
        (f"GET /open HTTP/1.1\r\n{HOST}X: {'a' * 5000}\r\n\r\n", "head_too_large", '"a request head .* limits.line'),
        (f"GET /open/{'a' * 3000} HTTP/1.1\r\n{HOST}\r\n", "target_too_long", '"a request with .* limits.target'),
    ],
)
def test_a_refusal_that_a_key_can_change_is_a_warning_once(
    gateway: GatewayProcess, request_text: str, reason: str, cure: str
) -> None:
    """It names the route and the key."""
    for _ in range(2):
        with gateway.connect() as client:
            client.send(request_text)
            assert client.answer().get("X-Gateway-Reason") == reason
    found = [line for line in gateway.stderr if re.search(cure, line)]
    assert len(found) == 1, gateway.errors()


def test_cookies_that_are_dropped(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """Their names are in the access log; each is a warning once for its route; a counter counts responses."""
    ours = (b"gateway_session=x; Path=/", b"mine=1", b"=gateway_logins=x", b"gateway_browser=y")
    odd = b"\r\nSet-Cookie: ".join(ours)
    upstream.says("/open/cookies", b"HTTP/1.1 200 OK\r\nSet-Cookie: %b\r\nContent-Length: 0\r\n\r\n" % odd)
    for _ in range(2):
        with gateway.connect() as client:
            client.send(f"GET /open/cookies HTTP/1.1\r\n{HOST}\r\n")
            answer = client.answer()
        assert answer.get_all("Set-Cookie") == ["mine=1"]
        assert logged(gateway, answer)["dropped_cookies"] == ["gateway_session", "gateway_logins", "gateway_browser"]
    assert count(gateway, 'gateway_dropped_total{kind="set_cookie",route="open"}') == 2
    assert len(warnings(gateway, 'route open: the app\'s cookie "gateway_session" was dropped')) == 1
    (line,) = warnings(gateway, '"gateway_browser" was dropped')
    assert "set session.cookie.name" in line


def test_many_dropped_cookies_are_bounded(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    many = b"".join(b"Set-Cookie: gateway_handover_1_%08x=y\r\n" % index for index in range(100))
    upstream.says("/open/many", b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % many)
    with gateway.connect() as client:
        client.send(f"GET /open/many HTTP/1.1\r\n{HOST}\r\n")
        assert len(logged(gateway, client.answer())["dropped_cookies"]) == 8


def test_identity_headers_of_clients_are_counted(gateway: GatewayProcess) -> None:
    """Without a line in the log: anybody could fill it with them."""
    with gateway.connect() as client:
        client.send(f"GET /open HTTP/1.1\r\n{HOST}X-Forwarded-User: root\r\nX-Gateway-Session: x\r\n\r\n")
        assert client.answer().status == 200
    assert count(gateway, 'gateway_dropped_total{kind="identity_header",route="open"}') == 1
    assert "root" not in gateway.log_text()


def test_connections_over_the_limit(start_gateway: StartGateway, upstream: HostileUpstream) -> None:
    """They are in the access log, and the warning names the key."""
    small = start_gateway(gateway_config(route("open", "/", upstream.url, public=True), limits={"connections": 1}))
    with small.connect() as first:
        first.send(f"GET / HTTP/1.1\r\n{HOST}\r\n")
        assert first.answer().status == 200
        with small.connect() as second:
            answer = second.answer()
    assert (answer.status, answer.get("X-Gateway-Reason")) == (503, "too_many_connections")
    record = logged(small, answer)
    assert (record["client"], record["reason"]) == ("127.0.0.1", "too_many_connections")
    assert len(warnings(small, "raise limits.connections")) == 1
