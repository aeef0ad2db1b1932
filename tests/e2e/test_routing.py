"""Where requests go: hosts, prefixes, addresses of every kind, and what the upstream gets to see."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.support.certificates import make_certificate
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Answer
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB, User
from tests.support.visitor import Visitor, logged_in
from tests.support.waiting import PATIENCE


@pytest.fixture(scope="module")
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def other() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(
    app: RecorderUpstream, other: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("strip", "/strip", app.url, public=True, strip_prefix=True),
        route("keep", "/keep", app.url, public=True),
        route("deeper", "/keep/deeper", other.url, public=True),
        route("own-host", "/own-host", app.url, public=True, preserve_host=False),
        route("slashes", "/slashes", app.url, public=True, encoded_slashes="pass"),
        route("headers", "/headers", app.url, public=True, headers={"X-Added": "yes", "User-Agent": None}),
        route("small", "/small", app.url, public=True, max_body="1KiB"),
        route("wiki", "/", app.url, host="wiki.example.com", public=True),
        route("wild", "/", other.url, host="*.example.com", public=True),
        route("trusting", "/trusting", app.url, public=True, pass_headers=["X-Original-URL", "X-Forwarded-Protocol"]),
    )
    with GatewayProcess(tmp_path_factory.mktemp("routing"), config) as process:
        yield process


def get(gateway: GatewayProcess, target: str, *fields: tuple[str, str], host: str | None = None) -> Answer:
    """Return the answer to a GET without cookies."""
    return Visitor(gateway, host=host).get(target, list(fields))


def test_longest_prefix_at_a_segment_boundary(
    gateway: GatewayProcess, app: RecorderUpstream, other: RecorderUpstream
) -> None:
    """The longest prefix wins, and only whole segments count."""
    assert get(gateway, "/keep/x").status == 200
    assert app.last().target == "/keep/x"
    assert get(gateway, "/keep/deeper/x").status == 200
    assert other.last().target == "/keep/deeper/x"
    assert get(gateway, "/keep/deeperx").status == 200
    assert app.last().target == "/keep/deeperx"
    assert get(gateway, "/keeper").status == 404
    assert get(gateway, "/keep").status == 200


@pytest.mark.parametrize(
    ("target", "seen"),
    [("/strip/a/b?c=/strip", "/a/b?c=/strip"), ("/strip", "/"), ("/strip/", "/"), ("/strip?x", "/?x")],
)
def test_strip_prefix(gateway: GatewayProcess, app: RecorderUpstream, target: str, seen: str) -> None:
    """With strip_prefix the app sees its own paths, and learns the prefix."""
    assert get(gateway, target).status == 200
    assert app.last().target == seen


@pytest.mark.parametrize("target", ["/strip//evil.example/x", "/%73trip/x", "/strip/..%2f", "/strip/%2e%2e/keep"])
def test_strip_prefix_is_not_confused(gateway: GatewayProcess, app: RecorderUpstream, target: str) -> None:
    """A stripped target stays a path: never `//host`, never a path of another route."""
    before = len(app.requests)
    answer = get(gateway, target)
    for request in app.requests[before:]:
        assert request.target.startswith("/")
        assert not request.target.startswith(("//", "/strip", "/%73trip"))
        assert answer.status == 200
    assert answer.status in (200, 400, 404)


def test_preserve_host(gateway: GatewayProcess, app: RecorderUpstream) -> None:
    """The app sees the browser's Host, or its own where the route says so."""
    get(gateway, "/keep/x")
    assert app.last().get("Host") == gateway.authority
    get(gateway, "/own-host/x")
    assert app.last().get("Host") == f"127.0.0.1:{app.port}"
    assert app.last().get("X-Forwarded-Host") == gateway.authority


