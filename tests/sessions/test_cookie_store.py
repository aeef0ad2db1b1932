"""The sealed-cookie store keeps the contract, and what is particular to it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.session import Lifetimes
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.cookie_store import CLOCK_LEEWAY, CookieStore
from gateway.sessions.recent import RecentSessions
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import SessionStore
from tests.sessions.contract import ALICE, BOB, SessionStoreContract, World


async def start_cookie_store(world: World) -> SessionStore:
    keys = KeyRing(world.keys, os.urandom)
    ledger = Revocations(world.directory / "revocations.sqlite3", 2_592_000.0, world.now)
    return CookieStore(keys, ledger, RecentSessions(1000), world.lifetimes, world.clock)


class TestCookieStore(SessionStoreContract):
    """The whole contract."""

    async def start(self, world: World) -> SessionStore:
        return await start_cookie_store(world)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, start_cookie_store)
    await world.restart()
    yield world
    if world.store is not None:
        await world.store.close()


async def test_a_token_needs_no_state_but_the_ledger(world: World, tmp_path: Path) -> None:
    """A token opens on another host that has the key: the session travels in it."""
    assert world.store is not None
    token = (await world.store.save(world.begin())).token
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = World(elsewhere, start_cookie_store)
    assert await other.knew(token)
    assert other.store is not None
    await other.store.close()


async def test_a_token_tells_nothing(world: World) -> None:
    """Neither name nor groups can be read from it, and two tokens of one session have nothing in common."""
    assert world.store is not None
    session = world.begin()
    one, two = (await world.store.save(session)).token, (await world.store.save(session)).token
    assert one[10:] != two[10:]
    assert not any(word in one for word in ("alice", "staff", "example"))


async def test_a_failing_ledger_never_lets_in(world: World) -> None:
    """A logout that the disk did not take is told, and the session is refused here all the same."""
    store = world.store
    assert store is not None
    session, old = world.begin(), world.begin(BOB)
    token = (await store.save(session)).token
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.check()
    with pytest.raises(StoreUnavailable):
        await store.revoke(session)
    assert not await world.knows(token)
    with pytest.raises(StoreUnavailable):
        await store.replace(old, world.begin())
    with pytest.raises(BadToken):
        await store.save(old)


async def test_a_session_from_the_future(world: World) -> None:
    """A clock that was set back far does not make sessions that live longer; a little is leeway."""
    store = world.store
    assert store is not None
    token = (await store.save(world.begin())).token
    world.now -= CLOCK_LEEWAY - 1
    assert await world.knew(token)
    world.now -= 2
    assert not await world.knew(token)


@pytest.mark.parametrize("lifetimes", [Lifetimes(), Lifetimes(60, 120, None)])
async def test_the_end_is_the_nearest(world: World, lifetimes: Lifetimes) -> None:
    """An opened session's end is never beyond what it says itself, nor beyond the lifetimes of today."""
    store = world.store
    assert store is not None
    token = (await store.save(world.begin(ALICE))).token
    world.lifetimes = lifetimes
    store = await world.restart()
    opened = await store.load(token, world.now)
    assert opened.until <= min(opened.session.ends(), opened.session.created + lifetimes.absolute)
