"""Two gateways, one Redis, one browser: logged in at one, known at the other, and logged out at both."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from playwright.sync_api import expect

from tests.conftest import StartGateway
from tests.e2e.test_redis import config_of
from tests.e2e.test_websocket import frames, handshake
from tests.support.browser import OpenContext, sign_in
from tests.support.gateway import GatewayProcess, new_key
from tests.support.redis_server import Servers
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import Visitor, logged_in
from tests.support.waiting import wait_for


@dataclass
class Pair:
    """Two gateways that share sessions; each has two workers."""

    first: GatewayProcess
    second: GatewayProcess

    def at_second(self, visitor: Visitor) -> Visitor:
        """Return the same browser at the second gateway."""
        other = Visitor(self.second)
        other.cookies = dict(visitor.cookies)
        return other


@pytest.fixture
def pair(start_gateway: StartGateway, recorder: RecorderUpstream, redis_single: Servers) -> Pair:
    config = config_of(redis_single.address, recorder.url, new_key())
    config["workers"] = 2
    return Pair(start_gateway(config), start_gateway(config))


def test_a_browser_is_known_at_both_gateways(pair: Pair, new_context: OpenContext) -> None:
    """Cookies know no ports, so one browser meets both: in at one, served by both, out at both."""
    page = new_context().new_page()
    page.goto(f"http://localhost:{pair.first.port}/x")
    sign_in(page, ALICE.user, ALICE.password)
    page.wait_for_url(f"http://localhost:{pair.first.port}/x")
    page.goto(f"http://localhost:{pair.second.port}/x")
    assert page.url == f"http://localhost:{pair.second.port}/x"
    page.goto(f"http://localhost:{pair.second.port}/_gateway/sessions")
    expect(page.get_by_role("listitem")).to_have_count(1)
    page.goto(f"http://localhost:{pair.second.port}/_gateway/logout")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.goto(f"http://localhost:{pair.first.port}/x")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_logout_reaches_every_worker_of_the_other_gateway_at_once(pair: Pair) -> None:
    """Whatever the other gateway's workers had in memory is refused within a moment of the logout's answer."""
    for _ in range(5):
        alice = logged_in(pair.first, ALICE)
        there = pair.at_second(alice)
        assert {there.get("/x").status for _ in range(12)} == {200}
        assert alice.logout().status == 303
        wait_for(lambda there=there: {there.get("/x").status for _ in range(12)} == {401}, what="the news")  # type: ignore[misc]


def test_websockets_at_the_other_gateway_end_with_the_session(pair: Pair) -> None:
    """A logout at one gateway closes the user's WebSockets at the other with 1008 within five seconds."""
    alice, other = logged_in(pair.first, ALICE), logged_in(pair.first, ALICE)
    there = pair.at_second(alice)
    with handshake(pair.second, there, "/ws") as client, handshake(pair.second, pair.at_second(other), "/ws") as kept:
        assert {client.answer().status, kept.answer().status} == {101}
        assert alice.logout().status == 303
        assert frames(client, 1)[0].close_code() == 1008
        assert kept.is_quiet(2.0)
