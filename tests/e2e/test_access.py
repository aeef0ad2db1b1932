"""Who gets in where: redirects to the login, 401, 403, rules, groups, public parts, and what is answered to whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Answer
from tests.support.upstream import RecorderUpstream
from tests.support.users import ADMIN, ALICE, BOB, CAROL
from tests.support.visitor import PAGE, PROGRAM, Visitor, form_fields, logged_in

NAVIGATIONS: list[dict[str, str]] = [
    {"Sec-Fetch-Mode": "navigate", "Accept": "*/*"},
    {"Accept": "text/html"},
    {"Accept": "application/xhtml+xml, text/html;q=0.9"},
    PAGE,
]
PROGRAMS: list[dict[str, str]] = [
    {},
    {"Accept": "application/json"},
    {"Accept": "*/*"},
    {"Sec-Fetch-Mode": "cors", "Accept": "text/html"},
    {"Sec-Fetch-Mode": "no-cors", "Accept": "text/html"},
    {"Sec-Fetch-Mode": "websocket", "Accept": "text/html"},
]


@pytest.fixture(scope="module")
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("app", "/app", app.url),
        route("staff", "/staff", app.url, allow={"groups": ["staff", "admins"]}),
        route("named", "/named", app.url, allow={"users": ["bob"]}),
        route("mail", "/mail", app.url, allow={"emails": ["*@example.com"]}),
        route("nomail", "/nomail", app.url, allow={"emails": ["*@other.example"]}),
        route("reading", "/reading", app.url, allow={"methods": ["GET"]}),
        route("guarded", "/guarded", app.url, rules=[{"methods": ["GET"], "allow": {"groups": ["admins"]}}]),
        route("far", "/far", app.url, allow={"networks": ["192.0.2.0/24"]}),
        route("near", "/near", app.url, allow={"networks": ["127.0.0.0/8"]}),
        route("both", "/both", app.url, allow={"groups": ["staff"], "users": ["bob", "admin"]}),
        route("open", "/open", app.url, public=True),
        route(
            "ruled", "/ruled", app.url, allow={"groups": ["staff"]},
            rules=[
                {"path": "/ruled/health", "methods": ["GET"], "public": True},
                {"path": "/ruled/admin", "allow": {"groups": ["admins"]}},
            ],
        ),
    )  # fmt: skip
    with GatewayProcess(tmp_path_factory.mktemp("access"), config) as process:
        yield process


@pytest.fixture(scope="module")
def people(gateway: GatewayProcess) -> dict[str, Visitor]:
    """Return everybody who may log in, and a stranger."""
    known = {user.user: logged_in(gateway, user) for user in (ALICE, BOB, ADMIN)}
    return {**known, "stranger": Visitor(gateway)}


def login_target(answer: Answer) -> str:
    """Return where a redirect to the login would lead afterwards."""
    location = urlsplit(answer.get("Location") or "")
    assert location.path == "/_gateway/login", answer.get("Location")
    return parse_qs(location.query)["next"][0]


@pytest.mark.parametrize("headers", NAVIGATIONS)
def test_a_navigation_is_sent_to_the_login(
    gateway: GatewayProcess, app: RecorderUpstream, headers: dict[str, str]
) -> None:
    """A browser without a session is led to the login, and afterwards back to where it wanted."""
    before = len(app.requests)
    answer = Visitor(gateway).get("/app/a/b?c=d&e=%2F", headers)
    assert (answer.status, login_target(answer)) == (302, "/app/a/b?c=d&e=%2F")
    assert "no-store" in (answer.get("Cache-Control") or "")
    assert len(app.requests) == before


def test_a_long_address_leads_to_a_login(gateway: GatewayProcess) -> None:
    """A query that no login could carry is given up; the app is still where it leads."""
    answer = Visitor(gateway).get("/app/x?q=" + "%22" * 2000, PAGE)
    assert (answer.status, login_target(answer)) == (302, "/app/x")
    assert Visitor(gateway).get(answer.get("Location") or "", PAGE).status == 200


@pytest.mark.parametrize("headers", PROGRAMS)
def test_a_program_gets_401(gateway: GatewayProcess, app: RecorderUpstream, headers: dict[str, str]) -> None:
    """A program without a session gets 401 as problem+json with the login's address, never a redirect."""
    before = len(app.requests)
    answer = Visitor(gateway).get("/app/api", headers)
    assert (answer.status, answer.get("Location")) == (401, None)
    assert (answer.get("Content-Type") or "").startswith("application/problem+json")
    problem = json.loads(answer.body)
    assert problem["status"] == 401
    assert "/_gateway/login" in answer.text()
    assert len(app.requests) == before


