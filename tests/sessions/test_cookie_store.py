"""The sealed-cookie store keeps the contract, and what is particular to it."""

from __future__ import annotations

import os

import pytest

from gateway.core.session import Lifetimes, Session
from gateway.errors import StoreUnavailable
from gateway.sessions.cookie_store import PURPOSE, CookieStore
from gateway.sessions.payload import dump_session
from gateway.sessions.recent import RecentSessions
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import SessionStore
from tests.sessions.contract import ALICE, BOB, FileTests, SessionStoreContract, World


class TestCookieStore(FileTests, SessionStoreContract):
    """The whole contract."""

    lists = False
    file_name = "revocations.sqlite"

    def open(self, world: World, *, recent: RecentSessions | None = None, others: list[SessionStore]) -> SessionStore:
        async def announce() -> None:
            for other in others:
                await other.refresh()

        ledger = Revocations(world.directory / self.file_name, 2_592_000.0, world.now)
        keys = KeyRing(world.keys, os.urandom)
        return CookieStore(keys, ledger, recent or RecentSessions(1000), world.lifetimes, world.clock, announce)

    async def test_a_token_needs_no_state_but_the_ledger(self, store: SessionStore, world: World) -> None:
        """A token opens on another host that has the key: the session travels in it."""
        token = (await store.save(world.begin())).token
        elsewhere = world.directory / "elsewhere"
        elsewhere.mkdir()
        other = World(elsewhere, self.start)
        assert await other.knew(token)
        await other.close()

    async def test_a_token_tells_nothing(self, store: SessionStore, world: World) -> None:
        """Neither name nor groups can be read from it, and two tokens of one session have nothing in common."""
        session = world.begin()
        one, two = (await store.save(session)).token, (await store.save(session)).token
        assert one[10:] != two[10:]
        assert not any(word in one for word in ("alice", "staff", "example"))

    async def test_a_failing_ledger_never_lets_in(self, store: SessionStore, world: World) -> None:
        """A logout that the disk did not take is told, and the session is refused here all the same."""
        session, old = world.begin(), world.begin(BOB)
        token = (await store.save(session)).token
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.revoke(session)
        assert not await world.knows(token)
        with pytest.raises(StoreUnavailable):
            await store.replace(old, world.begin())

    @pytest.mark.parametrize("lifetimes", [Lifetimes(), Lifetimes(60, 120, None)])
    async def test_the_end_is_the_nearest(self, store: SessionStore, world: World, lifetimes: Lifetimes) -> None:
        """An opened session's end is never beyond what it says itself, nor beyond the lifetimes of today."""
        token = (await store.save(world.begin(ALICE))).token
        world.lifetimes = lifetimes
        store = await world.restart()
        opened = await store.load(token, world.now)
        assert opened.until <= min(opened.session.ends(), opened.session.created + lifetimes.absolute)

    async def test_what_never_was_stored_can_be_ended(self, store: SessionStore, world: World) -> None:
        """An ending holds for every token that is yet to come."""
        session = world.begin()
        await store.revoke(session)
        assert not await world.knows(_sealed_elsewhere(world, session))


def _sealed_elsewhere(world: World, session: Session) -> str:
    """Return a token of the session from a gateway that has not heard of its end."""
    return KeyRing(world.keys, os.urandom).seal(PURPOSE, dump_session(session))
