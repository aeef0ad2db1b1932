"""Step-up over hosts that share no cookie: the stronger session arrives on the host in place of the one it had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.e2e.test_handover import TAB, Person
from tests.support.gateway import GatewayProcess, new_key
from tests.support.hosts_site import PUBLIC, TENANT, WIKI, routes_of, start_hosts
from tests.support.messages import Answer
from tests.support.oidc_site import audited
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, FakeProvider, asked_for
from tests.support.redis_server import Servers, session_part
from tests.support.upstream import RecorderUpstream
from tests.support.waiting import wait_for

START = "/_gateway/oidc/sso/start?next=/"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running
        assert running.violations == []


@pytest.fixture(params=["cookie", "sqlite", "redis"])
def gateway(
    request: pytest.FixtureRequest, start_gateway: StartGateway, recorder: RecorderUpstream, provider: FakeProvider
) -> Iterator[GatewayProcess]:
    session: dict[str, Any] = {"keys": [new_key()], "store": request.param}
    if request.param == "redis":
        servers: Servers = request.getfixturevalue("redis_single")
        session = session_part(servers.address, new_key())
    entry = {"id": "sso", "issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    routes = [{**route, "step_up": {"acr_values": ["mfa"]}} for route in routes_of(recorder)]
    routes[0]["step_up"] = None
    login = {"local": {"users": "users.yaml"}, "oidc": [entry]}
    running = start_hosts(start_gateway, recorder, session=session, workers=2, routes=routes, login=login)
    yield running
    running.assert_no_traceback()


def way(person: Person, provider: FakeProvider, host: str, target: str) -> tuple[list[str], Answer]:
    """Follow where an address leads, over the provider too; return the hosts on the way, and the last answer."""
    hosts = []
    for _ in range(12):
        hosts.append(host)
        answer = person.on(host).get(target, TAB)
        location = answer.get("Location")
        if location is None:
            return hosts, answer
        if location.startswith(provider.issuer):
            assert asked_for(location)["acr_values"] == "mfa"
            hosts.append("provider")
            host, target = PUBLIC, provider.visit(location)
        elif location.startswith("http://"):
            authority, slash, rest = location.removeprefix("http://").partition("/")
            host, target = authority.removesuffix(f":{person.gateway.port}"), slash + rest
        else:
            target = location
    raise AssertionError(f"led in circles: {hosts}")


def test_the_stronger_session_arrives_in_place_of_the_one_before(
    gateway: GatewayProcess, recorder: RecorderUpstream, provider: FakeProvider
) -> None:
    person = Person(gateway)
    left = person.on(PUBLIC).get(START, TAB)
    person.on(PUBLIC).get(provider.visit(str(left.get("Location"))), TAB)
    person.open(WIKI, "/_gateway/login?next=/_gateway/me")
    weak = {host: dict(person.on(host).session()) for host in (PUBLIC, WIKI)}
    assert all(weak.values()), "signed in on both"
    provider.change = {"acr": "mfa"}
    hosts, answer = way(person, provider, WIKI, "/page?x=1")
    assert (answer.status, recorder.last().target) == (200, "/page?x=1")
    assert recorder.last().get("Host") == f"{WIKI}:{gateway.port}"
    assert hosts.count("provider") == 1
    for host in (PUBLIC, WIKI):
        old = Person(gateway).on(host)
        old.cookies = weak[host]
        assert old.get("/_gateway/me").status == 401, "the token of before is over, on every host and worker"
    assert way(person, provider, WIKI, "/page")[0] == [WIKI]
    hosts, answer = way(person, provider, TENANT, "/page")
    assert (answer.status, "provider" in hosts) == (200, False), "the strong session is handed over as it is"
    # The login on public_url took the place of one token, and the transfer to the host that of another.
    wait_for(lambda: len(audited(gateway, "session_superseded")) == 2, what="the log")
    assert audited(gateway, "session_ended") == []


def test_nobody_is_led_to_the_provider_once_and_not_twice(gateway: GatewayProcess, provider: FakeProvider) -> None:
    person = Person(gateway)
    provider.change = {"acr": "mfa"}
    hosts, page = way(person, provider, WIKI, "/page")
    assert (page.status, 'name="password"' in page.text()) == (200, False)
    link = page.text().partition('href="/_gateway/oidc/sso/start')[2].partition('"')[0].replace("&amp;", "&")
    hosts, answer = way(person, provider, PUBLIC, f"/_gateway/oidc/sso/start{link}")
    assert (answer.status, hosts.count("provider"), hosts[-1]) == (200, 1, WIKI)


def test_one_that_is_not_stronger_is_a_page_on_public_url(gateway: GatewayProcess, provider: FakeProvider) -> None:
    person = Person(gateway)
    left = person.on(PUBLIC).get(START, TAB)
    person.on(PUBLIC).get(provider.visit(str(left.get("Location"))), TAB)
    hosts, answer = way(person, provider, WIKI, "/page")
    assert (answer.status, hosts[-1], hosts.count("provider")) == (403, PUBLIC, 1)
    assert "wiki needs a stronger or fresher sign-in" in answer.text()
