"""The running program and a provider that is down, hostile, slow or odd: a clear page, an audit line, no session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import GatewayProcess
from tests.support.messages import Answer
from tests.support.oidc_site import audited, only_audited, start_with_providers, tell_providers
from tests.support.provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    At,
    FakeProvider,
    endless,
    hang,
    said,
    sign,
    signed_with_public_key,
    unsigned,
)
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import PAGE, Visitor
from tests.support.waiting import wait_for

START = "/_gateway/oidc/sso/start?next=/app/page"


@dataclass
class Stage:
    """A gateway, the app behind it, and the provider."""

    gateway: GatewayProcess
    app: RecorderUpstream
    provider: FakeProvider

    def visitor(self) -> Visitor:
        return Visitor(self.gateway, host=f"localhost:{self.gateway.port}")

    def login(self, visitor: Visitor) -> Answer:
        """Go to the provider and come back."""
        answer = visitor.get(START, PAGE)
        assert answer.status == 303, answer
        return visitor.get(self.provider.visit(str(answer.get("Location"))), PAGE)

    def assert_refused(self, visitor: Visitor, answer: Answer, status: int, reason: str) -> None:
        assert answer.status == status, answer
        assert "text/html" in str(answer.get("Content-Type"))
        assert visitor.session() == {}
        assert audited(self.gateway, "login") == []
        line = only_audited(self.gateway, "login_failed")
        assert reason in line["reason"]
        assert visitor.get("/app", PAGE).status == 302
        assert self.app.requests == []


def entry_of(provider: FakeProvider, **more: Any) -> dict[str, Any]:
    known = {"id": "sso", "issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return {**known, **more}


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running
        assert running.violations == []


@pytest.fixture
def stage(start_gateway: StartGateway, recorder: RecorderUpstream, provider: FakeProvider) -> Iterator[Stage]:
    gateway = start_with_providers(start_gateway, recorder, entry_of(provider))
    yield Stage(gateway, recorder, provider)
    gateway.assert_no_traceback()
    log = gateway.log_text()
    assert CLIENT_SECRET not in log
    assert "eyJ" not in log, "a token was logged"


def test_a_login_reaches_the_app_as_the_provider_s_user(stage: Stage) -> None:
    visitor = stage.visitor()
    answer = stage.login(visitor)
    assert (answer.status, answer.get("Location")) == (303, "/app/page")
    assert visitor.get("/app/page").status == 200
    request = stage.app.requests[-1]
    assert request.get("X-Forwarded-User") == "sso:alice"
    assert request.get("X-Forwarded-Email") == "alice@example.com"
    assert request.get("X-Forwarded-Groups") == "staff,wiki"
    line = only_audited(stage.gateway, "login")
    assert (line["user"], line["reason"]) == ("sso:alice", "sso")


def test_a_provider_s_admin_is_not_the_local_one(stage: Stage) -> None:
    """Account confusion: a rule for the local user does not let in one of that name from elsewhere."""
    gateway = stage.gateway
    only_alice = {"name": "app", "path": "/", "upstream": stage.app.url, "allow": {"users": ["alice"]}}
    gateway.config["routes"] = [only_alice]
    tell_providers(gateway, entry_of(stage.provider))
    visitor, local = stage.visitor(), stage.visitor()
    assert stage.login(visitor).status == 303
    assert visitor.get("/app", PAGE).status == 403
    local.login(ALICE)
    assert local.get("/app", PAGE).status == 200


def test_a_provider_that_is_down_at_the_start_is_asked_again_and_local_users_do_not_mind(
    start_gateway: StartGateway, recorder: RecorderUpstream, provider: FakeProvider
) -> None:
    provider.down()
    gateway = start_with_providers(start_gateway, recorder, entry_of(provider))
    stage = Stage(gateway, recorder, provider)
    visitor = stage.visitor()
    answer = visitor.get(START, PAGE)
    stage.assert_refused(visitor, answer, 503, provider.issuer)
    assert answer.get("Retry-After")
    assert "cannot be reached right now" in visitor.get("/_gateway/login", PAGE).text()
    local = stage.visitor()
    local.login(ALICE)
    assert local.get("/app").status == 200
    provider.up()
    wait_for(lambda: "cannot be reached" not in visitor.get("/_gateway/login", PAGE).text(), what="the provider")
    assert stage.login(visitor).status == 303


FORGED: dict[str, Any] = {
    "iss": ({"iss": "https://evil.example"}, sign, "another issuer"),
    "aud": ({"aud": "another"}, sign, "another audience"),
    "nonce": ({"nonce": "another"}, sign, "(nonce)"),
    "expired": ({"exp": At(-3600)}, sign, "ended"),
    "future": ({"iat": At(3600)}, sign, "future"),
    "none": ({}, lambda claims, key: unsigned(claims), "not accepted"),
    "HS256": ({}, signed_with_public_key, "not accepted"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_id_token_opens_nothing(stage: Stage, name: str) -> None:
    change, make_token, reason = FORGED[name]
    stage.provider.change, stage.provider.make_token = change, make_token
    visitor = stage.visitor()
    stage.assert_refused(visitor, stage.login(visitor), 400, reason)


def test_a_replayed_callback_opens_nothing(stage: Stage) -> None:
    visitor = stage.visitor()
    left = visitor.get(START, PAGE)
    before = dict(visitor.cookies)
    back = stage.provider.visit(str(left.get("Location")))
    stage.provider.accepts_used_codes = True
    assert visitor.get(back, PAGE).status == 303
    thief = stage.visitor()
    thief.cookies = before
    answer = thief.get(back, PAGE)
    assert answer.status == 400
    assert thief.session() == {}
    assert "no login in progress" in only_audited(stage.gateway, "login_failed")["reason"]
    assert only_audited(stage.gateway, "login")["user"] == "sso:alice"


def test_the_answer_of_another_provider_opens_nothing(stage: Stage) -> None:
    stage.provider.answer = {"iss": "https://evil.example"}
    visitor = stage.visitor()
    stage.assert_refused(visitor, stage.login(visitor), 400, "another issuer (iss)")


SLOW_OR_ODD = {
    "hangs": hang,
    "5 MB": endless,
    "HTML": said(200, b"<html></html>", "text/html"),
    "redirect": said(302, b"{}", Location="http://127.0.0.1:9/"),
}


@pytest.mark.parametrize("name", SLOW_OR_ODD)
def test_a_token_endpoint_out_of_order_is_a_page_in_time(stage: Stage, name: str) -> None:
    stage.provider.instead = {"/token": SLOW_OR_ODD[name]}
    visitor = stage.visitor()
    # The visitor's own patience is much shorter than what "hangs" and much longer than 4.5 s.
    answer = stage.login(visitor)
    stage.assert_refused(visitor, answer, 502, "token")
    stage.provider.instead = {}
    assert stage.login(visitor).status == 303


def test_keys_that_change_without_overlap_fail_no_login(stage: Stage) -> None:
    assert stage.login(stage.visitor()).status == 303
    stage.provider.rotate()
    assert stage.login(stage.visitor()).status == 303
    assert stage.provider.counts["/jwks"] == 2


def test_hundreds_of_tokens_with_made_up_keys_cause_one_fetch_and_others_log_in(stage: Stage) -> None:
    assert stage.login(stage.visitor()).status == 303
    made_up = iter(range(1000))
    stage.provider.make_token = lambda claims, key: sign(claims, key, kid=f"made-up-{next(made_up)}")
    began = time.monotonic()
    for _ in range(100):
        assert stage.login(stage.visitor()).status == 400
    fetched = stage.provider.counts["/jwks"]
    assert fetched <= 2 + (time.monotonic() - began) / 10, "one at the start, then one in ten seconds"
    stage.provider.make_token = sign
    assert stage.login(stage.visitor()).status == 303
    assert stage.provider.counts["/jwks"] == fetched
