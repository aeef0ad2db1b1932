"""Sealed cookies, two workers, five times `idle`: who is active in any way is neither cut nor logged out.

Each worker in turn is left alone by a person for longer than `idle`, so it has to know from the others that they are
still there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.frames import TEXT, Frame, decode, encode
from tests.support.fronts import PUBLIC, WIKI, Front, NginxFront
from tests.support.gateway import GatewayProcess, gateway_config, new_key, route
from tests.support.messages import Answer, Request
from tests.support.raw import RawClient
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import PROGRAM, Visitor, logged_in
from tests.support.waiting import PATIENCE
from tests.support.workers import client_of_each, statuses_at_each, worker_of, workers_of

IDLE = 4.0
PACE = 0.5
TURN = 1.5 * IDLE
"""How long somebody is served by one worker before the other has its turn."""
ATTEMPTS = 3
HANDSHAKE = (
    f"GET /ws/echo HTTP/1.1\r\nHost: {WIKI}\r\nOrigin: http://{WIKI}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {cookie}\r\n\r\n"
)


@dataclass
class Site:
    """A gateway with two workers, and nginx that asks it by the block of the docs."""

    gateway: GatewayProcess
    nginx: Front


def answer_to(request: Request) -> bytes:
    """Answer as apps do; what is below /cacheable may be kept by everybody."""
    caching = b"public, max-age=3600" if request.target.startswith("/cacheable") else b"no-cache"
    return b"HTTP/1.1 200 OK\r\nCache-Control: %b\r\nContent-Length: 2\r\n\r\nok" % caching


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with RecorderUpstream(answer_to) as app:
        config = gateway_config(
            route("app", "/", app.url, host=WIKI),
            route("public", "/", app.url, host=PUBLIC, public=True),
            public_url=f"http://{WIKI}",
            trusted_proxies=["127.0.0.1/32"],
            forward_auth={"from": ["127.0.0.1/32"]},
            session={"keys": [new_key()], "idle": f"{IDLE:.0f}s"},
            workers=2,
        )
        with (
            GatewayProcess(tmp_path_factory.mktemp("two-workers"), config) as gateway,
            NginxFront(tmp_path_factory.mktemp("nginx"), gateway.port, app.port, app.port) as nginx,
        ):
            yield Site(gateway, nginx)
        assert not app.violations, app.violations


# --- people ---------------------------------------------------------------------------------------


@dataclass
class Person:
    """Somebody in a thread of their own, who does something every half second."""

    gateway: GatewayProcess
    visitor: Visitor
    workers: set[int] = field(default_factory=set)
    """Which have answered."""
    longest_pause: float = 0.0
    failure: str = ""

    def work(self, act: Callable[[float], None], until: float) -> None:
        """Go on until then, and stop at the first failure; whatever one did, an ordinary page opens afterwards."""
        started = last = time.monotonic()
        try:
            while last < until:
                act(last - started)
                time.sleep(PACE)
                last, before = time.monotonic(), last
                self.longest_pause = max(self.longest_pause, last - before)
            if self.visitor.gateway is self.gateway:
                statuses = statuses_at_each(self.visitor, "/page", PROGRAM)
                assert statuses == {200}, f"an ordinary page at each worker: {statuses}"
        except (AssertionError, OSError) as error:
            self.longest_pause = max(self.longest_pause, time.monotonic() - last)
            self.failure = f"after {last - started:.1f} s: {error}"

    def get(self, target: str, elapsed: float) -> Answer:
        """Ask the worker whose turn it is; it must be 200."""
        pids = workers_of(self.gateway)
        pid = pids[int(elapsed / TURN) % len(pids)]
        with client_of_each(self.gateway) as clients:
            (client,) = [client for client in clients if worker_of(self.gateway, client) == pid]
            answer = self.visitor.ask(client, "GET", target, PROGRAM)
        assert answer.status == 200, f"{target}: {answer.status} {answer.body[:200]!r}"
        self.workers.add(pid)
        return answer

    def page(self, elapsed: float) -> None:
        """Open an ordinary page."""
        self.get("/page", elapsed)

    def cacheable(self, elapsed: float) -> None:
        """Ask for what every shared cache may keep, unless something of the session goes along."""
        answer = self.get("/cacheable/logo", elapsed)
        caching = answer.get("Cache-Control") or ""
        assert not answer.get_all("Set-Cookie") or ("private" in caching and "public" not in caching), answer.head

    def through_nginx(self, elapsed: float) -> None:
        """Open a page of an app for which nginx asks."""
        answer = self.visitor.get("/guarded", PROGRAM)
        assert answer.status == 200, f"through nginx: {answer.status} {answer.body[:200]!r}"

    def cacheable_through_nginx(self, elapsed: float) -> None:
        """Ask there for what every shared cache may keep."""
        answer = self.visitor.get("/cacheable/logo", PROGRAM)
        assert answer.status == 200, f"through nginx: {answer.status} {answer.body[:200]!r}"
        assert answer.get_all("Set-Cookie") == []


class Socket:
    """A WebSocket whose client says something now and then."""

    def __init__(self, client: RawClient, visitor: Visitor) -> None:
        self._client = client
        client.send(HANDSHAKE.format(cookie=visitor.cookie_header()))
        answer = client.answer()
        assert answer.status == 101, answer
        visitor.keep_cookies(answer)

    def echo(self, elapsed: float) -> None:
        """Send a message, which must come back."""
        self._client.send(encode(TEXT, b"hello", masked=True))
        frames: list[Frame] = []
        data = b""
        while not frames:
            piece = self._client.more()
            assert piece, "the WebSocket was cut"
            frames, data = decode(data + piece)
        assert frames == [Frame(TEXT, b"hello")], f"the WebSocket was closed: {frames}"


def log_in(site: Site) -> Person:
    return Person(site.gateway, logged_in(site.gateway, ALICE, host=WIKI))


def log_in_through_nginx(site: Site) -> Person:
    return Person(site.gateway, logged_in(site.nginx, ALICE, host=WIKI))


# --- what becomes of them -------------------------------------------------------------------------


@dataclass
class Outcome:
    """Everybody after five times `idle`."""

    active: dict[str, Person]
    idle: Person

    def pause(self) -> float:
        """Return the longest time for which the machine let somebody do nothing."""
        return max(person.longest_pause for person in self.active.values())


def five_times_idle(site: Site) -> Outcome:
    """Let everybody work side by side."""
    idle, paged, cached, socketed = (log_in(site) for _ in range(4))
    asked, cached_there = log_in_through_nginx(site), log_in_through_nginx(site)
    at_login = dict(asked.visitor.session())
    with site.gateway.connect() as client:
        socket = Socket(client, socketed.visitor)
        acts = [
            (paged, paged.page), (cached, cached.cacheable), (socketed, socket.echo), (asked, asked.through_nginx),
            (cached_there, cached_there.cacheable_through_nginx),
        ]  # fmt: skip
        until = time.monotonic() + 5 * IDLE
        threads = [threading.Thread(target=person.work, args=(act, until)) for person, act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5 * IDLE + 2 * PATIENCE)
    if not asked.failure and asked.visitor.session() == at_login:
        asked.failure = "no renewed cookie came through nginx"
    active = {
        "pages": paged, "cacheable": cached, "WebSocket": socketed,
        "forward auth": asked, "forward auth, cacheable": cached_there,
    }  # fmt: skip
    return Outcome(active, idle)


@pytest.fixture(scope="module")
def outcome(site: Site) -> Outcome:
    """What becomes of everybody, on a machine that did not itself stop somebody for nearly as long as `idle`."""
    found = five_times_idle(site)
    for _ in range(ATTEMPTS - 1):
        if found.pause() < IDLE - 2 * PACE:
            break
        found = five_times_idle(site)
    return found


@pytest.mark.parametrize("person", ["pages", "cacheable", "WebSocket", "forward auth", "forward auth, cacheable"])
def test_nobody_active_is_thrown_out(outcome: Outcome, site: Site, person: str) -> None:
    """Not one 302, 401 or closed WebSocket on the way."""
    found = outcome.active[person]
    assert found.failure == ""
    if person in ("pages", "cacheable"):
        assert found.workers == set(workers_of(site.gateway))


def test_who_did_nothing_is_logged_out(outcome: Outcome) -> None:
    """So it was not for want of an end that the others went on."""
    assert statuses_at_each(outcome.idle.visitor, "/page", PROGRAM) == {401}