def test_a_post_is_never_redirected(gateway: GatewayProcess) -> None:
    """A form posted without a session is not turned into a GET of the login that forgets it silently."""
    answer = Visitor(gateway).request("POST", "/app/x", {"Accept": "text/html"}, b"a=b")
    assert answer.status == 401


def test_own_errors_are_pages_for_browsers_and_json_for_programs(
    gateway: GatewayProcess, people: dict[str, Visitor]
) -> None:
    """403 and 404 are a page to a browser and problem+json to a program; both forbid storing."""
    for target, status in (("/staff/x", 403), ("/nowhere", 404)):
        page = people["bob"].get(target, PAGE)
        assert page.status == status
        assert (page.get("Content-Type") or "").startswith("text/html")
        assert "default-src 'none'" in (page.get("Content-Security-Policy") or "")
        problem = people["bob"].get(target, PROGRAM)
        assert (problem.status, json.loads(problem.body)["status"]) == (status, status)
        assert problem.get("Content-Type") == "application/problem+json"


@pytest.mark.parametrize(
    ("target", "method", "expected"),
    [
        ("/app/x", "GET", {"alice": 200, "bob": 200, "admin": 200, "stranger": 401}),
        ("/staff/x", "GET", {"alice": 200, "bob": 403, "admin": 200, "stranger": 401}),
        ("/named/x", "GET", {"alice": 403, "bob": 200, "admin": 403, "stranger": 401}),
        ("/mail/x", "GET", {"alice": 200, "bob": 200, "stranger": 401}),
        ("/nomail/x", "GET", {"alice": 403, "admin": 403}),
        ("/reading/x", "GET", {"alice": 200}),
        ("/reading/x", "HEAD", {"alice": 200}),
        ("/reading/x", "POST", {"alice": 403}),
        ("/reading/x", "get", {"alice": 501}),
        ("/far/x", "GET", {"alice": 403}),
        ("/near/x", "GET", {"alice": 200}),
        ("/both/x", "GET", {"alice": 403, "bob": 403, "admin": 200}),
        ("/open/x", "GET", {"alice": 200, "stranger": 200}),
        ("/ruled/health", "GET", {"stranger": 200, "bob": 200}),
        ("/ruled/health", "HEAD", {"stranger": 200}),
        ("/guarded/x", "GET", {"alice": 403, "admin": 200, "stranger": 401}),
        ("/guarded/x", "HEAD", {"alice": 403, "admin": 200, "stranger": 401}),
        ("/guarded/x", "POST", {"alice": 200}),
        ("/ruled/health", "POST", {"stranger": 401, "bob": 403, "alice": 200}),
        ("/ruled/healthy", "GET", {"stranger": 401}),
        ("/ruled/admin", "GET", {"alice": 403, "admin": 200, "stranger": 401}),
        ("/ruled/admin/deep", "DELETE", {"alice": 403, "admin": 200}),
        ("/ruled/x", "GET", {"alice": 200, "bob": 403, "admin": 200}),
        ("/ruled/X", "GET", {"alice": 200}),
        ("/ruled/ADMIN/x", "GET", {"alice": 400, "admin": 400, "stranger": 400}),
        ("/ruled/%41dmin", "GET", {"alice": 400}),
        ("/ruled/Admin%2e", "GET", {"alice": 400}),
    ],
)
def test_rights(
    people: dict[str, Visitor], app: RecorderUpstream, target: str, method: str, expected: dict[str, int]
) -> None:
    """Rules come first, then public, then allow: keys are and-ed, their values or-ed."""
    for name, status in expected.items():
        before = len(app.requests)
        assert people[name].request(method, target, PROGRAM).status == status, name
        assert len(app.requests) - before == (status == 200), "the upstream sees what is allowed, and nothing else"


