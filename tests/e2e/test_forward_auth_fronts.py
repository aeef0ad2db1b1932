"""Real proxies in front, by the blocks of the docs: nothing reaches an app that the gateway has not let in."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from tests.support.fronts import FRONTS, PUBLIC, WIKI, Front
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Request
from tests.support.raw import RawClient
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB, User
from tests.support.visitor import PAGE, PROGRAM, Visitor
from tests.support.waiting import PATIENCE

IDLE = 3
IDENTITY = ("x-forwarded-user", "x-forwarded-email", "x-forwarded-groups")
FORGED = {"X-Forwarded-Method": "GET", "X-Forwarded-Host": PUBLIC, "X-Forwarded-Uri": "/"}


@dataclass
class Site:
    """A proxy, the gateway that it asks, and an app behind each of its two hosts."""

    front: Front
    gateway: GatewayProcess
    wiki: RecorderUpstream
    public: RecorderUpstream

    def visitor(self, host: str = WIKI) -> Visitor:
        """Return somebody who comes through the proxy."""
        return Visitor(self.front, host=host)

    def logged_in(self, user: User) -> Visitor:
        """Return the same, logged in."""
        visitor = self.visitor()
        visitor.login(user)
        return visitor


@contextmanager
def running(front: type[Front], folder: Path, **session: str) -> Iterator[Site]:
    """Run everything; ``session`` are further keys of that section."""
    with RecorderUpstream() as wiki, RecorderUpstream() as public:
        config = gateway_config(
            route("wiki", "/", wiki.url, host=WIKI, allow={"groups": ["staff"]}, programs=["api-key", "basic"]),
            route("public", "/", public.url, host=PUBLIC, public=True),
            public_url=f"http://{WIKI}",
            trusted_proxies=["127.0.0.1/32"],
            forward_auth={"from": ["127.0.0.1/32"]},
        )
        config["session"].update(session)
        (folder / "front").mkdir()
        with (
            GatewayProcess(folder / "gateway", config) as gateway,
            front(folder / "front", gateway.port, wiki.port, public.port) as proxy,
        ):
            yield Site(proxy, gateway, wiki, public)


@pytest.fixture(scope="module", params=FRONTS, ids=lambda front: front.name)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(request.param, tmp_path_factory.mktemp("site")) as found:
        yield found


def identity(request: Request) -> list[tuple[str, str]]:
    """Return every header that some app server takes for an identity header, in the spelling of all of them."""
    found = [(re.sub(r"[^a-z0-9]", "-", name.lower()), value) for name, value in request.headers]
    return sorted((name, value) for name, value in found if name in IDENTITY and value)


def test_login_and_identity(site: Site) -> None:
    """A browser is led to the login and back; the app learns who it is, and gets no cookie of ours."""
    visitor = site.visitor()
    answer = visitor.get("/deep?a=b", PAGE)
    assert answer.status == 302
    location = urlsplit(answer.get("Location") or "")
    assert (location.scheme, location.netloc, location.path) == ("http", WIKI, "/_gateway/login")
    assert parse_qs(location.query)["next"] == ["/deep?a=b"]
    assert not site.wiki.requests
    assert visitor.login(ALICE, next_url="/deep?a=b").get("Location") == "/deep?a=b"
    visitor.cookies = {"a": "1", **visitor.cookies, "b": "2"}
    assert visitor.get("/deep?a=b", PAGE).status == 200
    request = site.wiki.last()
    assert (request.method, request.target) == ("GET", "/deep?a=b")
    groups, user = ("x-forwarded-groups", "staff,wiki"), ("x-forwarded-user", "alice")
    assert identity(request) == [("x-forwarded-email", "alice@example.com"), groups, user]
    assert (request.get("Cookie") or "").replace(" ", "") == "a=1;b=2"


def test_refused(site: Site) -> None:
    before = len(site.wiki.requests)
    assert site.logged_in(BOB).get("/x", PAGE).status == 403
    assert site.logged_in(BOB).get("/x", PROGRAM).status == 403
    assert len(site.wiki.requests) == before


def test_a_program_without_a_session(site: Site) -> None:
    """401, and no redirect that it would follow to a page; with what the route wants of programs."""
    before = len(site.wiki.requests)
    for method in ("GET", "POST"):
        answer = site.visitor().request(method, "/x", PROGRAM)
        assert (answer.status, answer.get("Location")) == (401, None)
        assert any(value.startswith("Bearer") for value in answer.get_all("WWW-Authenticate"))
        assert answer.get("X-Gateway-Login") == f"http://{WIKI}/_gateway/login?next=/x"
    assert len(site.wiki.requests) == before


def test_a_credential_for_us_stays_here(site: Site) -> None:
    """An app does not get what it could use elsewhere, and gets what is meant for it."""
    basic = b64encode(f"{ALICE.user}:{ALICE.password}".encode()).decode()
    assert site.visitor().get("/password", {**PROGRAM, "Authorization": f"Basic {basic}"}).status == 200
    request = site.wiki.last()
    assert (request.target, request.get("X-Forwarded-User")) == ("/password", "alice")
    assert not request.get("Authorization")
    assert site.visitor(PUBLIC).get("/own", {**PROGRAM, "Authorization": "Bearer its-own"}).status == 200
    assert site.public.last().get("Authorization") == "Bearer its-own"


UPGRADES = [["h2c"], ["websocket, h2c"], ["h2c, websocket"], ["WEBSOCKET", "h2c"], ["h2c", "websocket"], ["TLS/1.0"]]


@pytest.mark.parametrize("upgrades", UPGRADES, ids=str)
def test_no_upgrade_but_to_websocket_reaches_an_app(site: Site, upgrades: list[str]) -> None:
    """An app that took it would be spoken to through a tunnel, past every decision."""
    before = len(site.public.requests)
    with RawClient(site.front.port) as client:
        lines = "".join(f"Upgrade: {upgrade}\r\n" for upgrade in upgrades)
        client.send(
            f"GET /upgraded HTTP/1.1\r\nHost: {PUBLIC}\r\n{lines}HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
            "Connection: Upgrade, HTTP2-Settings\r\n\r\n"
        )
        assert client.answer().status in (200, 400, 403)
    for request in site.public.requests[before:]:
        assert [value.lower() for value in request.get_all("Upgrade")] in ([], ["websocket"])


def test_connection_takes_no_identity_away(site: Site) -> None:
    """What a client names there is for one hop; the identity is not the client's."""
    alice = site.logged_in(ALICE)
    with RawClient(site.front.port) as client:
        client.send(
            f"GET /nominated HTTP/1.1\r\nHost: {WIKI}\r\nCookie: {alice.cookie_header()}\r\n"
            "Accept: application/json\r\nConnection: X-Forwarded-User, X-Forwarded-Groups, X-Forwarded-Email\r\n\r\n"
        )
        if client.answer().status == 200:
            groups, user = ("x-forwarded-groups", "staff,wiki"), ("x-forwarded-user", "alice")
            assert identity(site.wiki.last()) == [("x-forwarded-email", "alice@example.com"), groups, user]


