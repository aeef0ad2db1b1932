"""Forward auth on kept connections: every answer leaves the connection as the proxy expects it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Answer
from tests.support.raw import RawClient
from tests.support.users import ALICE, BOB
from tests.support.visitor import PROGRAM, logged_in

APP = "app.example.com"
VERIFY = "/_gateway/verify"


def asked(uri: str, method: str = "GET") -> dict[str, str]:
    """Return what a proxy says of the request that it holds."""
    return {"X-Forwarded-Method": method, "X-Forwarded-Host": APP, "X-Forwarded-Uri": uri}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    nowhere = "http://127.0.0.1:9"
    config = gateway_config(
        route("app", "/", nowhere, host=APP, allow={"groups": ["staff"]}),
        route("open", "/open", nowhere, host=APP, public=True),
        public_url=f"http://{APP}",
        forward_auth={"from": ["127.0.0.1/32"]},
        trusted_proxies=["127.0.0.1/32"],
    )
    with GatewayProcess(tmp_path_factory.mktemp("asked"), config) as process:
        yield process


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("about", ["GET", "HEAD", "DELETE"])
def test_a_kept_connection_goes_on_whatever_is_decided(gateway: GatewayProcess, method: str, about: str) -> None:
    """Proxies keep connections to whom they ask: none of the answers may close it, or leave bytes behind."""
    alice = logged_in(gateway, ALICE, host=APP).cookie_header()
    bob = logged_in(gateway, BOB, host=APP).cookie_header()
    with gateway.connect() as client:
        for cookie, uri, status in (
            (alice, "/page", 200), ("", "/page", 401), (bob, "/page", 403), ("", "/open/../x", 400),
            (alice, "/page", 200), ("", "/_gateway/login", 403), ("", "/open", 200),
        ):  # fmt: skip
            told = {**asked(uri, about), **PROGRAM, "Cookie": cookie}
            answer = ask(client, method, VERIFY, told)
            assert (answer.status, answer.get("Connection")) == (status, None)


def ask(client: RawClient, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """Ask on a connection that is kept."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    client.send(f"{method} {target} HTTP/1.1\r\nHost: gateway\r\n{lines}\r\n".encode() + body)
    return client.answer(method)


def test_a_body_sent_along_is_no_next_request(gateway: GatewayProcess) -> None:
    """A proxy that is set to send bodies to whom it asks gets its answer, and the end of the connection."""
    smuggled = f"GET {VERIFY} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode()
    for uri, status in (("/open", 200), ("/page", 401), ("/open/../x", 400)):
        for framing in ({"Content-Length": str(len(smuggled))}, {"Transfer-Encoding": "chunked"}):
            with gateway.connect() as client:
                answer = ask(client, "POST", VERIFY, {**asked(uri), **PROGRAM, **framing}, smuggled)
                assert (answer.status, answer.get("Connection")) == (status, "close")
                assert client.rest() == b""


def test_an_http_1_0_proxy_is_answered(gateway: GatewayProcess) -> None:
    """nginx asks so unless it is told otherwise."""
    told = "".join(f"{name}: {value}\r\n" for name, value in asked("/open").items())
    with gateway.connect() as client:
        for _ in range(2):
            client.send(f"GET {VERIFY} HTTP/1.0\r\nHost: gateway\r\nConnection: keep-alive\r\n{told}\r\n".encode())
            answer = client.answer()
            assert (answer.status, answer.get("Connection")) == (200, "keep-alive")
        client.send(f"GET {VERIFY} HTTP/1.0\r\nHost: gateway\r\n{told}\r\n".encode())
        answer = client.answer()
        assert (answer.status, answer.get("Connection")) == (200, "close")
        assert client.rest() == b""