def test_public_routes_know_who_is_logged_in(
    gateway: GatewayProcess, people: dict[str, Visitor], app: RecorderUpstream
) -> None:
    """A public route tells the identity where there is a session, and none where there is none."""
    people["alice"].get("/open/x")
    assert app.last().get("X-Forwarded-User") == "alice"
    assert app.last().get("X-Forwarded-Groups") == "staff,wiki"
    people["stranger"].get("/open/x")
    assert app.last().get("X-Forwarded-User") is None
    forged = Visitor(gateway)
    forged.cookies["gateway_session"] = "v1.forged"
    assert forged.get("/open/x").status == 200
    assert app.last().get("X-Forwarded-User") is None


def test_other_cookies_reach_the_app(
    people: dict[str, Visitor], app: RecorderUpstream, gateway: GatewayProcess
) -> None:
    """The app gets its own cookies, in order, and none of the gateway's."""
    visitor = Visitor(gateway)
    visitor.cookies = {"a": "1", **people["alice"].cookies, "b": "2; c=3"}
    assert visitor.get("/app/x").status == 200
    assert app.last().get("Cookie") == "a=1; b=2; c=3"


def test_login_page_and_wrong_password(gateway: GatewayProcess) -> None:
    """A wrong password, an unknown and a disabled user get the same 401 page; the form keeps name and target."""
    pages = []
    for name, password in (("alice", "wrong"), ("nobody", "wrong"), ("carol", CAROL.password)):
        visitor = Visitor(gateway)
        answer = visitor.try_login(name, password, next_url="/app/x")
        assert answer.status == 401
        assert not visitor.session()
        fields = form_fields(answer.text())
        assert (fields["username"], fields["next"]) == (name, "/app/x")
        assert password not in answer.text()
        pages.append(answer.text().replace(name, "NAME").replace(fields["csrf_token"], "TOKEN"))
    assert pages[0] == pages[1] == pages[2]


def test_login_needs_its_token(gateway: GatewayProcess) -> None:
    """Without the form's token, with another visitor's, or from another site, a right password logs nobody in."""
    form = {"username": ALICE.user, "password": ALICE.password, "next": "/"}
    page = Visitor(gateway).get("/_gateway/login", PAGE)
    stolen = form_fields(page.text())["csrf_token"]
    for token in ("", "x", stolen):
        visitor = Visitor(gateway)
        visitor.get("/_gateway/login", PAGE)
        answer = visitor.post("/_gateway/login", {**form, "csrf_token": token})
        assert answer.status in (400, 403), token
        assert not visitor.session()
    visitor = Visitor(gateway)
    token = form_fields(visitor.get("/_gateway/login", PAGE).text())["csrf_token"]
    answer = visitor.post(
        "/_gateway/login", {**form, "csrf_token": token},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    )  # fmt: skip
    assert answer.status in (400, 403)
    assert not visitor.session()


def test_many_tabs(gateway: GatewayProcess) -> None:
    """Login forms of several tabs of one browser all work, whichever was opened last."""
    visitor = Visitor(gateway)
    tokens = [form_fields(visitor.get("/_gateway/login", PAGE).text())["csrf_token"] for _ in range(5)]
    for token in tokens:
        form = {"username": ALICE.user, "password": ALICE.password, "next": "/app/x", "csrf_token": token}
        tab = Visitor(gateway)
        tab.cookies = {name: value for name, value in visitor.cookies.items() if name not in visitor.session()}
        assert tab.post("/_gateway/login", form).status == 303


def test_pages_are_safe(gateway: GatewayProcess, people: dict[str, Visitor]) -> None:
    """Own pages forbid framing, foreign content, sniffing and storing."""
    for visitor, target in ((people["stranger"], "/_gateway/login"), (people["alice"], "/_gateway/")):
        page = visitor.get(target, PAGE)
        assert page.status == 200
        policy = page.get("Content-Security-Policy") or ""
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action"):
            assert rule in policy
        assert "unsafe" not in policy
        assert page.get("X-Content-Type-Options") == "nosniff"
        assert "no-store" in (page.get("Cache-Control") or "")
        assert page.get("Referrer-Policy") in ("no-referrer", "same-origin", "strict-origin-when-cross-origin")


