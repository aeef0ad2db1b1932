"""Refreshing sessions: what it changes, and one token call for however many ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.core.refresh import Refreshed
from tests.control.harness import make_vault
from tests.control.refreshing import Gateway, World
from tests.support.provider import said
from tests.support.redis_server import Servers

# What it changes


async def test_groups_and_claims_follow_the_provider(world: World, gateway: Gateway) -> None:
    """As often as what it told last is due; the session is the same one, and lives no longer by it."""
    session, token = await world.begin(gateway)
    for number, groups in enumerate((["wiki"], ["wiki", "admins"], []), 1):
        world.provider.person["groups"] = groups
        world.wait()
        answer = await gateway.refresher.refresh(token)
        assert answer.kind == "fresh"
        token = answer.token
        found = await gateway.session(token)
        assert found
        assert found.identity.groups == tuple(groups)
        assert (found.id, found.created, found.seen, found.expires) == (
            session.id,
            session.created,
            session.seen,
            session.expires,
        )
        assert found.login
        assert found.login.refresh_at
        assert found.login.refresh_at > world.clock()
        assert world.calls() == number
    assert gateway.outcomes() == {"refreshed": 3}
    assert gateway.events == []


async def test_whoever_comes_late_with_an_old_copy_gets_what_is_there(world: World) -> None:
    """As another tab with the cookie before: no second call, and the refresh token is not used twice."""
    gateway = await world.gateway(sqlite=False)
    _, old = await world.begin(gateway)
    world.provider.person["groups"] = ["wiki"]
    world.wait()
    tokens = set()
    for _ in range(3):
        answer = await gateway.refresher.refresh(old)
        assert answer.kind == "fresh"
        assert (await gateway.identity(answer.token)).groups == ("wiki",)
        assert (await gateway.identity(old)).groups == ("staff", "wiki"), "the old cookie says what it said"
        tokens.add(answer.token)
    assert old not in tokens
    assert world.calls() == 1


async def test_a_renewal_that_wrote_an_old_copy_over_the_new_one_is_made_good(world: World) -> None:
    """Though this process has the newer copy in its memory."""
    gateway = await world.gateway()
    session, token = await world.begin(gateway)
    world.provider.person["groups"] = ["wiki"]
    world.wait()
    await gateway.refresher.refresh(token)
    world.wait(1)
    other = await world.gateway()
    await other.store.save(session.touched(world.clock()), token)
    assert (await other.identity(token)).groups == ("staff", "wiki")
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
    third = await world.gateway()
    assert (await third.identity(token)).groups == ("wiki",)
    assert world.calls() == 1


async def test_what_is_not_due_is_not_asked_for(world: World, gateway: Gateway) -> None:
    _, token = await world.begin(gateway)
    answer = await gateway.refresher.refresh(token)
    assert answer.kind == "fresh"
    assert await gateway.session(answer.token)
    assert world.calls() == 0


async def test_without_a_refresh_token_there_is_nothing_to_do(world: World) -> None:
    world.provider.tokens = {"refresh_token": None}
    gateway = await world.gateway()
    _, token = await world.begin(gateway)
    world.wait()
    assert await gateway.refresher.refresh(token) == Refreshed("fresh", token)
    assert world.calls() == 0


async def test_a_session_from_before_refreshing_was_turned_off_is_never_due_again(world: World) -> None:
    before = await world.gateway()
    _, token = await world.begin(before)
    world.wait()
    gateway = await world.gateway(refresh=False)
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
    session = await gateway.session(token)
    assert session
    assert session.login
    assert (session.login.refresh_at, session.login.access_expires) == (None, None)
    assert world.calls() == 0


# One token call


async def test_a_hundred_at_once_make_one_call(world: World, gateway: Gateway) -> None:
    """With a provider that ends a login whose refresh token is used twice."""
    _, token = await world.begin(gateway)
    world.wait()
    answers = await asyncio.gather(*(gateway.refresher.refresh(token) for _ in range(100)))
    assert {answer.kind for answer in answers} == {"fresh"}
    assert world.calls() == 1
    world.wait()
    assert (await gateway.refresher.refresh(answers[0].token)).kind == "fresh"
    assert world.calls() == 2


async def test_a_hundred_at_once_on_two_hosts_make_one_call(world: World, redis_single: Servers) -> None:
    hosts = [await world.over_redis(redis_single) for _ in range(2)]
    _, token = await world.begin(hosts[0])
    for number in range(1, 4):
        world.provider.person["groups"] = [f"group-{number}"]
        world.wait()
        answers = await asyncio.gather(*(host.refresher.refresh(token) for host in hosts for _ in range(50)))
        assert answers == [Refreshed("fresh", token)] * 100
        assert world.calls() == number
        for host in hosts:
            assert (await host.session(token)) is not None
    assert sum(host.outcomes().get("refreshed", 0) for host in hosts) == 3


async def test_two_gateways_on_one_file_make_one_call(world: World) -> None:
    """As when one takes over from another."""
    hosts = [await world.gateway() for _ in range(2)]
    _, token = await world.begin(hosts[0])
    world.wait()
    answers = await asyncio.gather(*(host.refresher.refresh(token) for host in hosts for _ in range(20)))
    assert {answer.kind for answer in answers} == {"fresh"}
    assert world.calls() == 1


async def test_two_generations_make_one_call(world: World) -> None:
    """At a reload both serve."""
    gateway = await world.gateway(sqlite=False)
    _, token = await world.begin(gateway)
    later = gateway.another_refresher()
    world.wait()
    answers = await asyncio.gather(*(each.refresh(token) for each in (gateway.refresher, later) for _ in range(10)))
    assert {answer.kind for answer in answers} == {"fresh"}
    assert world.calls() == 1
    await later.close()


async def test_many_sessions_are_refreshed_each_once(world: World, gateway: Gateway) -> None:
    begun = [await world.begin(gateway) for _ in range(10)]
    world.wait()
    answers = await asyncio.gather(*(gateway.refresher.refresh(token) for _, token in begun for _ in range(5)))
    assert {answer.kind for answer in answers} == {"fresh"}
    assert world.calls() == 10


async def test_a_caller_that_goes_away_leaves_it_to_the_others(world: World, gateway: Gateway) -> None:
    _, token = await world.begin(gateway)
    world.wait()
    first = asyncio.create_task(gateway.refresher.refresh(token))
    await asyncio.sleep(0)
    second = asyncio.create_task(gateway.refresher.refresh(token))
    await asyncio.sleep(0.001)
    first.cancel()
    assert (await second).kind == "fresh"
    assert world.calls() == 1


async def test_a_stop_lets_the_provider_answer_and_keeps_what_it_says(world: World, gateway: Gateway) -> None:
    session, token = await world.begin(gateway)
    before = await gateway.kept(session)
    world.wait()
    asked = asyncio.create_task(gateway.refresher.refresh(token))
    await asyncio.sleep(0.001)
    await gateway.refresher.close()
    assert (await asked).kind == "fresh"
    assert (await gateway.kept(session)).tokens.refresh_token != before.tokens.refresh_token


# Leases


async def test_a_lease_whose_holder_died_is_taken_over(world: World, redis_single: Servers) -> None:
    """Within its time, without a logout."""
    gateway = await world.over_redis(redis_single)
    dead = await world.over_redis(redis_single)
    session, token = await world.begin(gateway)
    world.wait()
    assert await dead.behind.lease(session.handle, 1.0)
    answer = await gateway.refresher.refresh(token)
    assert answer == Refreshed("fresh", token)
    assert world.calls() == 1


async def test_what_the_holder_of_the_lease_wrote_is_taken(world: World, redis_single: Servers) -> None:
    gateway, other = await world.over_redis(redis_single), await world.over_redis(redis_single)
    session, token = await world.begin(gateway)
    world.wait()
    assert await other.behind.lease(session.handle, 30)
    asked = asyncio.create_task(gateway.refresher.refresh(token))
    await asyncio.sleep(0.3)
    assert not asked.done()
    kept = await other.kept(session)
    login = replace(kept.login, refresh_at=world.clock() + 100, access_expires=world.clock() + 200)
    await other.vault.put(session, replace(kept, login=login, identity=replace(kept.identity, groups=("new",))))
    assert (await asked).kind == "fresh"
    assert (await gateway.identity(token)).groups == ("new",)
    assert world.calls() == 0


async def test_a_lease_that_is_held_for_too_long_ends_nothing(world: World) -> None:
    gateway = await world.gateway(lease=0.2)
    session, token = await world.begin(gateway)
    world.wait()
    other = make_vault(world.folder, world.clock)
    assert await other.lease(session.handle, 1000)
    answer = await gateway.refresher.refresh(token)
    assert answer.kind == "later"
    assert answer.again > 0
    assert await gateway.session(token)
    assert world.calls() == 0
    await other.close()


async def test_the_lease_is_given_back_whatever_happens(world: World, gateway: Gateway) -> None:
    session, token = await world.begin(gateway)
    world.provider.instead["/token"] = said(500, b"{}")
    world.wait()
    assert (await gateway.refresher.refresh(token)).kind == "later"
    assert await gateway.behind.lease(session.handle, 1)