SPELLINGS = [
    [("X-Forwarded-User", "admin")],
    [("x-forwarded-user", "admin"), ("X-FORWARDED-USER", "root"), ("X-Forwarded-Groups", "admins")],
    *([(name, "admin"), (name, "root")] for name in (
        "X_Forwarded_User", "x-forwarded_user", "X.Forwarded.User", "x_forwarded.user", "X-Forwarded.User",
        "X~Forwarded~User", "X_Forwarded_Groups", "X.Forwarded-Email",
    )),
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda pairs: pairs[0][0])
def test_nobody_names_an_identity(site: Site, spelling: list[tuple[str, str]]) -> None:
    """Neither theirs in another spelling, nor one where there is none: it is refused, or gone."""
    alice = site.logged_in(ALICE)
    for visitor, app, user in ((alice, site.wiki, ["alice"]), (site.visitor(PUBLIC), site.public, [])):
        before = len(app.requests)
        answer = visitor.get("/spoof", [*PROGRAM.items(), *spelling])
        assert answer.status in (200, 400)
        assert len(app.requests) == before + (answer.status == 200)
        for request in app.requests[before:]:
            assert [value for name, value in identity(request) if name == "x-forwarded-user"] == user
            assert not [value for _, value in identity(request) if value in ("admin", "root", "admins")]


