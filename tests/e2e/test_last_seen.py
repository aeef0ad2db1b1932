"""Sessions of people who are working: what counts as use, and what may carry the renewed cookie."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.support.frames import CLOSE, PING, TEXT, Frame, decode, encode
from tests.support.gateway import Config, GatewayProcess, gateway_config, new_key, route
from tests.support.messages import Answer, Request
from tests.support.raw import RawClient
from tests.support.upstream import RecorderUpstream, ScriptedUpstream, UpstreamConnection
from tests.support.users import ALICE
from tests.support.visitor import PROGRAM, Visitor, logged_in
from tests.support.waiting import PATIENCE, wait_for
from tests.support.workers import client_of_each, statuses_at_each

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY,
}  # fmt: skip
STORES = ["cookie", "sqlite", "redis"]


def session(idle: str, **more: Any) -> dict[str, Any]:
    return {"keys": [new_key()], "idle": idle, **more}


def store_url(store: str, request: pytest.FixtureRequest) -> str:
    """Return the value of ``session.store``."""
    if store != "redis":
        return store
    address = request.getfixturevalue("redis_single").address
    ((host, port),) = address.nodes
    return f"redis://{host}:{port}"


def caching_app(request: Request) -> bytes:
    """Answer with the Cache-Control that the query names, and none without a query."""
    value = request.target.partition("?")[2].replace("+", " ")
    line = f"Cache-Control: {value}\r\n" if value else ""
    return f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{line}\r\nok".encode()


@pytest.fixture
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream(caching_app) as upstream:
        yield upstream


def config_of(app: RecorderUpstream, **more: Any) -> Config:
    return gateway_config(
        route("app", "/", app.url),
        route("as-is", "/as-is", app.url, cache="as-is"),
        route("open", "/open", app.url, public=True),
        route("ws", "/ws", app.url),
        **more,
    )


def renewed(answer: Answer) -> bool:
    return any(line.startswith("gateway_session=") for line in answer.get_all("Set-Cookie"))


def test_silent_responses_are_private_where_there_is_a_session(
    app: RecorderUpstream, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(config_of(app))
    alice = logged_in(gateway, ALICE)

    def caching(path: str, visitor: Visitor = alice) -> list[str]:
        return visitor.get(path, PROGRAM).get_all("Cache-Control")

    assert caching("/x") == ["private"]
    assert caching("/open") == ["private"]
    assert caching("/as-is") == []
    assert caching("/open", Visitor(gateway)) == []
    for value in ("no-store", "max-age=60", "public, max-age=60", "private", "no-cache"):
        assert caching(f"/x?{value.replace(' ', '+')}") == [value]


def test_a_renewal_goes_on_no_response_that_a_shared_cache_may_store(
    app: RecorderUpstream, start_gateway: StartGateway
) -> None:
    """It waits for a quarter of the idle time; then the next response is made private."""
    gateway = start_gateway(config_of(app, session=session("12s")))
    alice = logged_in(gateway, ALICE)
    begun = time.monotonic()
    last: dict[str, float] = {}
    while "cookie" not in last:
        answer = alice.get("/x?public,+max-age=3600", PROGRAM)
        caching = ", ".join(answer.get_all("Cache-Control"))
        if renewed(answer):
            assert "private" in caching
            assert "public" not in caching
            assert "max-age=3600" in caching
            last["cookie"] = time.monotonic() - begun
        else:
            assert caching == "public, max-age=3600"
        assert time.monotonic() - begun < PATIENCE, "the session went on without its cookie being renewed"
        time.sleep(0.5)
    assert last["cookie"] >= 1.2 + 3 - 1, "due after a tenth of the idle time, and waiting for a quarter of it"


def test_a_renewal_goes_with_other_responses(app: RecorderUpstream, start_gateway: StartGateway) -> None:
    """As they are, where no shared cache may store them; else made private."""
    gateway = start_gateway(config_of(app, session=session("8s")))

    def first_renewed(caching: str) -> list[str]:
        alice = logged_in(gateway, ALICE)
        found: list[Answer] = []

        def is_renewed() -> bool:
            found.append(alice.get(f"/x?{caching.replace(' ', '+')}", PROGRAM))
            return renewed(found[-1])

        wait_for(is_renewed, what="a renewed cookie")
        return found[-1].get_all("Cache-Control")

    for caching in ("no-store", "private, max-age=5"):
        assert first_renewed(caching) == [caching]
    for caching in ("max-age=3600", "no-cache", ""):
        assert first_renewed(caching) == [*([caching] if caching else []), "private"]


def test_public_responses_alone_keep_a_session(app: RecorderUpstream, start_gateway: StartGateway) -> None:
    """With two workers, of which neither knows what the other renewed, and the cookie of the login alone."""
    gateway = start_gateway(config_of(app, session=session("1500ms"), workers=2))
    alice = logged_in(gateway, ALICE)
    cookie = alice.cookie_header()
    with client_of_each(gateway) as clients:
        until = time.monotonic() + 7.5
        turn = 0
        while time.monotonic() < until:
            turn += 1
            # A second each at one worker, so that the other one knows nothing but the cookie.
            client = clients[(turn // 5) % len(clients)]
            client.send(f"GET /x HTTP/1.1\r\nHost: {gateway.authority}\r\nCookie: {cookie}\r\n\r\n")
            assert client.answer().status == 200, f"thrown out in turn {turn}"
            time.sleep(0.2)
    time.sleep(2)
    idle = Visitor(gateway)
    idle.cookies = dict(pair.split("=", 1) for pair in cookie.split("; "))
    assert idle.get("/x", PROGRAM).status == 401, "idle all the same"


class Socket:
    """A WebSocket of raw frames."""

    def __init__(self, gateway: GatewayProcess, visitor: Visitor) -> None:
        self.client = RawClient(gateway.port)
        fields = {"Host": gateway.authority, "Cookie": visitor.cookie_header(), **UPGRADE}
        self.client.send("GET /ws HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n")
        assert self.client.answer().status == 101
        self._data = b""

    def __enter__(self) -> Socket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def send(self, opcode: int) -> None:
        self.client.send(encode(opcode, b"x", masked=True))

    def frames(self) -> list[Frame]:
        """Return what has come within a moment."""
        self.client.is_quiet(0.05)
        self._data += self.client.buffer
        self.client.buffer = b""
        found, self._data = decode(self._data)
        return found

    def closed_by(self, opcode: int, seconds: float) -> int | None:
        """Send a frame every 200 ms for so many seconds; return the code it is closed with, if it is."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.send(opcode)
            for frame in self.frames():
                if frame.opcode == CLOSE:
                    return frame.close_code()
            time.sleep(0.15)
        return None