def test_hosts(gateway: GatewayProcess, app: RecorderUpstream, other: RecorderUpstream) -> None:
    """Exact hosts come before wildcards; a host that is not configured is nobody's."""
    assert get(gateway, "/x", host="wiki.example.com").status == 200
    assert app.last().get("Host") == "wiki.example.com"
    for host in ("WIKI.EXAMPLE.COM", "wiki.example.com.", "wiki.example.com:8080"):
        assert get(gateway, f"/{host}", host=host).status == 200
        assert app.last().target == f"/{host}"
    for host in ("wiki.example.com.", "wiki.example.com.:8080"):
        get(gateway, "/x", host=host)
        plain = host.replace("com.", "com")
        assert [app.last().get(name) for name in ("Host", "X-Forwarded-Host")] == [plain, plain]
    assert get(gateway, "/y", host="a.b.example.com").status == 200
    assert other.last().get("Host") == "a.b.example.com"
    for host in ("example.com", "evilexample.com", "example.com.evil", "wiki.example.org"):
        assert get(gateway, "/x", host=host).status in (404, 421), host


def test_own_pages_on_every_host(gateway: GatewayProcess) -> None:
    """`/_gateway/` is the gateway's own on every configured host, and on no other."""
    for host in (None, "wiki.example.com", "any.example.com"):
        assert get(gateway, "/_gateway/login", ("Accept", "text/html"), host=host).status == 200
    assert get(gateway, "/_gateway/login", ("Accept", "text/html"), host="evil.example").status in (404, 421)


def test_encoded_slashes_pass_where_the_route_says_so(gateway: GatewayProcess, app: RecorderUpstream) -> None:
    """`encoded_slashes: pass` lets %2F through as it is; elsewhere it is 400; dot segments are refused on both."""
    assert get(gateway, "/slashes/a%2Fb").status == 200
    assert app.last().target == "/slashes/a%2Fb"
    assert get(gateway, "/keep/a%2Fb").status == 400
    assert get(gateway, "/slashes/..%2Fkeep").status == 400
    assert get(gateway, "/slashes%2Fx").status in (400, 404)


def test_route_headers(gateway: GatewayProcess, app: RecorderUpstream) -> None:
    """A route adds and removes headers; a client cannot add its own value to one that is set."""
    aliases = [(f"X{sign}Added", "no") for sign in "-_.~"] + [(f"User{sign}Agent", "me") for sign in "-_+"]
    assert get(gateway, "/headers/x", *aliases).status == 200
    assert (app.last().get_all("X-Added"), app.last().get("User-Agent")) == (["yes"], None)
    names = {name.lower() for name, _ in app.last().headers}
    assert names & {name.lower() for name, _ in aliases} == {"x-added"}


def test_pass_headers(gateway: GatewayProcess, app: RecorderUpstream) -> None:
    """A header that is stripped elsewhere passes where a route names it, and nothing else with it."""
    fields = (("X-Original-URL", "/a"), ("X-Rewrite-URL", "/b"), ("X-Forwarded-Protocol", "ssl"))
    assert get(gateway, "/trusting/x", *fields).status == 200
    assert [app.last().get(name) for name, _ in fields] == ["/a", None, "ssl"]
    assert get(gateway, "/keep/x", *fields).status == 200
    assert [app.last().get(name) for name, _ in fields] == [None, None, None]


@pytest.mark.parametrize("chunked", [False, True])
def test_max_body(gateway: GatewayProcess, app: RecorderUpstream, chunked: bool) -> None:
    """A body over the route's max_body is 413, by its announced length or as soon as it grows too large."""
    with gateway.connect() as client:
        framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 2000"
        body = "7d0\r\n" + "x" * 2000 + "\r\n0\r\n\r\n" if chunked else "x" * 2000
        client.send(f"POST /small/x HTTP/1.1\r\nHost: {gateway.authority}\r\n{framing}\r\n\r\n{body}")
        assert client.answer().status == 413
        assert client.is_closed()
    assert not any(request.complete for request in app.requests if request.target == "/small/x")
    with gateway.connect() as client:
        client.send(
            f"POST /small/ok HTTP/1.1\r\nHost: {gateway.authority}\r\nContent-Length: 1024\r\n\r\n" + "x" * 1024
        )
        assert client.answer().status == 200


