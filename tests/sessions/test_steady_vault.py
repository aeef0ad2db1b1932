"""Tokens that cannot be written yet: nothing is lost while the vault behind fails, and nothing old comes after new."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.identity import Identity
from gateway.core.provider import ProviderSession, ProviderTokens
from gateway.core.session import Lifetimes, Session, start_session
from gateway.errors import StoreUnavailable
from gateway.sessions import steady_vault
from gateway.sessions.seal import KeyRing
from gateway.sessions.sqlite_vault import SqliteTokenVault
from gateway.sessions.steady_vault import SteadyVault, Waiting
from gateway.sessions.token_vault import KeptLogin
from tests.support.waiting import wait_until

NOW = 1_800_000_000.0
ALICE = Identity("alice", method="sso")


def kept(refresh_token: str) -> KeptLogin:
    return KeptLogin(ALICE, ProviderSession("sso", "https://sso", "s"), ProviderTokens(refresh_token=refresh_token))


class Failing(SqliteTokenVault):
    """A vault in a file that fails while it is told to."""

    down = False
    slow = 0.0

    async def put(self, session: Session, kept: KeptLogin) -> None:
        await asyncio.sleep(self.slow)
        if self.down:
            raise StoreUnavailable("down")
        await super().put(session, kept)

    async def renew(self, session: Session, kept: KeptLogin) -> bool:
        await asyncio.sleep(self.slow)
        if self.down:
            raise StoreUnavailable("down")
        return await super().renew(session, kept)


class World:
    """A vault over one that fails, and a look past both."""

    def __init__(self, file: Path) -> None:
        self.now = NOW
        self.file = file
        self.behind = self.open()
        self.waiting: dict[str, Waiting] = {}
        self.vault = SteadyVault(self.behind, self.waiting, lambda: self.now)
        self.session = start_session(os.urandom(16), ALICE, Lifetimes(), remember=False, now=NOW)

    def open(self) -> Failing:
        return Failing(self.file, KeyRing([b"k" * 32], os.urandom), lambda: self.now, os.urandom)

    async def written(self) -> str | None:
        """Return the refresh token on disk."""
        found = await self.behind.get(self.session)
        return found.tokens.refresh_token if found else None

    async def until_written(self, refresh_token: str) -> None:

        async def is_written() -> bool:
            return await self.written() == refresh_token and not self.waiting

        await wait_until(is_written)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(steady_vault, "TRY_AGAIN_EVERY", 0.02)
    found = World(tmp_path / "tokens.sqlite")
    yield found
    await found.vault.close()


async def test_what_can_be_written_is_not_in_memory(world: World) -> None:
    await world.vault.put(world.session, kept("one"))
    assert await world.written() == "one"
    assert world.waiting == {}


async def test_what_cannot_be_written_is_there_all_the_same_and_is_written_later(world: World) -> None:
    world.behind.down = True
    for name in ("one", "two"):
        await world.vault.put(world.session, kept(name))
        assert await world.vault.get(world.session) == kept(name)
        assert await world.written() is None
    world.behind.down = False
    await world.until_written("two")
    assert await world.vault.get(world.session) == kept("two")


async def test_the_newest_is_what_remains(world: World) -> None:
    """However slowly the one before is written."""
    world.behind.slow = 0.05
    puts = [asyncio.create_task(world.vault.put(world.session, kept(str(number)))) for number in range(5)]
    await asyncio.sleep(0.01)
    assert await world.vault.get(world.session) == kept("4")
    await asyncio.gather(*puts)
    await world.until_written("4")


async def test_one_whose_caller_goes_away_is_written(world: World) -> None:
    world.behind.slow = 0.05
    put = asyncio.create_task(world.vault.put(world.session, kept("one")))
    await asyncio.sleep(0.01)
    put.cancel()
    await asyncio.gather(put, return_exceptions=True)
    world.behind.slow = 0.0
    await world.until_written("one")


async def test_the_lease_is_not_given_back_before_the_tokens_are_written(world: World) -> None:
    """Or another gateway would use the ones before."""
    other = world.open()
    world.behind.down = True
    assert await world.vault.lease(world.session.handle, 30)
    await world.vault.put(world.session, kept("one"))
    await world.vault.release(world.session.handle)
    assert not await other.lease(world.session.handle, 30)
    world.behind.down = False
    await world.until_written("one")
    await world.vault.release(world.session.handle)
    assert await other.lease(world.session.handle, 30)
    await other.close()


async def test_what_is_dropped_is_not_written(world: World) -> None:
    world.behind.down = True
    await world.vault.put(world.session, kept("one"))
    await world.vault.drop(world.session)
    assert await world.vault.get(world.session) is None
    world.behind.down = False
    await asyncio.sleep(0.1)
    assert await world.written() is None


async def test_what_is_renewed_waits_too_and_is_dropped_as_the_newest(world: World) -> None:
    await world.vault.put(world.session, kept("one"))
    world.behind.down = True
    assert await world.vault.renew(world.session, kept("two"))
    assert await world.written() == "one"
    world.behind.down = False
    await world.until_written("two")
    world.behind.down = True
    assert await world.vault.renew(world.session, kept("three"))
    assert await world.vault.drop(world.session) == kept("three")
    world.behind.down = False
    assert not await world.vault.renew(world.session, kept("four"))
    assert await world.written() is None
    assert world.waiting == {}


async def test_what_is_renewed_before_the_first_was_written_is_no_logout(world: World) -> None:
    world.behind.down = True
    await world.vault.put(world.session, kept("one"))
    world.behind.down = False
    assert await world.vault.renew(world.session, kept("two"))
    await world.until_written("two")


async def test_a_stop_writes_what_waits_and_the_next_has_what_could_not_be(world: World) -> None:
    """As at a reload: memory is shared."""
    world.behind.down = True
    await world.vault.put(world.session, kept("one"))
    await world.vault.close()
    assert list(world.waiting) == [world.session.handle]
    world.behind = world.open()
    world.vault = SteadyVault(world.behind, world.waiting, lambda: world.now)
    assert await world.vault.get(world.session) == kept("one")
    await world.until_written("one")
    world.behind.down = True
    await world.vault.put(world.session, kept("two"))
    world.behind.down = False
    await world.vault.close()
    assert world.waiting == {}
    world.behind = world.open()
    assert await world.written() == "two"
    world.vault = SteadyVault(world.behind, world.waiting, lambda: world.now)


async def test_memory_is_bounded_and_forgets_what_is_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_vault, "MAX_WAITING", 3)
    world.behind.down = True
    sessions = [start_session(os.urandom(16), ALICE, Lifetimes(), remember=False, now=NOW) for _ in range(5)]
    for session in sessions:
        await world.vault.put(session, kept("one"))
    assert list(world.waiting) == [session.handle for session in sessions[2:]]
    world.now = sessions[0].expires

    async def is_empty() -> bool:
        return not world.waiting

    await wait_until(is_empty)
