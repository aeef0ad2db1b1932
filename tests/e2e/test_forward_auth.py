"""Forward auth as Caddy and Traefik do it: under which name the gateway is asked, and by whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Answer
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB
from tests.support.visitor import PAGE, PROGRAM, Visitor, logged_in

APP = "app.example.com"
STRANGER = "127.0.0.9"
VERIFY = "/_gateway/verify"
ASKED = {"X-Forwarded-Method": "GET", "X-Forwarded-Host": APP, "X-Forwarded-Uri": "/page?x=1"}
LOGIN = f"http://{APP}/_gateway/login?next=/page%3Fx%3D1"


@pytest.fixture(scope="module")
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("app", "/", app.url, host=APP, allow={"groups": ["staff"]}),
        public_url=f"http://{APP}",
        trusted_proxies=["127.0.0.1/32"],
    )
    with GatewayProcess(tmp_path_factory.mktemp("asked"), config) as process:
        yield process


def traefik(gateway: GatewayProcess, visitor: Visitor | None = None) -> Visitor:
    """Return who asks as Traefik does: with the gateway's own name as the Host, and the visitor's cookies."""
    found = Visitor(gateway, host="gateway:8080")
    found.cookies = dict(visitor.cookies) if visitor else {}
    return found


def test_a_trusted_proxy_may_ask_under_any_name(gateway: GatewayProcess) -> None:
    answer = traefik(gateway, logged_in(gateway, ALICE, host=APP)).get(VERIFY, {**ASKED, **PROGRAM})
    assert answer.status == 200
    assert answer.get("X-Forwarded-User") == "alice"
    assert traefik(gateway, logged_in(gateway, BOB, host=APP)).get(VERIFY, {**ASKED, **PROGRAM}).status == 403
    answer = traefik(gateway).get(VERIFY, {**ASKED, **PROGRAM})
    assert (answer.status, answer.get("X-Gateway-Login")) == (401, LOGIN)


def test_a_stranger_may_not(gateway: GatewayProcess) -> None:
    alice = Visitor(gateway, host="gateway:8080", source=STRANGER)
    alice.cookies = dict(logged_in(gateway, ALICE, host=APP).cookies)
    answer = alice.get(VERIFY, {**ASKED, **PROGRAM})
    assert answer.status == 421
    assert answer.get("X-Forwarded-User") is None


@pytest.mark.parametrize(
    "target",
    ["/", "/_gateway/", "/_gateway/login", "/_gateway/me", "/_gateway/verify/", "/_gateway/verify/x",
     "/_gateway//verify", "/_gateway/x/..;/verify", "/_gateway/verify;x"],
)  # fmt: skip
def test_nothing_else_is_served_under_an_unknown_name(gateway: GatewayProcess, target: str) -> None:
    alice = traefik(gateway, logged_in(gateway, ALICE, host=APP))
    assert alice.get(target, {**ASKED, **PROGRAM}).status in (400, 421)


@pytest.mark.parametrize("uri", ["/_gateway/", "/_gateway/login", "/_gateway/nothing", "/%5fgateway/x", "/_gateway"])
def test_our_own_pages_are_no_app_that_may_be_opened(gateway: GatewayProcess, uri: str) -> None:
    """A proxy that reads the path otherwise would send it to its app, which nobody guards then."""
    assert traefik(gateway).get(VERIFY, {**ASKED, **PROGRAM, "X-Forwarded-Uri": uri}).status in (400, 403)


@pytest.mark.parametrize("host", ["other.example.com", "gateway:8080"])
def test_the_host_that_is_asked_about_has_to_be_configured(gateway: GatewayProcess, host: str) -> None:
    alice = traefik(gateway, logged_in(gateway, ALICE, host=APP))
    for headers in (PROGRAM, PAGE):
        answer = alice.get(f"{VERIFY}?redirect=1", {**ASKED, **headers, "X-Forwarded-Host": host})
        assert answer.status == 403
        assert answer.get("Location") is None
    answer = traefik(gateway).get(f"{VERIFY}?redirect=1", {**ASKED, **PAGE, "X-Forwarded-Host": host})
    assert (answer.status, answer.get("Location")) == (403, None)


def test_the_host_that_is_asked_about_has_to_be_told(gateway: GatewayProcess) -> None:
    alice = traefik(gateway, logged_in(gateway, ALICE, host=APP))
    asked = {name: value for name, value in ASKED.items() if name != "X-Forwarded-Host"}
    assert alice.get(VERIFY, {**asked, **PROGRAM}).status == 400
    twice = [*asked.items(), ("X-Forwarded-Host", APP), ("X-Forwarded-Host", "other.example.com")]
    assert alice.get(VERIFY, twice).status == 400


def test_browsers_are_redirected_where_the_proxy_asks_for_that(gateway: GatewayProcess) -> None:
    def ask(target: str, headers: dict[str, str]) -> Answer:
        return traefik(gateway).get(target, {**ASKED, **headers})

    answer = ask(f"{VERIFY}?redirect=1", PAGE)
    assert (answer.status, answer.get("Location")) == (302, LOGIN)
    assert ask(f"{VERIFY}?redirect=1", PROGRAM).status == 401
    assert ask(VERIFY, PAGE).status == 401