def test_unix_socket_upstream(start_gateway: StartGateway, tmp_path: Path) -> None:
    """An upstream may be a unix socket."""
    with RecorderUpstream(unix_path=tmp_path / "app.sock") as upstream:
        own = start_gateway(gateway_config(route("app", "/", upstream.url, public=True)))
        assert get(own, "/x?y").status == 200
        assert upstream.last().target == "/x?y"


def test_unix_socket_listener(start_gateway: StartGateway, recorder: RecorderUpstream, tmp_path: Path) -> None:
    """The gateway may listen on a unix socket beside its port."""
    path = tmp_path / "gateway.sock"
    own = start_gateway(
        gateway_config(route("app", "/", recorder.url, public=True), listen=["127.0.0.1:0", f"unix:{path}"])
    )
    assert get(own, "/tcp").status == 200
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET /unix HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert recorder.last().target == "/unix"


def test_a_unix_socket_speaks_tls_too_and_the_start_says_so(
    start_gateway: StartGateway, recorder: RecorderUpstream, tmp_path: Path
) -> None:
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    certificate, key = make_certificate(tmp_path, "localhost", start=now - day, end=now + day)
    path = tmp_path / "public.sock"
    gateway = start_gateway(
        gateway_config(
            route("app", "/", recorder.url, public=True),
            listen=["127.0.0.1:0", f"unix:{path}"],
            public_url="https://localhost",
            tls={"certificate": str(certificate), "key": str(key)},
        )
    )
    assert f"listening on unix:{path} (TLS)" in gateway.errors()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE)
        raw.connect(str(path))
        with ssl.create_default_context(cafile=certificate).wrap_socket(raw, server_hostname="localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"


def test_several_addresses_take_turns(
    start_gateway: StartGateway, app: RecorderUpstream, other: RecorderUpstream
) -> None:
    """Several addresses of a route share its requests."""
    own = start_gateway(gateway_config(route("app", "/", [app.url, other.url], public=True)))
    before = len(app.requests), len(other.requests)
    for i in range(20):
        assert get(own, f"/{i}").status == 200
    assert len(app.requests) - before[0] >= 5
    assert len(other.requests) - before[1] >= 5


def test_a_name_as_an_address(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """An upstream may be named; a name that does not exist is 502."""
    own = start_gateway(
        gateway_config(
            route("app", "/", f"http://localhost:{recorder.port}", public=True),
            route("none", "/none", "http://no-such-host.invalid:80", public=True),
        )
    )
    assert get(own, "/x").status == 200
    assert get(own, "/none").status == 502


def test_identity_headers(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Templates are filled from the identity; values that are not ASCII arrive as RFC 2047 words."""
    config = gateway_config(route("app", "/", recorder.url), route("open", "/open", recorder.url, public=True))
    config["identity"] = {
        "headers": {"X-Forwarded-User": "{user}", "X-Name": "{name}", "X-All": "{user}/{email}/{groups}"}
    }
    jose = User("jose", "pw 12345", "José Ñandú 李", ("a b", "ops"))
    own = start_gateway(config, users=[jose, BOB])
    visitor = logged_in(own, jose)
    visitor.get("/x", {"X-Name": "spoofed", "x_all": "spoofed", "X~All": "spoofed"})
    request = recorder.last()
    assert request.get("X-Forwarded-User") == "jose"
    assert request.get("X~All") is None
    assert request.get("X-All") == "jose/jose@example.com/a b,ops"
    assert (request.get("X-Name") or "").startswith("=?")
    assert Visitor(own).get("/open/x", {"X-Name": "spoofed", "X.All": "spoofed", "X-All": "x"}).status == 200
    assert [recorder.last().get(name) for name in ("X-Name", "X-All", "X.All", "X-Forwarded-User")] == [None] * 4
    assert logged_in(own, BOB).get("/open/x").status == 200
    assert recorder.last().get("X-Forwarded-User") == "bob"


def test_me_tells_the_same(gateway: GatewayProcess) -> None:
    """`/_gateway/me` tells the identity that upstreams get."""
    found = json.loads(logged_in(gateway, ALICE).get("/_gateway/me").body)
    text = json.dumps(found)
    for expected in ("alice", "Alice Liddell", "alice@example.com", "staff"):
        assert expected in text