@pytest.mark.parametrize("store", STORES)
def test_messages_over_a_websocket_are_use(
    app: RecorderUpstream, start_gateway: StartGateway, store: str, request: pytest.FixtureRequest
) -> None:
    """Streamlit and terminals: somebody works over it alone, and is still logged in after it."""
    url = store_url(store, request)
    gateway = start_gateway(config_of(app, session=session("1500ms", store=url), workers=2))
    alice = logged_in(gateway, ALICE)
    with Socket(gateway, alice) as socket:
        assert socket.closed_by(TEXT, 5) is None
        # At whichever worker it is, and with the cookie of the login.
        assert statuses_at_each(alice, "/x", PROGRAM) == {200}
        assert socket.closed_by(TEXT, 1) is None


def test_pings_are_no_use(app: RecorderUpstream, start_gateway: StartGateway) -> None:
    gateway = start_gateway(config_of(app, session=session("2s")))
    with Socket(gateway, logged_in(gateway, ALICE)) as socket:
        assert socket.closed_by(PING, PATIENCE) == 1008


def test_activity_of_websockets_can_be_left_out(app: RecorderUpstream, start_gateway: StartGateway) -> None:
    gateway = start_gateway(config_of(app, session=session("2s", websocket_activity=False)))
    with Socket(gateway, logged_in(gateway, ALICE)) as socket:
        assert socket.closed_by(TEXT, PATIENCE) == 1008


def test_what_was_seen_outlives_a_restart(app: RecorderUpstream, start_gateway: StartGateway) -> None:
    """A cookie that was never renewed, for its session was used over a WebSocket alone."""
    gateway = start_gateway(config_of(app, session=session("5s")))
    alice = logged_in(gateway, ALICE)
    with Socket(gateway, alice) as socket:
        assert socket.closed_by(TEXT, 6) is None
    gateway.restart()
    assert alice.get("/x", PROGRAM).status == 200


async def slow(connection: UpstreamConnection) -> None:
    """Answer with a piece every 100 ms, 60 of them; as an event stream where the path says so."""
    while (request := await connection.request()) is not None:
        if request.target.startswith("/page"):
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            continue
        kind = b"text/event-stream" if "events" in request.target else b"application/octet-stream"
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nContent-Length: 6000\r\n\r\n")
        for _ in range(60):
            await asyncio.sleep(0.1)
            await connection.send(b"x" * 100)


@pytest.fixture
def slow_app() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(slow) as upstream:
        yield upstream


@pytest.mark.parametrize("store", STORES)
def test_idleness_ends_no_download(
    slow_app: ScriptedUpstream, start_gateway: StartGateway, store: str, request: pytest.FixtureRequest
) -> None:
    """It goes on to its end, though its session is over by then; an event stream does not."""
    url = store_url(store, request)
    config = gateway_config(route("app", "/", slow_app.url), session=session("1500ms", store=url))
    gateway = start_gateway(config)
    alice = logged_in(gateway, ALICE)
    with gateway.connect() as download, gateway.connect() as events:
        for client, path in ((download, "/file"), (events, "/events")):
            client.send(f"GET {path} HTTP/1.1\r\nHost: {gateway.authority}\r\nCookie: {alice.cookie_header()}\r\n\r\n")
        assert not events.partial_answer().complete
        assert alice.get("/page", PROGRAM).status == 401, "idle by now"
        assert len(download.answer().body) == 6000


@pytest.mark.parametrize("store", STORES)
def test_a_logout_ends_a_download_of_an_idle_session(
    slow_app: ScriptedUpstream, start_gateway: StartGateway, store: str, request: pytest.FixtureRequest
) -> None:
    """Revocation by the user's name, for the session's own cookie opens nothing any more."""
    url = store_url(store, request)
    config = gateway_config(route("app", "/", slow_app.url), session=session("1s", store=url))
    gateway = start_gateway(config)
    alice = logged_in(gateway, ALICE)
    with gateway.connect() as download:
        download.send(f"GET /file HTTP/1.1\r\nHost: {gateway.authority}\r\nCookie: {alice.cookie_header()}\r\n\r\n")
        time.sleep(2.5)
        with RawClient(gateway.admin_port) as admin:
            admin.send(
                f"DELETE /api/sessions?user=alice HTTP/1.1\r\nHost: 127.0.0.1:{gateway.admin_port}\r\n"
                "Accept: application/json\r\n\r\n"
            )
            assert admin.answer().status == 200
        assert not download.partial_answer().complete
