"""The scheme of the client as proxies in front tell it: what WebSockets' origins, cookies and apps go by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.test_websocket import UPGRADE
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.upstream import RecorderUpstream
from tests.support.visitor import Visitor

HOST = "apps.example.com"
CLIENT = "203.0.113.7"


@pytest.fixture(scope="module")
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("app", "/", app.url, public=True),
        route("ws", "/ws", app.url, public=True),
        public_url=f"https://{HOST}",
        trusted_proxies=["127.0.0.0/8", "10.0.0.0/8"],
    )
    with GatewayProcess(tmp_path_factory.mktemp("proto"), config) as process:
        yield process


def opened(gateway: GatewayProcess, proto: str, origin: str) -> int:
    """Return the status of a WebSocket's handshake."""
    lines = f"Host: {HOST}\r\nX-Forwarded-For: {CLIENT}\r\nX-Forwarded-Proto: {proto}\r\nOrigin: {origin}\r\n"
    with gateway.connect() as client:
        client.send(f"GET /ws/echo HTTP/1.1\r\n{lines}{UPGRADE}\r\n")
        return client.answer().status


@pytest.mark.parametrize(
    ("proto", "origin", "status"),
    [
        ("wss", f"https://{HOST}", 101),
        ("WSS", f"https://{HOST}", 101),
        ("ws", f"http://{HOST}", 101),
        ("wss", f"http://{HOST}", 403),
        ("ws", f"https://{HOST}", 403),
        ("https", f"https://{HOST}", 101),
        ("wss", "https://evil.example", 403),
    ],
)
def test_a_websocket_is_of_the_origin_whose_scheme_the_proxy_tells(
    gateway: GatewayProcess, proto: str, origin: str, status: int
) -> None:
    """Traefik says wss where others say https: the page that opened it is of https all the same."""
    assert opened(gateway, proto, origin) == status


TOLD = [
    (["wss"], [CLIENT], "https"),
    (["ws"], [CLIENT], "http"),
    (["HTTPS"], [CLIENT], "https"),
    (["https, http"], [f"{CLIENT}, 10.0.0.1"], "https"),
    (["http, https"], [f"{CLIENT}, 10.0.0.1"], "http"),
    (["https", "http"], [CLIENT, "10.0.0.1"], "https"),
    (["wss, http, ws"], [f"{CLIENT}, 10.0.0.2, 10.0.0.1"], "https"),
    # What the client claims of those before it is not believed.
    (["https, http"], [f"10.9.9.9, {CLIENT}"], "http"),
    (["https, http, https"], [f"10.9.9.9, {CLIENT}, 10.0.0.1"], "http"),
    (["http, https"], ["unknown, 10.0.0.1"], "http"),
    # Lists of other lengths.
    (["https, https"], [CLIENT], "https"),
    (["https, wss"], [CLIENT], "https"),
    (["https"], [f"{CLIENT}, 10.0.0.2, 10.0.0.1"], "https"),
    (["http, https"], [CLIENT], "https"),
    (["https, http"], [f"{CLIENT}, 10.0.0.2, 10.0.0.1"], "http"),
    (["https", "http"], [], "http"),
    (["https", "https"], [], "https"),
    # What is no scheme is as good as absent: the connection's own counts.
    (["javascript"], [CLIENT], "http"),
    ([""], [CLIENT], "http"),
    (["https, gopher"], [f"10.9.9.9, {CLIENT}"], "http"),
    ([], [CLIENT], "http"),
]


@pytest.mark.parametrize(("protos", "addresses", "scheme"), TOLD)
def test_apps_are_told_what_the_outermost_trusted_proxy_says(
    gateway: GatewayProcess, app: RecorderUpstream, protos: list[str], addresses: list[str], scheme: str
) -> None:
    """Of a list, the entry at the client's place in X-Forwarded-For; with other lengths, the one nearest to us."""
    fields = [("X-Forwarded-Proto", proto) for proto in protos]
    fields += [("X-Forwarded-For", address) for address in addresses]
    assert Visitor(gateway, host=HOST).get("/x", fields).status == 200
    assert app.last().get_all("X-Forwarded-Proto") == [scheme]


def test_nobody_else_is_believed(app: RecorderUpstream, gateway: GatewayProcess) -> None:
    """The same words from a peer that is no trusted proxy are nothing."""
    config = {**gateway.config, "trusted_proxies": ["192.0.2.0/24"]}
    with GatewayProcess(gateway.directory / "other", config) as own:
        assert opened(own, "wss", f"https://{HOST}") == 403
        assert Visitor(own, host=HOST).get("/x", {"X-Forwarded-Proto": "wss"}).status == 200
        assert app.last().get("X-Forwarded-Proto") == "http"
