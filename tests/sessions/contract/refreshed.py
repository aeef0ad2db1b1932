"""The contract's part on sessions that began at an identity provider, and are told anew by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.provider import ProviderSession
from gateway.sessions.store import SessionStore
from tests.sessions.contract.world import ALICE, StoreTests, World

LIFE = 100.0


def told(now: float) -> ProviderSession:
    """Return a login whose provider was asked just now."""
    return ProviderSession("sso", "https://sso", "alice", access_expires=now + LIFE, refresh_at=now + 0.8 * LIFE)


class RefreshedTests(StoreTests):
    """Each process knows when the provider is to be asked again, and takes what was told later for true."""

    async def test_when_to_ask_again_comes_with_the_session(self, world: World, store: SessionStore) -> None:
        """As it was saved, and as it is opened; never for one of which nothing can be refreshed."""
        forever = replace(told(0), access_expires=None, refresh_at=None)
        for login, at in ((told(world.now), world.now + 0.8 * LIFE), (forever, float("inf")), (None, float("inf"))):
            opened = await store.save(world.begin(login=login))
            assert opened.refresh_at == pytest.approx(at)
            opened = await (await world.another()).load(opened.token, world.now)
            assert opened.refresh_at == pytest.approx(at)

    async def test_what_is_told_later_is_what_another_process_opens(self, world: World, store: SessionStore) -> None:
        """Though the session was in its memory, and does not last any longer than before."""
        opened = await store.save(world.begin(login=told(world.now)))
        other = await world.another()
        held = await other.load(opened.token, world.now)
        world.now += LIFE
        later = replace(opened.session, identity=replace(ALICE, groups=("guests",)), login=told(world.now))
        saved = await store.save(later, opened.token)
        held.doubtful = True
        found = await other.load(saved.token, world.now)
        assert found.session.identity.groups == ("guests",)
        assert found.refresh_at == pytest.approx(saved.refresh_at)
        assert found.told_later_than(held)
        assert other.peek(saved.token) is found
