"""What a real, certified provider tells of people later: it arrives at the apps without a new login."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.e2e.test_handover import Person
from tests.e2e.test_websocket import frames, handshake
from tests.support.browser import OpenContext
from tests.support.certified import CLIENT_ID, CLIENT_SECRET, CertifiedProvider, client
from tests.support.certified_visit import sign_in
from tests.support.gateway import GatewayProcess, new_key, route
from tests.support.messages import Answer
from tests.support.oidc_site import audited, callback_at, only_audited, start_with_providers, url_of
from tests.support.ports import free_port
from tests.support.redis_server import Servers, session_part
from tests.support.upstream import RecorderUpstream
from tests.support.visitor import PAGE, PROGRAM, Visitor
from tests.support.waiting import wait_for
from tests.support.workers import statuses_at_each

LIFETIME = 2
LONG = 600
"""Seconds of an access token's life in which nothing is due."""
PATIENCE = 60.0
"""Seconds within which a provider that is back has been asked again; 10 where the machine is free."""
ONCE = 100
ELSEWHERE = "wiki.example.org"
"""A host that shares no cookie with public_url."""


@dataclass
class Stage:
    """Gateways of two workers each that share their sessions, the app behind them, and the provider."""

    gateways: list[GatewayProcess]
    app: RecorderUpstream
    provider: CertifiedProvider

    @property
    def gateway(self) -> GatewayProcess:
        return self.gateways[0]

    def visitor(self) -> Visitor:
        """Return somebody who has logged in, whose access token has come just now."""
        visitor = Visitor(self.gateway, host=f"localhost:{self.gateway.port}")
        answer = sign_in(visitor, "/_gateway/oidc/sso/start?next=/x")
        assert answer.status == 303, answer
        return visitor

    def elsewhere(self, visitor: Visitor) -> list[Visitor]:
        """Return the same browser at every gateway."""
        found = [Visitor(gateway, host=f"localhost:{gateway.port}") for gateway in self.gateways]
        for each in found:
            each.cookies = dict(visitor.cookies)
        return found

    def groups(self, visitor: Visitor) -> str | None:
        """Return the groups that the app is told."""
        answer = visitor.get("/x", PROGRAM)
        assert answer.status == 200, answer
        return self.app.requests[-1].get("X-Forwarded-Groups")

    def are_told(self, visitor: Visitor, groups: str) -> bool:
        """Tell whether every worker of a gateway tells the app of these groups, as far as some requests show."""
        return {self.groups(visitor) for _ in range(12)} == {groups}

    def refreshed(self) -> int:
        """Return how many refresh tokens were used; none was used twice, or in vain."""
        done = self.provider.tell()
        assert done["refused"] == 0
        return done["refresh_token"]


Make = Callable[..., Stage]


@pytest.fixture
def make(
    start_gateway: StartGateway, recorder: RecorderUpstream, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Make]:
    """Start everything with a kind of store; ``more`` is for the provider's entry."""
    with ExitStack() as stack:
        started: list[GatewayProcess] = []

        def start(store: str, **more: Any) -> Stage:
            session: dict[str, Any] = {"store": store, "keys": [new_key()]}
            if store == "redis":
                servers: Servers = request.getfixturevalue("redis_single")
                session = session_part(servers.address, new_key())
            routes = [
                route("wiki", "/ws", recorder.url, allow={"groups": ["wiki"]}),
                route("open", "/open", recorder.url, public=True),
                route("app", "/", recorder.url),
                route("elsewhere", "/", recorder.url, host=ELSEWHERE),
            ]
            port = free_port()
            provider = CertifiedProvider(client(callback_at(port)), lifetime=LIFETIME, file=tmp_path / "provider")
            stack.enter_context(provider)
            entry = {
                "id": "sso",
                "issuer": provider.issuer,
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "scopes": ["openid", "profile", "email", "groups"],
                **more,
            }
            known = {"session": session, "workers": 2, "routes": routes}
            started.append(start_with_providers(start_gateway, recorder, entry, port=port, **known))
            if store == "redis":
                started.append(start_gateway({**started[0].config, "listen": "127.0.0.1:0"}))
            return Stage(started, recorder, provider)

        yield start
        for gateway in started:
            gateway.assert_no_traceback()
            assert "eyJ" not in gateway.log_text(), "a token was logged"


