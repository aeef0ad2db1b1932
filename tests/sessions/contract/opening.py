"""The contract's part on opening sessions, on their lifetimes, and on keys."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.identity import Identity
from gateway.core.session import Lifetimes
from gateway.errors import BadToken
from gateway.sessions.store import SessionStore
from tests.sessions.contract.world import NEW_KEY, OLD_KEY, StoreTests, World, same


class OpeningTests(StoreTests):
    """What is saved opens, to the letter, by its token alone, and for as long as it may."""

    async def test_what_is_saved_is_known(self, world: World, store: SessionStore) -> None:
        """A saved session is in memory and opens by its token."""
        session = world.begin()
        opened = await store.save(session)
        assert store.peek(opened.token) is opened
        assert same((await store.load(opened.token, world.now)).session, session)
        assert opened.until == pytest.approx(session.ends(), abs=0.002)

    @pytest.mark.parametrize("remember", [True, False])
    async def test_a_session_survives_a_restart(self, world: World, store: SessionStore, remember: bool) -> None:
        """Everything about it comes back, to the letter."""
        session = world.begin(remember=remember, address="2001:db8::1", device="Firefox on Plan 9")
        token = (await store.save(session)).token
        store = await world.restart()
        assert store.peek(token) is None
        opened = await store.load(token, world.now)
        assert same(opened.session, session)
        assert store.peek(token) is opened

    async def test_opened_twice_it_is_one(self, world: World, store: SessionStore) -> None:
        """Whoever opens a session that is in memory gets what is there, also when two do at the same time."""
        token = (await store.save(world.begin())).token
        store = await world.restart()
        one, two = await asyncio.gather(store.load(token, world.now), store.load(token, world.now))
        assert one is two
        assert await store.load(token, world.now) is one
        assert store.peek(token) is one

    @pytest.mark.parametrize(
        "token",
        ["", "x", "v1.", "s1.", "v1." + "A" * 80, "s2." + "A" * 96, "v2.abc", "a.b.c", "\xe4", "x" * 9000, "0" * 32],
    )
    async def test_a_token_that_was_never_given(self, world: World, store: SessionStore, token: str) -> None:
        """It is a BadToken, not another error, and not in memory."""
        await store.save(world.begin())
        assert store.peek(token) is None
        with pytest.raises(BadToken):
            await store.load(token, world.now)

    async def test_no_character_of_a_token_can_be_changed(self, world: World, store: SessionStore) -> None:
        """Each is bound; neither a shorter nor a longer token opens."""
        token = (await store.save(world.begin())).token
        store = await world.restart()
        changed = [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(len(token))]
        for other in (*changed, token[:-1], token + "A", token + "=", " " + token, token.swapcase()):
            with pytest.raises(BadToken):
                await store.load(other, world.now)
        assert await world.knows(token)

    async def test_tokens_are_not_made_of_each_other(self, world: World, store: SessionStore) -> None:
        """The beginning of one token with the rest of another, cut anywhere, opens nothing."""
        one, two = (await store.save(world.begin())).token, (await store.save(world.begin(remember=True))).token
        store = await world.restart()
        mixed = {one[:cut] + two[cut:] for cut in range(1, min(len(one), len(two)))} - {one, two}
        for token in mixed:
            with pytest.raises(BadToken):
                await store.load(token, world.now)
        assert await world.knows(one)

    async def test_sessions_are_not_mixed_up(self, world: World, store: SessionStore) -> None:
        """Of many sessions, opened at the same time, each token opens its own."""
        sessions = [world.begin(Identity(f"user-{number}")) for number in range(200)]
        tokens = [opened.token for opened in await asyncio.gather(*map(store.save, sessions))]
        assert len(set(tokens)) == len(tokens)
        store = await world.restart()
        found = await asyncio.gather(*(store.load(token, world.now) for token in tokens))
        assert [opened.session.identity.user for opened in found] == [f"user-{number}" for number in range(200)]

    # Lifetimes

    async def test_the_idle_end(self, world: World, store: SessionStore) -> None:
        """A session that nobody used ends after the idle time, in memory and after a restart."""
        opened = await store.save(world.begin())
        world.now += world.lifetimes.idle - 1
        assert await world.knows(opened.token)
        assert not await world.is_over(opened)
        world.now += 1.01
        assert await world.is_over(opened)
        assert not await world.knows(opened.token)
        assert not await world.knew(opened.token)

    async def test_the_absolute_end(self, world: World, store: SessionStore) -> None:
        """However often it is used, a session ends at its absolute end."""
        session = world.begin()
        opened = await store.save(session)
        while world.now < session.expires - world.lifetimes.idle:
            world.now += world.lifetimes.idle / 2
            opened = await store.save(opened.session.touched(world.now), opened.token)
            assert await world.knows(opened.token)
        world.now = session.expires + 0.01
        assert await world.is_over(opened)
        assert not await world.knows(opened.token)
        assert not await world.knew(opened.token)

    async def test_a_remembered_session(self, world: World, store: SessionStore) -> None:
        """It needs no use to go on, is never due for renewal, and ends all the same."""
        opened = await store.save(world.begin(remember=True))
        world.now += 20 * 86400
        assert opened.renew_at > world.now
        assert await world.knew(opened.token)
        world.now += 10 * 86400 + 0.01
        assert not await world.knew(opened.token)

    async def test_renewal(self, world: World, store: SessionStore) -> None:
        """A session is due some time after it was written; written anew it lives on, and its end stays."""
        session = world.begin()
        opened = await store.save(session)
        assert world.now < opened.renew_at <= world.now + world.lifetimes.renewal_interval()
        world.now += world.lifetimes.idle - 1
        renewed = await store.save(opened.session.touched(world.now), opened.token)
        assert store.peek(renewed.token) is renewed
        world.now += world.lifetimes.idle - 1
        store = await world.restart()
        found = (await store.load(renewed.token, world.now)).session
        assert found.expires == pytest.approx(session.expires, abs=0.002)
        assert found.created <= session.created

    async def test_shorter_lifetimes_hold_for_old_sessions(self, world: World, store: SessionStore) -> None:
        """A restart with shorter times ends what is older than they allow."""
        token = (await store.save(world.begin())).token
        remembered = (await store.save(world.begin(remember=True))).token
        world.lifetimes = Lifetimes(60.0, 600.0, None)
        world.now += 61
        assert not await world.knew(token)
        assert not await world.knows(remembered)
        assert await world.listed() == []

    async def test_a_session_from_the_future(self, world: World, store: SessionStore) -> None:
        """A clock that was set back far does not make sessions that live longer; a little is leeway."""
        token = (await store.save(world.begin())).token
        world.now -= 59
        assert await world.knew(token)
        world.now -= 2
        assert not await world.knew(token)

    # Keys

    @pytest.mark.parametrize("remember", [True, False])
    async def test_keys_are_rotated(self, world: World, store: SessionStore, remember: bool) -> None:
        """A new first key logs nobody out: old tokens open, are due for renewal, and then need the old no more."""
        session = world.begin(remember=remember)
        token = (await store.save(session)).token
        world.keys = [NEW_KEY, OLD_KEY]
        store = await world.restart()
        opened = await store.load(token, world.now)
        assert same(opened.session, session)
        assert opened.renew_at <= world.now
        renewed = await store.save(opened.session.touched(world.now), opened.token)
        assert renewed.renew_at > world.now
        world.keys = [NEW_KEY]
        assert await world.knew(renewed.token)
        assert await world.listed() == ([session.handle] if self.lists else [])

    async def test_a_removed_key_is_a_clean_logout(self, world: World, store: SessionStore) -> None:
        """Tokens of a key that is gone are bad, their sessions in no list, and nothing else happens."""
        token = (await store.save(world.begin())).token
        world.keys = [NEW_KEY]
        assert not await world.knew(token)
        assert await world.listed() == []
        assert world.store is not None
        opened = await world.store.save(world.begin())
        assert await world.knows(opened.token)
