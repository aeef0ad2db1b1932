"""The contract's part on ending sessions, on listing them, and on several processes that share them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from gateway.core.identity import Identity
from gateway.core.provider import ProviderSession
from gateway.errors import BadToken
from gateway.sessions.store import Opened, SessionStore, can_list
from tests.sessions.contract.world import ALICE, BOB, WAYS_TO_END, StoreTests, World, eventually, ways_to_end

AT_PROVIDER = ProviderSession("sso", "https://sso.example.com", "subject", "sid")


class EndingTests(StoreTests):
    """What was ended stays ended, wherever it is held."""

    @pytest.mark.parametrize("by_summary", [True, False])
    async def test_a_revoked_session_is_over(self, world: World, store: SessionStore, by_summary: bool) -> None:
        """Every token of it, here and after a restart, for who holds it too; other sessions go on."""
        session, kept = world.begin(), await store.save(world.begin())
        held = [await store.save(session)]
        for number in range(1, 5):
            held.append(await store.save(session.touched(world.now + number), held[-1].token))
        tokens = [opened.token for opened in held]
        await store.revoke(session.summary() if by_summary else session)
        assert held[-1].until == 0
        assert store.is_over(held[-1], world.now)
        assert all([await world.is_over(opened) for opened in held])
        assert not await world.is_over(kept)
        assert [token for token in tokens if await world.knows(token)] == []
        assert await world.knows(kept.token)
        await world.restart()
        assert [token for token in tokens if await world.knows(token)] == []
        assert await world.knows(kept.token)

    async def test_a_revoked_session_is_never_saved_again(self, world: World, store: SessionStore) -> None:
        """A renewal that comes late does not bring it back."""
        opened = await store.save(world.begin())
        await store.revoke(opened.session)
        for _ in range(2):
            with pytest.raises(BadToken):
                await store.save(opened.session.touched(world.now + 1), opened.token)
            assert not await world.knows(opened.token)
            store = await world.restart()

    async def test_revoking_twice_or_in_vain(self, world: World, store: SessionStore) -> None:
        """Ending what is over, or was never stored, is no error."""
        opened = await store.save(world.begin())
        await store.revoke(opened.session)
        await store.revoke(opened.session)
        await store.revoke(world.begin())
        await store.revoke(world.begin().summary())
        await store.revoke_user("nobody", world.now)
        assert not await world.knew(opened.token)

    async def test_a_login_ends_the_session_before_it(self, world: World, store: SessionStore) -> None:
        """Replacing gives a new token, and the old one is over for good."""
        old, new = world.begin(), world.begin(BOB)
        before = await store.save(old)
        after = await store.replace(old, new)
        assert after.token != before.token
        assert await world.is_over(before)
        assert not await world.knows(before.token)
        assert await world.knows(after.token)
        assert await world.listed() == []
        assert not await world.knew(before.token)
        assert await world.knows(after.token)

    async def test_a_first_login(self, world: World, store: SessionStore) -> None:
        """Replacing nothing saves."""
        opened = await store.replace(None, world.begin())
        assert await world.knew(opened.token)

    async def test_a_user_is_ended(self, world: World, store: SessionStore) -> None:
        """All sessions up to now, this very moment included, whatever holds them; no others, and no later ones."""
        mine = [await store.save(world.begin()) for _ in range(3)]
        world.now += 100
        mine.append(await store.save(world.begin(remember=True)))
        others = await store.save(world.begin(BOB))
        await store.revoke_user("alice", world.now)
        assert [opened.until for opened in mine] == [0.0] * 4
        world.now += 0.01
        later = await store.save(world.begin())
        for _ in range(2):
            assert [opened for opened in mine if await world.knows(opened.token)] == []
            assert await world.knows(others.token)
            assert await world.knows(later.token)
            assert await world.listed() == ([later.session.handle] if self.lists else [])
            with pytest.raises(BadToken):
                await store.save(mine[0].session.touched(world.now), mine[0].token)
            store = await world.restart()

    @pytest.mark.parametrize("by", ["login", "person"])
    async def test_a_login_at_a_provider_is_ended(self, world: World, store: SessionStore, by: str) -> None:
        """The sessions that bear its mark, up to now, in whatever process; no others, and no later ones."""
        other = await world.another()
        mine = [await store.save(world.begin(login=AT_PROVIDER)) for _ in range(2)]
        second = await store.save(world.begin(login=replace(AT_PROVIDER, sid="another")))
        others = [
            await store.save(world.begin(login=login))
            for login in (None, replace(AT_PROVIDER, provider="another"), replace(AT_PROVIDER, sid="s", subject="t"))
        ]
        held = [await other.load(opened.token, world.now) for opened in mine]
        mark = AT_PROVIDER.marks()[by == "person"]
        assert await store.revoke_logins([mark], world.now) == (2 + (by == "person")) * self.lists

        async def over() -> bool:
            return all([await world.is_over(opened, other) for opened in held])

        assert await eventually(over, other)
        world.now += 0.01
        later = await store.save(world.begin(login=AT_PROVIDER))
        for _ in range(2):
            assert [opened for opened in mine if await world.knows(opened.token)] == []
            assert await world.knows(second.token) is (by == "login")
            assert all([await world.knows(opened.token) for opened in (*others, later)])
            with pytest.raises(BadToken):
                await store.save(mine[0].session.touched(world.now), mine[0].token)
            store = await world.restart()
        assert await store.revoke_logins([mark, AT_PROVIDER.marks()[0]], world.now) == 1 * self.lists
        assert await store.revoke_logins([mark], world.now) == 0
        assert not await world.knew(later.token)

    async def test_everybody_is_ended(self, world: World, store: SessionStore) -> None:
        """All sessions of all users up to now; who logs in again is in again."""
        ended = [await store.save(world.begin(Identity(f"user-{number}"))) for number in range(30)]
        await store.revoke_all(world.now)
        assert [opened.until for opened in ended] == [0.0] * 30
        world.now += 0.01
        later = await store.save(world.begin())
        for _ in range(2):
            assert [opened for opened in ended if await world.knows(opened.token)] == []
            assert await world.knows(later.token)
            assert await world.listed("user-3") == []
            with pytest.raises(BadToken):
                await store.save(ended[0].session.touched(world.now), ended[0].token)
            store = await world.restart()

    async def test_renewal_and_logout_at_once(self, world: World, store: SessionStore) -> None:
        """Of a renewal and a logout at the same time the logout wins, in whichever order they begin."""
        for logout_first in (True, False):
            session = world.begin()
            opened = await store.save(session)
            renewal = store.save(session.touched(world.now + 1), opened.token)
            calls: list[Awaitable[Opened | None]] = [renewal, store.revoke(session)]
            results = await asyncio.gather(*(calls[::-1] if logout_first else calls), return_exceptions=True)
            tokens = [opened.token, *(found.token for found in results if isinstance(found, Opened))]
            assert all(found is None or isinstance(found, Opened | BadToken) for found in results)
            assert [token for token in tokens if await world.knows(token)] == []
            assert [token for token in tokens if await world.knew(token)] == []
            assert world.store is not None
            store = world.store

    async def test_it_works(self, store: SessionStore) -> None:
        """A store that works says so by saying nothing, and says truly whether it can list sessions."""
        await store.check()
        assert can_list(store) is self.lists

    # Lists

    async def test_the_list_of_sessions(self, world: World, store: SessionStore) -> None:
        """It holds that user's sessions which are not over, newest first, with what their owner has to know."""
        ended, first = world.begin(), world.begin(address="192.0.2.1", device="Firefox on Windows")
        for session in (ended, first, world.begin(BOB)):
            await store.save(session)
        await store.revoke(ended)
        world.now += 10
        second = world.begin(remember=True)
        await store.save(second)
        found = await store.list("alice")
        for _ in range(2):
            assert [summary.handle for summary in found] == ([second.handle, first.handle] if self.lists else [])
            assert await store.list("nobody") == []
            assert await store.list("") == []
            store = await world.restart()
            found = await store.list("alice")
        for summary, session in zip(found, (second, first), strict=False):
            assert summary.created == pytest.approx(session.created, abs=0.002)
            assert summary.seen == pytest.approx(session.seen, abs=0.002)
            assert summary.expires == pytest.approx(session.expires, abs=0.002)
            assert (summary.user, summary.remembered) == ("alice", session.remembered)
            assert (summary.address, summary.device) == (session.address, session.device)

    async def test_what_has_run_out_is_in_no_list(self, world: World, store: SessionStore) -> None:
        """A session leaves the list when it ends by itself."""
        opened = await store.save(world.begin())
        await store.save(world.begin(remember=True))
        world.now += world.lifetimes.idle - 1
        await store.save(opened.session.touched(world.now), opened.token)
        world.now += world.lifetimes.idle - 1
        assert len(await store.list("alice")) == 2 * self.lists
        world.now += 2
        assert len(await store.list("alice")) == 1 * self.lists
        world.now += 31 * 86400
        assert await store.list("alice") == []

    async def test_a_list_opens_nothing(self, world: World, store: SessionStore) -> None:
        """Nothing in it is a token, or part of one, nor the session's id."""
        opened = await store.save(world.begin())
        for summary in await store.list("alice"):
            text = repr(summary)
            assert opened.session.id.hex() not in text
            assert not any(opened.token[start : start + 12] in text for start in range(3, len(opened.token) - 12))
            with pytest.raises(BadToken):
                await store.load(summary.handle, world.now)

    # Several processes

    async def test_what_one_process_saves_opens_in_another(self, world: World, store: SessionStore) -> None:
        """A browser is served by whichever process takes its connection; what was renewed elsewhere lives on."""
        other = await world.another()
        opened = await store.save(world.begin())
        assert await world.knows(opened.token, other)
        world.now += world.lifetimes.idle - 1
        renewed = await other.save(opened.session.touched(world.now), opened.token)
        world.now += world.lifetimes.idle - 1
        assert await world.knows(renewed.token)
        assert (await store.load(renewed.token, world.now)).until > world.now

    @pytest.mark.parametrize("ending", WAYS_TO_END)
    async def test_what_one_process_ends_is_over_in_the_others(
        self, world: World, store: SessionStore, ending: str
    ) -> None:
        """It is out of their memory, open connections see it, and nothing brings it back there."""
        other = await world.another()
        opened = await store.save(world.begin(ALICE))
        held = await other.load(opened.token, world.now)
        kept = await store.save(world.begin(BOB))
        assert await world.knows(kept.token, other)
        await ways_to_end(store, opened, world)[ending]()

        async def over() -> bool:
            return not await world.knows(opened.token, other) and await world.is_over(held, other)

        assert await eventually(over, other)
        with pytest.raises(BadToken):
            await other.save(held.session.touched(world.now), held.token)
        assert not await world.knows(opened.token, other)
        assert await world.knows(kept.token, other) is (ending != "everybody")
