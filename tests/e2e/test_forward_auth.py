"""Forward auth, asked as proxies ask: who may, both forms, and what each decision looks like."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Answer
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB
from tests.support.visitor import PAGE, PROGRAM, Visitor, logged_in
from tests.support.waiting import wait_for

APP = "app.example.com"
SHARED = "shared.example.com"
STRANGER = "127.0.0.9"
VERIFY = "/_gateway/verify"
PAIRS = {"Host": APP, "Uri": "/page?x=1", "Method": "GET"}
LOGIN = f"http://{APP}/_gateway/login?next=/page%3Fx%3D1"
IDENTITY = ("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Identity-Token", "Cookie")


def asked(uri: str = "/page?x=1", method: str = "GET", host: str = APP) -> dict[str, str]:
    """Return what a proxy says of the request that it holds."""
    return {"X-Forwarded-Method": method, "X-Forwarded-Host": host, "X-Forwarded-Uri": uri}


@pytest.fixture(scope="module")
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    staff = {"groups": ["staff"]}
    config = gateway_config(
        route("app", "/", app.url, host=APP, allow=staff, websocket=True, programs=["api-key"]),
        route("open", "/open", app.url, host=APP, public=True),
        route("near", "/near", app.url, host=APP, allow={"networks": ["203.0.113.7"]}),
        route("no-token", "/no-token", app.url, host=APP, token=False),
        route("flat", "/flat", app.url, host=APP, websocket=False),
        route("slashes", "/slashes", app.url, host=APP, public=True, encoded_slashes="pass"),
        route("fresh", "/fresh", app.url, host=APP, step_up={"max_age": "1s"}),
        route(
            "rules", "/rules", app.url, host=APP, public=True,
            rules=[
                {"path": "/rules/secret", "allow": {"groups": ["admins"]}},
                {"methods": ["POST"], "allow": {"groups": ["admins"]}},
            ],
        ),
        public_url=f"http://{APP}",
        identity={
            "headers": {"X-Forwarded-User": "{user}", "X-Forwarded-Email": "{email}", "X-Forwarded-Groups": "{groups}"},
            "token": {},
        },
        forward_auth={"from": ["127.0.0.1/32"]},
    )  # fmt: skip
    with GatewayProcess(tmp_path_factory.mktemp("asked"), config) as process:
        yield process


def proxy(gateway: GatewayProcess, visitor: Visitor | None = None, host: str = "gateway:8080") -> Visitor:
    """Return who asks as Traefik does: with the gateway's own name as the Host, and the visitor's cookies."""
    found = Visitor(gateway, host=host)
    found.cookies = dict(visitor.cookies) if visitor else {}
    return found


def both(
    gateway: GatewayProcess,
    visitor: Visitor | None,
    target: str,
    headers: Mapping[str, str],
    *,
    method: str = "GET",
    host: str = APP,
) -> tuple[Answer, Answer]:
    """Ask about one request in the header form, with redirects, and in the path form."""
    one = proxy(gateway, visitor).get(f"{VERIFY}?redirect=1", {**headers, **asked(target, method, host)})
    two = proxy(gateway, visitor, host).request(method, VERIFY + target, headers)
    return one, two


# --- who may ask --------------------------------------------------------------------------------------


def test_a_configured_proxy_may_ask_under_any_name(gateway: GatewayProcess) -> None:
    alice, bob = logged_in(gateway, ALICE, host=APP), logged_in(gateway, BOB, host=APP)
    answer = proxy(gateway, alice).get(VERIFY, {**asked(), **PROGRAM})
    assert (answer.status, answer.get("X-Forwarded-User"), answer.body) == (200, "alice", b"")
    assert answer.get("Cache-Control") == "no-store"
    assert proxy(gateway, bob).get(VERIFY, {**asked(), **PROGRAM}).status == 403
    answer = proxy(gateway).get(VERIFY, {**asked(), **PROGRAM})
    assert (answer.status, answer.get("X-Gateway-Login")) == (401, LOGIN)


@pytest.mark.parametrize("target", [VERIFY, f"{VERIFY}?redirect=1", f"{VERIFY}/page", f"{VERIFY}/"])
@pytest.mark.parametrize("host", [APP, "gateway:8080"])
def test_nobody_else_may(gateway: GatewayProcess, target: str, host: str) -> None:
    """It is not there for them, and the log says once which setting would change that."""
    alice = Visitor(gateway, host=host, source=STRANGER)
    alice.cookies = dict(logged_in(gateway, ALICE, host=APP).cookies)
    answer = alice.get(target, {**asked(), **PROGRAM, "X-Forwarded-For": "127.0.0.1"})
    assert answer.status == 404
    assert [answer.get(name) for name in IDENTITY] == [None] * len(IDENTITY)

    def said() -> list[str]:
        return [line for line in gateway.stderr if "not in forward_auth.from" in line]

    wait_for(said, what="a warning")
    assert len(said()) == 1
    assert STRANGER in said()[0]


def test_without_the_setting_nobody_may(app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = gateway_config(
        route("app", "/", app.url, host=APP), public_url=f"http://{APP}", trusted_proxies=["127.0.0.1/32"]
    )
    with GatewayProcess(tmp_path_factory.mktemp("not"), config) as process:
        alice = logged_in(process, ALICE, host=APP)
        for target in (VERIFY, f"{VERIFY}/page"):
            assert proxy(process, alice).get(target, {**asked(), **PROGRAM}).status == 404

        def said() -> list[str]:
            return [line for line in process.stderr if "forward_auth: {from: [127.0.0.1]}" in line]

        wait_for(said, what="a warning")
        assert len(said()) == 1


@pytest.mark.parametrize(
    "target",
    ["/", "/_gateway/", "/_gateway/login", "/_gateway/me", "/_gateway//verify", "/_gateway/x/..;/verify",
     "/_gateway/verify;x", "/_gateway/verif%79", "/_gateway/verifyx", "/%5fgateway/verify/x"],
)  # fmt: skip
def test_nothing_else_is_served_under_an_unknown_name(gateway: GatewayProcess, target: str) -> None:
    alice = proxy(gateway, logged_in(gateway, ALICE, host=APP))
    assert alice.get(target, {**asked(), **PROGRAM}).status in (400, 421)


# --- which request ------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["/_gateway/", "/_gateway/login", "/_gateway/verify/x", "/%5fgateway/x", "/_gateway"])
def test_our_own_pages_are_no_app_that_may_be_opened(gateway: GatewayProcess, uri: str) -> None:
    """A proxy that reads the path otherwise would send it to its app, which nobody guards then."""
    for answer in both(gateway, logged_in(gateway, ALICE, host=APP), uri, PROGRAM):
        assert answer.status == 403
        assert answer.get("X-Forwarded-User") is None


@pytest.mark.parametrize("host", ["other.example.com", "gateway:8080"])
def test_the_host_that_is_asked_about_has_to_be_configured(gateway: GatewayProcess, host: str) -> None:
    alice = logged_in(gateway, ALICE, host=APP)
    for visitor in (alice, None):
        for headers in (PROGRAM, PAGE):
            for answer in both(gateway, visitor, "/page", headers, host=host):
                assert (answer.status, answer.get("Location")) == (403, None)


@pytest.mark.parametrize("name", ["Method", "Host", "Uri"])
def test_all_has_to_be_told_once(gateway: GatewayProcess, name: str) -> None:
    alice = proxy(gateway, logged_in(gateway, ALICE, host=APP))
    missing = {key: value for key, value in asked().items() if key != f"X-Forwarded-{name}"}
    assert alice.get(VERIFY, {**missing, **PROGRAM}).status == 400
    twice = [*asked().items(), *PROGRAM.items(), (f"X-Forwarded-{name}", PAIRS[name])]
    assert alice.get(VERIFY, twice).status == 400
    assert alice.get(VERIFY, {**asked(), **PROGRAM, f"X-Forwarded-{name}": ""}).status == 400


def test_in_the_path_form_nothing_is_told_beside(gateway: GatewayProcess) -> None:
    """What a client sends under these names does not count there."""
    bob = proxy(gateway, logged_in(gateway, BOB, host=APP), APP)
    assert bob.get(f"{VERIFY}/page", {**PROGRAM, **asked("/open")}).status == 403
    assert bob.request("POST", f"{VERIFY}/rules/x", {**PROGRAM, **asked("/rules/x", "GET")}).status == 403
    assert bob.get(f"{VERIFY}/rules/x", {**PROGRAM, **asked("/rules/x", "POST")}).status == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [("/rules/open//page", 200), ("/rules//secret", 400), ("/rules/secret;x=1", 400), ("/rules/Secret", 400),
     ("/rules/Open", 200), ("/open/../page", 400), ("/open/%2e%2e/page", 400), ("/open/..;/page", 400),
     ("/open%00", 400), ("/open/a%2Fb", 400), ("/slashes/a%2Fb", 200)],
)  # fmt: skip
def test_targets_are_judged_as_if_they_had_come_here(gateway: GatewayProcess, target: str, status: int) -> None:
    for answer in both(gateway, None, target, PROGRAM):
        assert answer.status == status
    assert Visitor(gateway, host=APP).get(target, PROGRAM).status == status


@pytest.mark.parametrize("uri", ["open", f"http://{APP}/open", "*", "//"])
def test_what_is_no_path_is_not_let_in(gateway: GatewayProcess, uri: str) -> None:
    assert proxy(gateway).get(VERIFY, {**asked(uri), **PROGRAM}).status in (400, 401)


@pytest.mark.parametrize("host", [f"{APP}:@evil.example", f"{APP}:443@evil.example", f"{APP}/x", f"{APP}:999999"])
def test_a_host_that_would_make_the_login_another_sites_is_400(gateway: GatewayProcess, host: str) -> None:
    answer = proxy(gateway).get(VERIFY, {**asked(host=host), **PAGE})
    assert (answer.status, answer.get("Location")) == (400, None)


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", 200), ("HEAD", 200), ("PUT", 200), ("PROPFIND", 200), ("POST", 401), ("TRACE", 403), ("CONNECT", 403),
     ("get", 501), ("Post", 501), ("P" * 33, 501), ("POST /", 400), ("P\xc4ST", 400)],
)  # fmt: skip
def test_methods_are_judged_as_if_they_had_come_here(gateway: GatewayProcess, method: str, status: int) -> None:
    """Some servers take ``post`` for POST, so a rule about POST would be passed by."""
    assert proxy(gateway).get(VERIFY, {**asked("/rules/x", method), **PROGRAM}).status == status
    if status in (200, 401):
        assert proxy(gateway, host=APP).request(method, f"{VERIFY}/rules/x", PROGRAM).status == status


def test_hops_of_an_options_request_let_nobody_in(gateway: GatewayProcess) -> None:
    """`Max-Forwards: 0` ends a request here with 204, which proxies that ask take for a yes."""
    headers = {**PROGRAM, "Max-Forwards": "0"}
    assert proxy(gateway, host=APP).request("OPTIONS", f"{VERIFY}/page", headers).status == 401
    assert proxy(gateway).request("OPTIONS", VERIFY, {**headers, **asked(method="OPTIONS")}).status == 401
    assert proxy(gateway, host=APP).request("TRACE", f"{VERIFY}/open", PROGRAM).status == 405


# --- a yes --------------------------------------------------------------------------------------------


def test_a_yes_holds_every_identity_header(gateway: GatewayProcess) -> None:
    """Caddy and Envoy keep what a client sent where the response says nothing of it."""
    alice = logged_in(gateway, ALICE, host=APP)
    for answer in both(gateway, alice, "/page", PROGRAM):
        assert answer.get("X-Forwarded-Groups") == "staff,wiki"
        assert (answer.get("X-Identity-Token") or "").count(".") == 2
        assert answer.get("Cookie") == ""
    for answer in both(gateway, None, "/open", PROGRAM):
        assert [answer.get(name) for name in IDENTITY] == [""] * len(IDENTITY)
    for answer in both(gateway, alice, "/no-token", PROGRAM):
        assert (answer.get("X-Forwarded-User"), answer.get("X-Identity-Token")) == ("alice", "")


def test_a_yes_holds_the_cookies_without_ours(gateway: GatewayProcess) -> None:
    alice = logged_in(gateway, ALICE, host=APP)
    alice.cookies = {"a": "1", **alice.cookies, "b": '"2', "gateway_browser": "x"}
    for answer in both(gateway, alice, "/page", PROGRAM):
        assert answer.status == 200
        assert (answer.get("Cookie") or "").replace(" ", "") == 'a=1;b="2'


# --- a no ---------------------------------------------------------------------------------------------


def test_browsers_are_led_to_the_login(gateway: GatewayProcess) -> None:
    """By 302 where the proxy hands that on; nginx, which does not, tells them from programs by Location."""
    for answer in both(gateway, None, "/page?x=1", PAGE):
        assert (answer.status, answer.get("Location"), answer.get("X-Gateway-Login")) == (302, LOGIN, LOGIN)
    answer = proxy(gateway).get(VERIFY, {**asked(), **PAGE})
    assert (answer.status, answer.get("Location"), answer.get("X-Gateway-Login")) == (401, LOGIN, LOGIN)
    assert answer.get_all("WWW-Authenticate") == []


@pytest.mark.parametrize(
    ("headers", "method"),
    [(PROGRAM, "GET"), ({**PAGE, "Sec-Fetch-Mode": "cors"}, "GET"), ({"Accept": "text/html"}, "POST"), ({}, "GET"),
     ({**PAGE, "Upgrade": "websocket"}, "GET"), ({**PAGE, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, "GET")],
)  # fmt: skip
def test_programs_are_told_what_would_let_them_in(
    gateway: GatewayProcess, headers: Mapping[str, str], method: str
) -> None:
    plain = proxy(gateway).get(VERIFY, {**asked(method=method), **headers})
    for answer in (plain, *both(gateway, None, "/page?x=1", headers, method=method)):
        assert (answer.status, answer.get("Location")) == (401, None)
        assert answer.get("X-Gateway-Login") == LOGIN
        if headers == PROGRAM:
            assert answer.get("Content-Type") == "application/problem+json"
            assert json.loads(answer.body)["login"] == LOGIN
            assert (answer.get("WWW-Authenticate") or "").startswith("Bearer")


def test_a_credential_that_is_none_is_refused_as_it_is_here(gateway: GatewayProcess) -> None:
    headers = {**PROGRAM, "Authorization": "Bearer gwk_nothing"}
    here = Visitor(gateway, host=APP).get("/page", headers)
    for answer in both(gateway, None, "/page", headers):
        assert (answer.status, answer.get_all("WWW-Authenticate")) == (401, here.get_all("WWW-Authenticate"))
        assert "invalid_token" in str(answer.headers)


def test_a_login_that_is_not_fresh_enough_is_asked_for_again(gateway: GatewayProcess) -> None:
    for answer in both(gateway, None, "/fresh", PAGE):
        assert answer.status == 302
        assert (answer.get("Location") or "").endswith("/_gateway/login?next=/fresh&step_up=fresh")


def test_a_login_from_too_long_an_address_leads_back_to_its_path(gateway: GatewayProcess) -> None:
    answer = proxy(gateway).get(VERIFY, {**asked("/inbox?q=" + "%22" * 2000), **PAGE})
    assert (answer.get("Location") or "").endswith("/_gateway/login?next=/inbox")


def test_with_a_cookie_domain_the_login_is_on_the_public_host(
    app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = gateway_config(
        route("app", "/", app.url, host=APP),
        public_url=f"http://{SHARED}",
        forward_auth={"from": "127.0.0.1"},
    )
    config["session"]["cookie"] = {"domain": "example.com"}
    with GatewayProcess(tmp_path_factory.mktemp("shared"), config) as process:
        login = f"http://{SHARED}/_gateway/login?next=http%3A//{APP}/page"
        for answer in both(process, None, "/page", PAGE):
            assert (answer.status, answer.get("Location")) == (302, login)
        https = {**asked("/page"), **PAGE, "X-Forwarded-Proto": "https"}
        location = proxy(process).get(f"{VERIFY}?redirect=1", https).get("Location") or ""
        assert location.endswith(f"?next=https%3A//{APP}/page")


def test_the_client_is_whom_the_proxy_names(gateway: GatewayProcess) -> None:
    """Although it is no trusted proxy; the access log has one line for each check, about the request in question."""
    alice = logged_in(gateway, ALICE, host=APP)
    for address, status in (("203.0.113.7", 200), ("203.0.113.8", 403), ("203.0.113.7, 203.0.113.8", 403), ("", 403)):
        for answer in both(gateway, alice, "/near/x", {**PROGRAM, "X-Forwarded-For": address}):
            assert answer.status == status
    assert alice.get("/near/x", {**PROGRAM, "X-Forwarded-For": "203.0.113.7"}).status == 403, "not for requests"
    proxy(gateway, alice).get(VERIFY, {**asked("/near/log?x", "PUT"), **PROGRAM, "X-Forwarded-For": "203.0.113.7"})
    line = gateway.wait_for_log(lambda found: found["path"] == "/near/log")
    told = [line[key] for key in ("client", "method", "host", "path", "status", "user", "route", "upstream_duration")]
    assert told == ["203.0.113.7", "PUT", APP, "/near/log", 200, "alice", "near", None]


def test_nothing_was_forwarded(gateway: GatewayProcess, app: RecorderUpstream) -> None:
    count = len(app.requests)
    both(gateway, logged_in(gateway, ALICE, host=APP), "/page", PROGRAM)
    assert len(app.requests) == count


# --- WebSockets ---------------------------------------------------------------------------------------

UPGRADES: Sequence[dict[str, str]] = (
    {"Upgrade": "websocket"},
    {"Upgrade": "WebSocket", "Connection": "upgrade"},
    {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
)


@pytest.mark.parametrize("upgrade", UPGRADES, ids=str)
def test_a_websocket_is_let_through_for_its_own_origin(gateway: GatewayProcess, upgrade: dict[str, str]) -> None:
    """The page of another site opens it with the cookies of whoever looks at that page."""
    alice = logged_in(gateway, ALICE, host=APP)
    for origin, status in ((f"http://{APP}", 200), ("http://evil.example", 403), (f"https://{APP}", 403)):
        for target, right in (("/page", status), ("/flat", 403)):
            for answer in both(gateway, alice, target, {**PROGRAM, **upgrade, "Origin": origin}):
                assert answer.status == right
    headers = {**PROGRAM, **upgrade, "Origin": f"https://{APP}", "X-Forwarded-Proto": "https"}
    for answer in both(gateway, alice, "/page", headers):
        assert answer.status == 200


@pytest.mark.parametrize("upgrade", ["h2c", "h2c, websocket", "websocket, h2c", "TLS/1.0"])
def test_nothing_but_a_websocket_is_let_through(gateway: GatewayProcess, upgrade: str) -> None:
    """In a tunnel of another kind nobody would judge what passes: whole requests with identity headers of one's own."""
    headers = {**PROGRAM, "Upgrade": upgrade, "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}
    for visitor, target in ((logged_in(gateway, ALICE, host=APP), "/page"), (None, "/open")):
        for answer in both(gateway, visitor, target, headers):
            assert answer.status == 403
    for answer in both(gateway, None, "/open", {**PROGRAM, "upgrade": "websocket", "Upgrade": upgrade}):
        assert answer.status == 403


# --- sessions -----------------------------------------------------------------------------------------


def test_a_session_in_use_is_handed_its_renewed_cookie(
    app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = gateway_config(
        route("app", "/", app.url, host=APP), public_url=f"http://{APP}", forward_auth={"from": ["127.0.0.1"]}
    )
    config["session"]["idle"] = "4s"
    with GatewayProcess(tmp_path_factory.mktemp("renewed"), config) as process:
        visitor = proxy(process, logged_in(process, ALICE, host=APP), APP)
        before = visitor.cookie_header()

        def is_renewed() -> bool:
            answer = visitor.get(f"{VERIFY}/page", PROGRAM)
            assert answer.status == 200
            return len(answer.get_all("Set-Cookie")) == 1 and visitor.cookie_header() != before

        wait_for(is_renewed, what="a renewed cookie")
