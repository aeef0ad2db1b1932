"""A route that is ready to serve: which address comes first, and identity headers that are made once."""

from __future__ import annotations

import asyncio

from gateway.core.identity import Identity
from gateway.core.limits import Limits
from gateway.core.metrics import RouteCounters
from gateway.core.policy import Rule
from gateway.core.route import Route
from gateway.core.session import Lifetimes, Session, start_session
from gateway.core.upstream import UpstreamAddress, UpstreamTls
from gateway.proxy.plan import DOWN_TIME, RoutePlan, TokenLines
from gateway.proxy.pool import UpstreamPools
from gateway.sessions.store import Opened
from gateway.wire.head import AnswerParser
from gateway.wire.identity_headers import IdentityHeaders


class Tokens:
    """Numbers its tokens; each is good for ten seconds."""

    def __init__(self) -> None:
        self.made = 0

    def line(self, session: Session, audience: str, now: float) -> tuple[bytes, float]:
        self.made += 1
        return f"X-Identity-Token: {session.user} {audience} {self.made}\r\n".encode(), now + 10


def plan(
    count: int = 1, *, max_body: int | None = None, audience: str = "", tokens: TokenLines | None = None
) -> RoutePlan:
    limits = Limits(body=1000)
    addresses = tuple(UpstreamAddress("127.0.0.1", port) for port in range(1, count + 1))
    return RoutePlan(
        Route("app", addresses, Rule("x"), max_body=max_body, audience=audience),
        IdentityHeaders([("X-User", "{user}")]),
        RouteCounters(),
        UpstreamPools(AnswerParser(limits, frozenset()), limits, asyncio.get_running_loop()),
        limits,
        tokens,
    )


async def test_addresses_take_turns_and_those_that_failed_come_last() -> None:
    """Every address is tried in the end; one that could not be reached is first again after a while."""
    ready = plan(3)
    first, second, third = ready.pools
    assert [ready.pools_in_turn(0)[0] for _ in range(4)] == [first, second, third, first]
    ready.mark_down(second, 100.0)
    for _ in range(6):
        order = ready.pools_in_turn(100.0 + DOWN_TIME - 0.01)
        assert order[-1] is second
        assert set(order) == set(ready.pools)
    assert second in [ready.pools_in_turn(100.0 + DOWN_TIME + 0.01)[0] for _ in range(3)]


async def test_all_addresses_have_failed() -> None:
    """They are tried all the same, in turn."""
    ready = plan(2)
    for pool in ready.pools:
        ready.mark_down(pool, 100.0)
    assert {ready.pools_in_turn(100.0)[0] for _ in range(2)} == set(ready.pools)


async def test_identity_headers_are_made_once() -> None:
    """A session's header bytes are those of its identity, and the same object from then on."""
    ready = plan()
    session = start_session(bytes(16), Identity("alice"), Lifetimes(), remember=False, now=0)
    opened = Opened(session, "token", 1.0)
    block = ready.identity_block(opened, 0.0)
    assert block == b"X-User: alice\r\n"
    assert ready.identity_block(opened, 1e9) is block


async def test_a_token_is_made_anew_when_it_is_half_over() -> None:
    """And only then: until that, the bytes are the same object."""
    tokens = Tokens()
    ready = plan(audience="wiki", tokens=tokens)
    session = start_session(bytes(16), Identity("alice"), Lifetimes(), remember=False, now=0)
    opened = Opened(session, "token", 1.0)
    block = ready.identity_block(opened, 100.0)
    assert block == b"X-User: alice\r\nX-Identity-Token: alice wiki 1\r\n"
    assert ready.identity_block(opened, 109.9) is block
    assert ready.identity_block(opened, 110.0) == block.replace(b"1\r\n", b"2\r\n")
    assert tokens.made == 2


async def test_a_route_without_an_audience_gets_no_token() -> None:
    """It is not even made."""
    tokens = Tokens()
    session = start_session(bytes(16), Identity("alice"), Lifetimes(), remember=False, now=0)
    assert plan(tokens=tokens).identity_block(Opened(session, "token", 1.0), 0.0) == b"X-User: alice\r\n"
    assert tokens.made == 0


async def test_the_smaller_body_limit_holds() -> None:
    """A route may lower the limit of all, not raise it."""
    assert [plan(max_body=limit).max_body for limit in (None, 10, 10_000)] == [1000, 10, 1000]


async def test_routes_to_one_address_share_its_connections() -> None:
    """There is one pool for an address: its limits are for all routes together, and what one found down is down."""
    limits = Limits()
    pools = UpstreamPools(AnswerParser(limits, frozenset()), limits, asyncio.get_running_loop())
    here, there = UpstreamAddress("127.0.0.1", 1), UpstreamAddress("127.0.0.1", 2)
    first, second = (
        RoutePlan(Route(name, addresses, Rule("x")), IdentityHeaders([]), RouteCounters(), pools, limits)
        for name, addresses in (("a", (here, there)), ("b", (there,)))
    )
    assert first.pools[1] is second.pools[0]
    assert first.pools[0] is not first.pools[1]
    assert pools.pool(UpstreamAddress("127.0.0.1", 2)) is second.pools[0]
    assert pools.pool(UpstreamAddress("127.0.0.1", 2, tls=UpstreamTls())) is not second.pools[0]
