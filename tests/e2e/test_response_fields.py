"""Responses whose fields a proxy puts right: white space before a colon, and a length that is said more than once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.test_hostile_upstreams import ask
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.hostile import HostileUpstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(upstream: HostileUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(route("hb", "/hb", upstream.url, public=True))
    with GatewayProcess(tmp_path_factory.mktemp("fields"), config) as process:
        yield process


@pytest.fixture(autouse=True)
def next_user_is_unaffected(gateway: GatewayProcess, upstream: HostileUpstream) -> Iterator[None]:
    """After every test a plain request on the same route gets its own response."""
    yield
    answer = ask(gateway, "/hb/plain")
    assert (answer.status, answer.body) == (200, b"ok")
    assert not upstream.violations, upstream.violations


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length : 5\r\nContent-Length: 6\r\n",
        b"Content-Length : 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n",
        b"Transfer-Encoding : gzip, chunked\r\n",
        b"Content-Length: 5,\r\n",
    ],
)
def test_hb03_contradicting_lengths_with_white_space(
    gateway: GatewayProcess, upstream: HostileUpstream, fields: bytes
) -> None:
    """Lengths are judged once the white space before their colons is gone."""
    upstream.says("/hb/03s", b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nhello")
    assert ask(gateway, "/hb/03s").status == 502


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 2\r\nContent-Length: 2\r\n",
        b"Content-Length: 2, 2\r\n",
        b"Content-Length : 2\r\n",
        b"Content-Length\t: 2 ,2\r\nContent-Length: 2\r\n",
    ],
)
def test_equal_lengths_are_one(gateway: GatewayProcess, upstream: HostileUpstream, fields: bytes) -> None:
    """The client gets one length, and the connection to the app carries the next request (RFC 9112 §6.3)."""
    upstream.says("/hb/2x", b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nok", then="stay")
    answer = ask(gateway, "/hb/2x")
    assert (answer.status, answer.body, answer.get_all("Content-Length")) == (200, b"ok", ["2"])


def test_white_space_before_a_colon_is_removed(gateway: GatewayProcess, upstream: HostileUpstream) -> None:
    """A field goes on without it, and means what it means without it (RFC 9112 §5.1), among trailers too."""
    own = b"gateway_session=evil; Path=/"
    fields = (
        b"Content-Type : text/plain\r\nX-App \t: a : b\r\nSet-Cookie : app=1\r\nSet-Cookie\t: " + own + b"\r\n"
        b"X-Forwarded-User : admin\r\nX-Accel-Redirect : /internal\r\nTransfer-Encoding : chunked\r\n"
    )
    chunks = b"2\r\nok\r\n0\r\nX-Sum : 1\r\n\r\n"
    upstream.says("/hb/spaced", b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + chunks, then="stay")
    answer = ask(gateway, "/hb/spaced")
    assert (answer.status, answer.body) == (200, b"ok")
    assert [answer.get_all(name) for name in ("Content-Type", "X-App", "Set-Cookie")] == [
        ["text/plain"],
        ["a : b"],
        ["app=1"],
    ]
    assert answer.get("X-Forwarded-User") is answer.get("X-Accel-Redirect") is None
    assert all(name == name.strip() for name, _ in answer.headers)
