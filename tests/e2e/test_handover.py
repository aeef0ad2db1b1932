"""The running program with three hosts under two domains: one login, all of them open, one logout, all closed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import GatewayProcess, new_key
from tests.support.hosts_site import HOSTS, PUBLIC, TENANT, WIKI, reload, start_hosts
from tests.support.messages import Answer
from tests.support.oidc_site import audited, only_audited
from tests.support.redis_server import Servers, session_part
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import PAGE, PROGRAM, Visitor
from tests.support.waiting import wait_for

TAB = {**PAGE, "Sec-Fetch-Dest": "document"}


@dataclass
class Person:
    """One browser on all hosts of a gateway; cookies stay with their host."""

    gateway: GatewayProcess
    visitors: dict[str, Visitor] = field(default_factory=dict)

    def on(self, host: str) -> Visitor:
        name = f"{host}:{self.gateway.port}"
        return self.visitors.setdefault(host, Visitor(self.gateway, host=name))

    def open(self, host: str, target: str, steps: int = 10) -> tuple[str, str, Answer]:
        """Open an address and follow where it leads; return host and target where that ended, and the answer."""
        for _ in range(steps):
            answer = self.on(host).get(target, TAB)
            location = answer.get("Location")
            if location is None:
                return host, target, answer
            if location.startswith("http://"):
                authority, slash, rest = location.removeprefix("http://").partition("/")
                host, target = authority.removesuffix(f":{self.gateway.port}"), slash + rest
            else:
                target = location
        raise AssertionError(f"led in circles: {host}{target}")

    def user_on(self, host: str, upstream: RecorderUpstream) -> str:
        """Open the app on a host; return whom it was told."""
        ended, target, answer = self.open(host, f"/page/{secrets.token_hex(4)}?q=1")
        assert (ended, answer.status) == (host, 200), (ended, target, answer)
        assert upstream.last().target == target
        return upstream.last().get("X-Forwarded-User") or ""


STORES = ("cookie", "sqlite", "redis")


@pytest.fixture(params=STORES)
def gateway(
    request: pytest.FixtureRequest, start_gateway: StartGateway, recorder: RecorderUpstream
) -> Iterator[GatewayProcess]:
    session: dict[str, Any] = {"keys": [new_key()], "store": request.param}
    if request.param == "redis":
        servers: Servers = request.getfixturevalue("redis_single")
        session = session_part(servers.address, new_key())
    running = start_hosts(start_gateway, recorder, session=session, workers=2)
    yield running
    running.assert_no_traceback()


def test_one_login_opens_all_hosts_and_one_logout_closes_them(
    gateway: GatewayProcess, recorder: RecorderUpstream
) -> None:
    alice = Person(gateway)
    host, target, shown = alice.open(WIKI, "/page?x=1")
    assert (host, target.split("?")[0], shown.status) == (PUBLIC, "/_gateway/login", 200)
    alice.on(PUBLIC).login(ALICE)
    for name in HOSTS:
        assert alice.user_on(name, recorder) == "alice"
    wait_for(lambda: {line["reason"] for line in audited(gateway, "handed_over")} == {WIKI, TENANT}, what="the log")
    only_audited(gateway, "login")
    alice.on(TENANT).logout()
    for name in HOSTS:
        host, target, shown = alice.open(name, "/")
        assert (host, target.split("?")[0], shown.status) == (PUBLIC, "/_gateway/login", 200)


def test_a_reload_on_the_way_loses_nothing(gateway: GatewayProcess, recorder: RecorderUpstream) -> None:
    alice = Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    asked = str(alice.on(WIKI).get("/_gateway/login?next=/page", TAB).get("Location"))
    given = str(alice.on(PUBLIC).get(asked.partition(str(gateway.port))[2], TAB).get("Location"))
    reload(gateway)
    host, target, answer = alice.open(WIKI, given.partition(str(gateway.port))[2])
    assert (host, target, answer.status) == (WIKI, "/page", 200)
    assert recorder.last().get("X-Forwarded-User") == "alice"


def test_apps_see_neither_the_code_nor_the_question(gateway: GatewayProcess, recorder: RecorderUpstream) -> None:
    alice = Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    alice.on(WIKI).get("/_gateway/login?next=/", TAB)
    assert alice.user_on(WIKI, recorder) == "alice"
    assert any("gateway_handover_" in name for name in alice.on(WIKI).cookies)
    for request in recorder.requests:
        assert "gateway" not in (request.get("Cookie") or "")
        assert "code=" not in (request.get("Referer") or "") + request.target


def test_programs_log_in_on_each_host_as_ever(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_hosts(start_gateway, recorder)
    person = Person(gateway)
    for host in HOSTS:
        answer = person.on(host).get("/page", PROGRAM)
        assert answer.status == 401
        person.on(host).login(ALICE)
        assert person.on(host).get("/page", PROGRAM).status == 200
    wait_for(lambda: len({line["session"] for line in audited(gateway, "login")}) == len(HOSTS), what="the log")
    assert audited(gateway, "handed_over") == []


def test_a_stolen_code_is_refused_and_reported(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_hosts(start_gateway, recorder)
    alice, mallory = Person(gateway), Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    asked = str(alice.on(WIKI).get("/_gateway/login?next=/page", TAB).get("Location"))
    given = str(alice.on(PUBLIC).get(asked.partition(str(gateway.port))[2], TAB).get("Location"))
    answer = mallory.on(WIKI).get(given.partition(str(gateway.port))[2], TAB)
    assert (answer.status, mallory.on(WIKI).session()) == (403, {})
    (line,) = wait_for(lambda: audited(gateway, "handover_refused"), what="the log")
    assert line["reason"] == "no cookie of a question"
    assert given.partition("code=")[2] not in gateway.log_text()
    assert recorder.requests == []
