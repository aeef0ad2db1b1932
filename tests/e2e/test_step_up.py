"""The running program and routes that ask for a better login: browsers, scripts, sockets, programs, forward auth."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.gateway import Config, GatewayProcess, new_key, route
from tests.support.messages import Answer
from tests.support.oidc_site import audited, start_with_providers, url_of
from tests.support.program_site import api_key
from tests.support.programs import basic, token
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, FakeProvider, asked_for
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import PAGE, PROGRAM, Visitor
from tests.support.waiting import wait_for

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
SENT = "/_gateway/login?next=/pay/june%3Fx%3D1&step_up=pay"


@dataclass
class Stage:
    """A gateway, the app behind it, and the provider of people and of tokens."""

    gateway: GatewayProcess
    app: RecorderUpstream
    provider: FakeProvider

    def visitor(self) -> Visitor:
        return Visitor(self.gateway, host=f"localhost:{self.gateway.port}")

    def follow(self, visitor: Visitor, answer: Answer) -> Answer:
        """Go where an answer leads, to the provider and back, until that is the app or a page."""
        for _ in range(6):
            location = answer.get("Location")
            if location is None:
                return answer
            if location.startswith(self.provider.issuer):
                location = self.provider.visit(location)
            answer = visitor.get(location.removeprefix(url_of(self.gateway)), PAGE)
        raise AssertionError(f"led in circles: {answer}")

    def login(self) -> Visitor:
        """Return somebody who logged in at the provider, which said nothing of how or when."""
        visitor = self.visitor()
        self.provider.change = {"auth_time": None}
        assert self.follow(visitor, visitor.get("/_gateway/oidc/sso/start?next=/plain", PAGE)).status == 200
        return visitor


@pytest.fixture(scope="module", params=["cookie", "sqlite"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with FakeProvider() as provider, RecorderUpstream() as app, contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("step-up")

        def start(config: Config) -> GatewayProcess:
            return stack.enter_context(GatewayProcess(folder, config))

        programs = {"bearer": [{"id": "ci", "issuer": provider.issuer, "audience": "wiki"}]}
        session = {"keys": [new_key()], "store": request.param}
        trusted = ["127.0.0.1/32"]
        entry = {"id": "sso", "issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        more: dict[str, Any] = {
            "session": session,
            "programs": programs,
            "trusted_proxies": trusted,
            "forward_auth": {"from": trusted},
            "routes": routes(app.url),
        }
        gateway = start_with_providers(start, app, entry, workers=2, **more)
        yield Stage(gateway, app, provider)
        gateway.assert_no_traceback()
        assert provider.violations == []


def routes(upstream: str) -> list[dict[str, object]]:
    programs = ["ci", "api-key", "basic"]
    rules = [{"path": "/pay/open", "step_up": False}, {"path": "/pay/new", "step_up": {"max_age": "5m"}}]
    strong: dict[str, object] = {"acr_values": ["mfa", "key"]}
    return [
        route("plain", "/plain", upstream),
        route("pay", "/pay", upstream, step_up=strong, rules=rules, title="Payroll"),
        route("api", "/api", upstream, step_up={"acr_values": ["mfa"], "max_age": "5m"}, programs=programs),
        route("new", "/new", upstream, step_up={"max_age": "0s"}, programs=programs),
    ]


@pytest.fixture
def stage(running: Stage) -> Stage:
    running.provider.change = {}
    return running


def test_a_browser_is_sent_to_the_provider_once_and_lands_where_it_wanted_to(stage: Stage) -> None:
    visitor = stage.login()
    before = visitor.session_pair()
    sent = visitor.get("/pay/june?x=1", PAGE)
    assert (sent.status, sent.get("Location")) == (302, SENT)
    there = visitor.get(SENT, PAGE)
    there = visitor.get(str(there.get("Location")), PAGE)
    assert asked_for(str(there.get("Location")))["acr_values"] == "mfa key"
    stage.provider.change = {"acr": "key"}
    answer = stage.follow(visitor, there)
    assert (answer.status, stage.app.last().target) == (200, "/pay/june?x=1")
    assert visitor.get("/pay/july", PAGE).status == 200
    old = stage.visitor()
    old.cookies = dict([before])
    assert old.get("/plain", PAGE).status == 302, "the session of before is over, on every worker"


def test_one_that_comes_back_no_better_is_a_page_and_what_was_open_stays_open(stage: Stage) -> None:
    visitor = stage.login()
    stage.provider.change = {"acr": "pwd"}
    answer = stage.follow(visitor, visitor.get("/pay", PAGE))
    assert (answer.status, "Payroll needs a stronger or fresher sign-in" in answer.text()) == (403, True)
    (line,) = wait_for(lambda: audited(stage.gateway, "login_failed"), what="the audit line")
    assert "not made in the way" in line["reason"]
    assert visitor.get("/plain", PAGE).status == 200
    assert visitor.get("/pay", PAGE).status == 302


def test_who_is_nobody_logs_in_once_and_not_twice(stage: Stage) -> None:
    visitor = stage.visitor()
    sent = visitor.get("/pay/june?x=1", PAGE)
    assert (sent.status, sent.get("Location")) == (302, SENT)
    page = visitor.get(SENT, PAGE).text()
    assert 'name="password"' not in page
    stage.provider.change = {"acr": "mfa"}
    began = visitor.get("/_gateway/oidc/sso/start?next=/pay/june%3Fx%3D1&step_up=pay", PAGE)
    assert stage.follow(visitor, began).status == 200
    assert stage.app.last().target == "/pay/june?x=1"


def test_rules_have_their_own_say(stage: Stage) -> None:
    visitor = stage.login()
    assert visitor.get("/pay/open", PAGE).status == 200
    fresh = visitor.get("/pay/new", PAGE)
    assert fresh.get("Location") == "/_gateway/login?next=/pay/new&step_up=pay.1"
    stage.provider.change = {}
    assert stage.follow(visitor, fresh).status == 200
    assert stage.app.last().target == "/pay/new"
    assert visitor.get("/pay", PAGE).get("Location") == "/_gateway/login?next=/pay&step_up=pay"


def test_a_local_user_types_the_password(stage: Stage) -> None:
    visitor = stage.visitor()
    visitor.login(ALICE)
    assert visitor.get("/new", PAGE).status == 200, "it has just been typed"
    sent = visitor.get("/pay", PAGE)
    shown = stage.follow(visitor, sent)
    assert (shown.status, 'name="password"' in shown.text()) == (200, False)


@pytest.mark.parametrize("headers", [PROGRAM, WEBSOCKET, {**PAGE, **WEBSOCKET}], ids=["script", "socket", "page"])
def test_what_does_not_navigate_is_told_where_to_log_in(stage: Stage, headers: dict[str, str]) -> None:
    visitor = stage.login()
    answer = visitor.get("/pay/june?x=1", headers)
    assert (answer.status, answer.get("X-Gateway-Login")) == (401, SENT)
    assert answer.get("WWW-Authenticate") is None
    if headers is PROGRAM:
        assert answer.get("Content-Type") == "application/problem+json"
        assert json.loads(answer.body)["login"] == SENT


def test_forward_auth_says_so_too(stage: Stage) -> None:
    visitor = stage.login()
    host = f"localhost:{stage.gateway.port}"
    asked = {"X-Forwarded-Method": "GET", "X-Forwarded-Host": host, "X-Forwarded-Proto": "http"}
    answer = visitor.get("/_gateway/verify", {**asked, "X-Forwarded-Uri": "/pay/june?x=1"})
    assert (answer.status, answer.get("X-Gateway-Login")) == (401, f"http://{host}{SENT}")
    assert visitor.get("/_gateway/verify", {**asked, "X-Forwarded-Uri": "/pay/open"}).status == 200


CHALLENGE = 'Bearer realm="gateway", error="insufficient_user_authentication", acr_values="mfa", max_age="300"'


def bearer(stage: Stage, path: str, headers: dict[str, str] | None = None, **claims: Any) -> Answer:
    text = token(stage.provider, **claims)
    return stage.visitor().get(path, {"Authorization": f"Bearer {text}", **(headers or {})})


def test_tokens_count_by_the_login_that_they_come_from(stage: Stage) -> None:
    """RFC 9470: their own acr and auth_time; one that tells neither is not enough."""
    now = int(time.time())
    assert bearer(stage, "/api", acr="mfa", auth_time=now).status == 200
    assert bearer(stage, "/new", auth_time=now).status == 200
    for claims in (
        {}, {"acr": "mfa"}, {"auth_time": now}, {"acr": "pwd", "auth_time": now},
        {"acr": "mfa", "auth_time": now - 500}, {"acr": "mfa", "auth_time": str(now)},
        {"acr": ["mfa"], "auth_time": now}, {"acr": "mfa", "auth_time": True},
    ):  # fmt: skip
        answer = bearer(stage, "/api", **claims)
        assert (answer.status, answer.get_all("WWW-Authenticate")) == (401, [CHALLENGE]), claims
        assert answer.get("X-Gateway-Login") is None
    page = bearer(stage, "/api", PAGE)
    assert (page.status, page.get("Location")) == (401, None), "a page that sends a token would do so again"
    fresh = bearer(stage, "/new")
    assert fresh.get("WWW-Authenticate") == CHALLENGE.replace(', acr_values="mfa"', "").replace("300", "0")


def test_passwords_are_fresh_and_never_strong_and_keys_are_neither(stage: Stage) -> None:
    """A key opens what asks for nothing more, and nothing that wants to know who sits there now."""
    key = api_key(stage.gateway, "new", "--user", "alice", "test")
    assert stage.visitor().get("/new", {"Authorization": basic(ALICE)}).status == 200
    fresh = CHALLENGE.replace(', acr_values="mfa"', "").replace("300", "0")
    for path, challenge in (("/new", fresh), ("/api", CHALLENGE)):
        answer = stage.visitor().get(path, {"Authorization": f"Bearer {key}"})
        assert (answer.status, answer.get_all("WWW-Authenticate")) == (401, [challenge])
    for headers in (PROGRAM, PAGE):
        answer = stage.visitor().get("/api", {"Authorization": basic(ALICE), **headers})
        assert (answer.status, answer.get("WWW-Authenticate"), answer.get("Location")) == (403, None, None)


def test_without_a_credential_a_program_gets_the_usual_challenges(stage: Stage) -> None:
    answer = stage.visitor().get("/api", PROGRAM)
    assert answer.get_all("WWW-Authenticate") == ['Bearer realm="gateway"', 'Basic realm="gateway", charset="UTF-8"']
    assert answer.get("X-Gateway-Login") == "/_gateway/login?next=/api&step_up=api"