def test_nobody_names_the_request_that_is_asked_about(site: Site) -> None:
    before = len(site.wiki.requests)
    for headers in (FORGED, {**FORGED, "X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}):
        assert site.visitor().get("/admin", {**PROGRAM, **headers}).status == 401
        assert site.logged_in(BOB).get("/admin", {**PROGRAM, **headers}).status == 403
    assert len(site.wiki.requests) == before


@pytest.mark.parametrize(
    ("target", "hosts"),
    [(f"http://{WIKI}/admin", [PUBLIC]), (f"http://{WIKI.upper()}/admin", [PUBLIC]),
     (f"http://{WIKI}:80/admin", [PUBLIC]), (f"http://{PUBLIC}/admin", [WIKI]), (f"https://{WIKI}/admin", [PUBLIC]),
     (f"http://{PUBLIC}@{WIKI}/admin", [PUBLIC]), ("/admin", [WIKI, PUBLIC]), ("/admin", [PUBLIC, WIKI]),
     ("/admin", [WIKI.upper()]), ("/admin", [f"{WIKI}."]), ("/admin", [f"{WIKI}:80"]),
     ("/admin", [f"{WIKI}, {PUBLIC}"]), (f"//{WIKI}/admin", [PUBLIC]), ("/admin", ["other.example.com"]),
     ("/admin", [])],
)  # fmt: skip
def test_two_hosts_are_not_mixed_up(site: Site, target: str, hosts: list[str]) -> None:
    """Whichever of target and Host the proxy goes by, it asks about what it would do."""
    before = len(site.wiki.requests)
    fields = "".join(f"Host: {host}\r\n" for host in hosts)
    with RawClient(site.front.port) as client:
        client.send(f"GET {target} HTTP/1.1\r\n{fields}Accept: */*\r\nConnection: close\r\n\r\n")
        client.rest()
    assert len(site.wiki.requests) == before


@pytest.mark.parametrize(
    "target",
    ["/open/../admin", "/%2e%2e/admin", "//admin", "/a/..%2fadmin", "/admin%00", "/a\\..\\admin", "/..;/admin"],
)
def test_odd_targets(site: Site, target: str) -> None:
    before = len(site.wiki.requests)
    assert site.visitor().request("GET", target, PROGRAM).status >= 400
    assert len(site.wiki.requests) == before


def test_a_body_arrives_whole(site: Site) -> None:
    alice = site.logged_in(ALICE)
    body = bytes(range(256)) * 1200
    assert alice.request("POST", "/save", PROGRAM, body).status == 200
    request = site.wiki.last()
    assert (request.method, request.target, request.body) == ("POST", "/save", body)
    before = len(site.wiki.requests)
    assert site.visitor().request("POST", "/save", PROGRAM, b"x" * 100).status == 401
    assert len(site.wiki.requests) == before


async def test_websocket(site: Site) -> None:
    """It works for the page of its own host, and for nobody else's."""
    cookie = site.logged_in(ALICE).cookie_header()
    for origin, sent, works in (
        (f"http://{WIKI}", cookie, True), ("http://evil.example", cookie, False), (f"http://{WIKI}", "", False)
    ):  # fmt: skip
        before = len(site.wiki.requests)
        headers = {"Host": WIKI, "Origin": origin, **({"Cookie": sent} if sent else {})}
        async with aiohttp.ClientSession(headers=headers) as session:
            url = f"http://127.0.0.1:{site.front.port}/ws/echo"
            if not works:
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(url)
                assert len(site.wiki.requests) == before
                continue
            async with session.ws_connect(url) as ws:
                await ws.send_str("hello")
                assert await ws.receive_str(timeout=PATIENCE) == "hello"
    (user,) = [value for name, value in identity(site.wiki.last()) if name == "x-forwarded-user"]
    assert user == "alice"


@pytest.mark.parametrize(
    "target",
    ["/_gateway/verify", "/_gateway/verify/", "/_gateway/verify/x", "/_gateway/verify?redirect=1"],
)
def test_nobody_asks_from_outside(site: Site, target: str) -> None:
    """Whoever could would be believed as the proxy is, and could read cookies that scripts may not see."""
    for visitor in (site.logged_in(ALICE), site.visitor(PUBLIC)):
        for method in ("GET", "POST", "OPTIONS"):
            answer = visitor.request(method, target, {**PROGRAM, **FORGED})
            assert answer.status == 404
            assert answer.get("X-Forwarded-User") is None
            assert answer.get("Cookie") is None


@pytest.mark.parametrize(
    "target",
    ["//_gateway/verify", "/_gateway//verify", "/_gateway/%76erify", "/%5fgateway/verify", "/_gateway/x/../verify",
     "/_gateway/verify%2fx", "/_gateway/verify;x", "/_gateway/./verify", "/_gateway/verify/../verify",
     f"http://{WIKI}/_gateway/verify", "/_gateway/verify%3Fx"],
)  # fmt: skip
def test_nor_in_another_spelling(site: Site, target: str) -> None:
    answer = site.logged_in(ALICE).get(target, {**PROGRAM, **FORGED})
    assert answer.status >= 400
    assert answer.get("X-Forwarded-User") is None
    assert answer.get("Cookie") is None


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.name)
def test_a_session_in_use_goes_on_past_idle(front: type[Front], tmp_path: Path) -> None:
    """Renewed cookies reach the browser, and nothing of them the app; without use the session ends."""
    with running(front, tmp_path, idle=f"{IDLE}s") as site:
        visitor = site.logged_in(ALICE)
        first = visitor.cookie_header()
        site.wiki.answer = lambda _: b"HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n"
        for _ in range(3 * IDLE):
            time.sleep(1)
            assert visitor.get("/x", PROGRAM).status == 200
        assert visitor.cookies["own"] == "1"
        assert visitor.cookie_header() != first
        assert site.wiki.last().get("Cookie") == "own=1"
        time.sleep(IDLE + 1)
        assert visitor.get("/x", PROGRAM).status == 401
