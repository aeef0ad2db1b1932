"""Tokens are good for the host they were given to, and a later login leaves what is open on other hosts as it is.

On the running program with two workers, over every store: several hosts that share no cookie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.e2e.test_handover import STORES, TAB, Person
from tests.e2e.test_websocket import frames
from tests.support.frames import TEXT, Frame, encode
from tests.support.gateway import GatewayProcess, new_key, route
from tests.support.hosts_site import PUBLIC, TENANT, WIKI, routes_of, start_hosts
from tests.support.oidc_site import audited
from tests.support.raw import RawClient
from tests.support.redis_server import Servers, session_part
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB, User
from tests.support.visitor import PROGRAM, Visitor, form_fields
from tests.support.waiting import wait_for

OTHER_TENANT = "evil.tenants.example.org"
CLOSED_TO_TRANSFER = "one.previews.example.org"
TRIES = 8
"""Requests after which each of two workers has seen some."""


@pytest.fixture(params=STORES)
def gateway(
    request: pytest.FixtureRequest, start_gateway: StartGateway, recorder: RecorderUpstream
) -> Iterator[GatewayProcess]:
    session: dict[str, Any] = {"keys": [new_key()], "store": request.param}
    if request.param == "redis":
        servers: Servers = request.getfixturevalue("redis_single")
        session = session_part(servers.address, new_key())
    routes = [*routes_of(recorder), route("previews", "/", recorder.url, host="*.previews.example.org")]
    running = start_hosts(start_gateway, recorder, session=session, workers=2, routes=routes)
    yield running
    running.assert_no_traceback()


def statuses(visitor: Visitor, cookies: dict[str, str] | None = None) -> set[int]:
    """Return how a program's requests are answered, with these cookies in place of the visitor's."""
    held, visitor.cookies = visitor.cookies, dict(visitor.cookies if cookies is None else cookies)
    found = {visitor.get("/x", PROGRAM).status for _ in range(TRIES)}
    visitor.cookies = held
    return found


def websocket(person: Person, host: str) -> RawClient:
    """Open a WebSocket on a host."""
    visitor = person.on(host)
    client = person.gateway.connect()
    client.send(
        f"GET /ws HTTP/1.1\r\nHost: {visitor.host}\r\nCookie: {visitor.cookie_header()}\r\n"
        f"Origin: http://{visitor.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert client.answer().status == 101
    return client


def echoes(client: RawClient) -> bool:
    client.send(encode(TEXT, b"still here", masked=True))
    return frames(client, 1) == [Frame(TEXT, b"still here")]


def login_again(person: Person, host: str, user: User) -> None:
    """Send a login form that was open already, as that of a second tab is."""
    visitor = person.on(host)
    shown = Visitor(person.gateway, host=visitor.host)
    page = shown.get("/_gateway/login?here=1", TAB)
    visitor.cookies |= shown.cookies
    form = {"username": user.user, "password": user.password, "csrf_token": form_fields(page.text())["csrf_token"]}
    assert visitor.post("/_gateway/login", form).status == 303


# --- B22: for which host ------------------------------------------------------------------------------


def test_a_transferred_token_is_good_on_its_host_alone(gateway: GatewayProcess, recorder: RecorderUpstream) -> None:
    """On any other host it is as if there was no session, on every worker; that of public_url is good on each."""
    alice = Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    for host in (WIKI, TENANT):
        assert alice.user_on(host, recorder) == "alice"
    for given in (WIKI, TENANT):
        cookies = alice.on(given).session()
        for host in (PUBLIC, WIKI, TENANT, OTHER_TENANT, CLOSED_TO_TRANSFER):
            stolen = Visitor(gateway, host=f"{host}:{gateway.port}")
            assert statuses(stolen, cookies) == ({200} if host == given else {401}), (given, host)
            stolen.cookies = dict(cookies)
            assert (stolen.get("/_gateway/me", PROGRAM).status == 200) == (host == given)
    for host in (PUBLIC, WIKI, TENANT, OTHER_TENANT):
        stolen = Visitor(gateway, host=f"{host}:{gateway.port}")
        assert statuses(stolen, alice.on(PUBLIC).session()) == {200}


def test_a_login_on_a_host_of_its_own_is_good_there_alone(gateway: GatewayProcess) -> None:
    alice = Person(gateway)
    alice.on(WIKI).login(ALICE)
    assert statuses(alice.on(WIKI)) == {200}
    for host in (PUBLIC, TENANT):
        assert statuses(Visitor(gateway, host=f"{host}:{gateway.port}"), alice.on(WIKI).session()) == {401}


def test_a_wildcard_gets_no_session_unless_it_says_so(gateway: GatewayProcess, recorder: RecorderUpstream) -> None:
    """Its hosts show a login page of their own, and nobody leads a session there."""
    alice = Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    host, target, shown = alice.open(CLOSED_TO_TRANSFER, "/page")
    assert (host, target.split("?")[0], shown.status) == (CLOSED_TO_TRANSFER, "/_gateway/login", 200)
    assert 'name="password"' in shown.text()
    browser = "A" * 43
    start = f"/_gateway/handover/start?to={CLOSED_TO_TRANSFER}&browser={browser}&next=/"
    assert alice.on(PUBLIC).get(start, TAB).status == 400
    assert recorder.requests == []
    login_again(alice, CLOSED_TO_TRANSFER, ALICE)
    assert alice.user_on(CLOSED_TO_TRANSFER, recorder) == "alice"
    assert statuses(alice.on(PUBLIC), alice.on(CLOSED_TO_TRANSFER).session()) == {401}


# --- A6: what a later login leaves --------------------------------------------------------------------


def test_a_second_login_of_the_same_user_leaves_the_other_host_as_it_is(gateway: GatewayProcess) -> None:
    """The token that was shown is dead at once, what is open goes on, and one logout ends all of it."""
    alice = Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    before = dict(alice.on(PUBLIC).session())
    alice.open(WIKI, "/page")
    with websocket(alice, WIKI) as there, websocket(alice, PUBLIC) as here:
        login_again(alice, PUBLIC, ALICE)
        assert alice.on(PUBLIC).session() != before
        assert statuses(alice.on(PUBLIC), before) == {401}
        assert statuses(alice.on(PUBLIC)) == {200}
        assert statuses(alice.on(WIKI)) == {200}
        # Longer than the sweep takes to look at what is open.
        assert here.is_quiet(2.5)
        assert echoes(there)
        assert echoes(here)
        assert audited(gateway, "session_ended") == []
        assert len(wait_for(lambda: audited(gateway, "session_superseded"), what="the log")) == 1
        assert alice.on(PUBLIC).logout().status == 303
        assert [frames(client, 1)[0].close_code() for client in (there, here)] == [1008, 1008]
    assert statuses(alice.on(WIKI)) == {401}


def test_a_logout_on_the_other_host_ends_the_later_login_too(gateway: GatewayProcess) -> None:
    alice = Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    alice.open(WIKI, "/page")
    login_again(alice, PUBLIC, ALICE)
    alice.open(TENANT, "/page")
    with websocket(alice, PUBLIC) as here, websocket(alice, TENANT) as there:
        assert alice.on(WIKI).logout().status == 303
        assert [frames(client, 1)[0].close_code() for client in (here, there)] == [1008, 1008]
    for host in (PUBLIC, WIKI, TENANT):
        assert statuses(alice.on(host)) == {401}


def test_another_users_login_ends_all_of_it(gateway: GatewayProcess) -> None:
    person = Person(gateway)
    person.on(PUBLIC).login(ALICE)
    person.open(WIKI, "/page")
    login_again(person, PUBLIC, ALICE)
    with websocket(person, WIKI) as there:
        login_again(person, PUBLIC, BOB)
        assert frames(there, 1)[0].close_code() == 1008
    assert statuses(person.on(WIKI)) == {401}
    assert statuses(person.on(PUBLIC)) == {200}


def test_a_login_on_the_other_host_s_own_page(gateway: GatewayProcess) -> None:
    """It takes the place of the transferred token there, and leaves public_url as it is; a logout ends both."""
    alice = Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    alice.open(WIKI, "/page")
    before = dict(alice.on(WIKI).session())
    login_again(alice, WIKI, ALICE)
    assert statuses(alice.on(WIKI), before) == {401}
    assert statuses(alice.on(WIKI)) == {200}
    assert statuses(alice.on(PUBLIC)) == {200}
    assert alice.on(WIKI).logout().status == 303
    assert statuses(alice.on(PUBLIC)) == {401}


def test_what_was_taken_over_stays_dead_after_a_restart_of_the_workers(gateway: GatewayProcess) -> None:
    """A reload makes new workers with empty memories."""
    alice = Person(gateway)
    alice.on(PUBLIC).login(ALICE)
    before = dict(alice.on(PUBLIC).session())
    alice.open(WIKI, "/page")
    login_again(alice, PUBLIC, ALICE)
    gateway.reload({**gateway.config, "log": {**gateway.config.get("log", {}), "level": "debug"}})
    wait_for(lambda: "configuration reloaded" in gateway.errors(), what="the reload")
    assert statuses(alice.on(PUBLIC), before) == {401}
    assert statuses(alice.on(WIKI)) == {200}
    assert statuses(alice.on(PUBLIC)) == {200}