STORES = pytest.mark.parametrize("store", ["cookie", "sqlite", "redis"])


@STORES
def test_groups_changed_at_the_provider_arrive_without_a_new_login(make: Make, store: str) -> None:
    """At every worker of every gateway that knows the session."""
    stage = make(store)
    visitor = stage.visitor()
    assert stage.groups(visitor) == "staff,wiki"
    stage.provider.regroup("alice", "guests")
    wait_for(lambda: stage.groups(visitor) == "guests", what="the new groups")
    for each in stage.elsewhere(visitor):
        wait_for(partial(stage.are_told, each, "guests"), what="them at all workers")
    stage.provider.regroup("alice", "staff")
    wait_for(lambda: stage.groups(visitor) == "staff", what="the groups after that")
    assert stage.refreshed() >= 2
    only_audited(stage.gateway, "login")


@STORES
def test_they_arrive_on_a_host_that_a_session_was_transferred_to(make: Make, store: str) -> None:
    """Whose token is good there alone: the worker that asks says for which host."""
    stage = make(store)
    person = Person(stage.gateway, {"localhost": stage.visitor()})
    assert person.open(ELSEWHERE, "/x")[0] == ELSEWHERE
    there = person.on(ELSEWHERE)
    assert stage.groups(there) == "staff,wiki"
    stage.provider.regroup("alice", "guests")
    wait_for(lambda: stage.groups(there) == "guests", what="the new groups")
    wait_for(partial(stage.are_told, there, "guests"), what="them at all workers")
    only_audited(stage.gateway, "login")


@pytest.mark.parametrize(("store", "grace"), [("cookie", "0s"), ("sqlite", "0s"), ("redis", "0s"), ("redis", "1h")])
def test_a_hundred_requests_with_an_expired_token_are_one_call(make: Make, store: str, grace: str) -> None:
    """Through all workers at once, whether they wait for it or not; its refresh token is good once."""
    stage = make(store, refresh_grace=grace)
    visitor = stage.visitor()
    stage.provider.tell(lifetime=LONG)
    stage.provider.regroup("alice", "guests")
    time.sleep(LIFETIME + 0.2)
    browsers = [each for _ in range(ONCE) for each in stage.elsewhere(visitor)][:ONCE]
    with ThreadPoolExecutor(20) as pool:
        answers: list[Answer] = list(pool.map(lambda browser: browser.get("/x", PROGRAM), browsers))
    assert {answer.status for answer in answers} == {200}
    if grace == "0s":
        assert {request.get("X-Forwarded-Groups") for request in stage.app.requests} == {"guests"}
    wait_for(lambda: {stage.groups(each) for each in browsers[:8]} == {"guests"}, what="the new groups")
    assert stage.refreshed() == 1


@STORES
def test_a_provider_that_is_down_ends_no_session(make: Make, store: str) -> None:
    """Beyond the end of the access token requests go on, and when it is back it is asked again."""
    stage = make(store)
    visitor = stage.visitor()
    stage.provider.stop()
    stage.provider.regroup("alice", "guests")
    until = time.monotonic() + LIFETIME + 0.5
    while time.monotonic() < until:
        assert {stage.groups(each) for each in stage.elsewhere(visitor)} == {"staff,wiki"}
        time.sleep(0.2)
    assert visitor.get("/x", PAGE).status == 200
    stage.provider.start()
    wait_for(lambda: stage.groups(visitor) == "guests", PATIENCE, "the provider to be asked again")
    assert visitor.session()
    only_audited(stage.gateway, "login")
    assert audited(stage.gateway, "session_ended") == []


@STORES
def test_a_login_that_the_provider_has_taken_back_ends_the_session(make: Make, store: str) -> None:
    """At the next refresh, at every gateway; the next page is the login."""
    stage = make(store)
    visitor, other = stage.visitor(), stage.elsewhere(stage.visitor())
    stage.provider.tell(forget="RefreshToken")
    for each in (*stage.elsewhere(visitor), *other):
        wait_for(partial(_is_out, each), what="the session's end")
        answers = [each.get("/x", PAGE) for _ in range(8)]
        assert {answer.status for answer in answers} == {302}
        assert all("/_gateway/login?" in str(answer.get("Location")) for answer in answers)

    def ended() -> list[dict[str, Any]]:
        return [line for gateway in stage.gateways for line in audited(gateway, "session_ended")]

    lines = wait_for(ended, what="the log")
    assert {line["user"] for line in lines} == {"sso:alice"}
    assert all("sso" in line["reason"] for line in lines)