def test_portal_lists_what_one_may_open(people: dict[str, Visitor]) -> None:
    """The portal shows the apps of this user and no others."""
    for name, seen, hidden in (("alice", "/staff", "/named"), ("bob", "/named", "/staff")):
        page = people[name].get("/_gateway/", PAGE).text()
        assert f'href="{seen}' in page
        assert f'href="{hidden}' not in page
    assert people["stranger"].get("/_gateway/", PAGE).status == 302


def test_verify_believes_no_stranger(people: dict[str, Visitor], app: RecorderUpstream) -> None:
    """The endpoint for other proxies answers only those that are configured, and never asks an upstream."""
    before = len(app.requests)
    for name in ("alice", "stranger"):
        for target in ("/staff/x", "/open/x"):
            asked = {"X-Forwarded-Method": "GET", "X-Forwarded-Host": "localhost", "X-Forwarded-Uri": target, **PROGRAM}
            answer = people[name].get("/_gateway/verify", asked)
            assert answer.status == 404
            assert answer.get("X-Forwarded-User") is None
    assert len(app.requests) == before


def test_next_is_quoted(gateway: GatewayProcess) -> None:
    """The target that a redirect carries cannot add parameters to it."""
    answer = Visitor(gateway).get("/app/x?a=b&next=" + quote("//evil.example", safe=""), PAGE)
    assert parse_qs(urlsplit(answer.get("Location") or "").query).keys() == {"next"}
    assert login_target(answer) == "/app/x?a=b&next=%2F%2Fevil.example"


def test_throttling(gateway: GatewayProcess) -> None:
    """Many wrong passwords for an account lead to 429 with Retry-After, not to a lock for good."""
    visitor = Visitor(gateway)
    answer = visitor.try_login("admin", "wrong")
    assert answer.status == 401
    for _ in range(40):
        answer = visitor.try_login("admin", "wrong")
        if answer.status != 401:
            break
    assert answer.status == 429
    assert 0 < int(answer.get("Retry-After") or "") <= 3600


def test_a_client_whom_no_proxy_names_is_in_no_network(app: RecorderUpstream, tmp_path: Path) -> None:
    """The proxy itself is in the network, but nobody is taken for it who came by it (authentik CVE-2024-47070)."""
    near = route("near", "/near", app.url, allow={"networks": ["127.0.0.0/8"]})
    far = route("far", "/far", app.url, allow={"networks": ["203.0.113.0/24"]})
    everybody = route("open", "/open", app.url, public=True)
    config = gateway_config(near, far, everybody, trusted_proxies=["127.0.0.0/8"])
    with GatewayProcess(tmp_path, config) as own:
        visitor = logged_in(own, ALICE)
        assert visitor.get("/near/x", PROGRAM).status == 200
        for told in ("unknown", "203.0.113.9, unix:", "127.0.0.2, unknown", "127.0.0.2, ", ""):
            for target in ("/near/x", "/far/x"):
                assert visitor.get(target, {**PROGRAM, "X-Forwarded-For": told}).status == 403, told
        for told in ("203.0.113.9:5123", "unknown, 203.0.113.9", "203.0.113.9:1, 127.0.0.2:2"):
            assert visitor.get("/near/x", {**PROGRAM, "X-Forwarded-For": told}).status == 403, told
            assert visitor.get("/far/x", {**PROGRAM, "X-Forwarded-For": told}).status == 200, told
            assert (app.last().get("X-Forwarded-For") or "").startswith("203.0.113.9, 127.0.0."), told
        assert visitor.get("/open/x", {**PROGRAM, "X-Forwarded-For": "127.0.0.3, unknown"}).status == 200
        chain, real = (app.last().get(name) for name in ("X-Forwarded-For", "X-Real-IP"))
        assert (chain, real) == ("unknown, 127.0.0.1", None)
        assert own.wait_for_log(lambda found: found["path"] == "/open/x")["client"] == ""