def _is_out(visitor: Visitor) -> bool:
    """Tell whether no worker of the gateway knows the session any more."""
    return statuses_at_each(visitor, "/x", PROGRAM) == {401}


def test_in_a_real_browser_the_next_page_is_the_login(make: Make, new_context: OpenContext) -> None:
    stage = make("cookie")
    page = new_context().new_page()
    visitor = stage.visitor()
    name, value = visitor.session_pair()
    page.context.add_cookies([{"name": name, "value": value, "url": url_of(stage.gateway)}])
    page.goto(f"{url_of(stage.gateway)}/x")
    assert page.url == f"{url_of(stage.gateway)}/x"
    stage.provider.regroup("alice", "guests")

    def renewed() -> bool:
        page.reload()
        return stage.app.requests[-1].get("X-Forwarded-Groups") == "guests"

    wait_for(renewed, what="the new groups")
    wait_for(lambda: _cookie(page.context.cookies(), name) != value, what="the new cookie")
    stage.provider.tell(forget="RefreshToken")

    def asked() -> bool:
        page.goto(f"{url_of(stage.gateway)}/x")
        return "/_gateway/login" in page.url

    wait_for(asked, what="the login page")


def _cookie(cookies: Any, name: str) -> str:
    return next((str(cookie["value"]) for cookie in cookies if cookie["name"] == name), "")


@STORES
def test_without_grace_a_provider_that_is_down_lets_nobody_in_and_ends_nothing(make: Make, store: str) -> None:
    """Past the token's end there is no session for a request, but it is right again when the provider is back."""
    stage = make(store, refresh_grace="0s")
    visitor, leaving = stage.visitor(), stage.visitor()
    stage.provider.stop()
    for each in (visitor, leaving):
        wait_for(partial(_is_out, each), what="the grace time's end")
    for each in stage.elsewhere(visitor):
        page, program = each.get("/x", PAGE), each.get("/x", PROGRAM)
        assert (page.status, program.status) == (302, 401)
        assert [*page.get_all("Set-Cookie"), *program.get_all("Set-Cookie")] == []
        assert each.get("/open", PAGE).status == 200
        assert stage.app.requests[-1].get("X-Forwarded-User") is None
    assert leaving.logout().status in (200, 303), "who wants to leave may"
    stage.provider.start()
    wait_for(lambda: visitor.get("/x", PROGRAM).status == 200, PATIENCE, "the provider to be asked again")
    assert stage.app.requests[-1].get("X-Forwarded-User") == "sso:alice"
    assert leaving.get("/x", PROGRAM).status == 401
    wait_for(lambda: len(audited(stage.gateway, "login")) == 2, what="the log")


@STORES
def test_a_websocket_of_somebody_who_lost_the_group_ends(make: Make, store: str) -> None:
    """With 1008, though nobody sends a request; that of somebody else stays open."""
    stage = make(store)
    stage.provider.regroup("bob", "wiki")
    alice, bob = stage.visitor(), Visitor(stage.gateway, host=f"localhost:{stage.gateway.port}")
    assert sign_in(bob, "/_gateway/oidc/sso/start?next=/x", "bob").status == 303
    with handshake(stage.gateways[-1], alice, "/ws") as ending, handshake(stage.gateways[-1], bob, "/ws") as kept:
        assert {ending.answer().status, kept.answer().status} == {101}
        wait_for(lambda: stage.refreshed() >= 2, what="both to be asked for again")
        assert ending.is_quiet()
        stage.provider.regroup("alice", "staff")
        assert frames(ending, 1)[0].close_code() == 1008
        before = stage.refreshed()
        wait_for(lambda: stage.refreshed() > before, what="the other to be asked for again")
        assert kept.is_quiet()
