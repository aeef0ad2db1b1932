"""The contract's part on tokens: whose they are, for which host, and what a later login leaves of them."""

from __future__ import annotations

import pytest

from gateway.core.provider import ProviderSession
from gateway.core.session import Session
from gateway.errors import BadToken
from gateway.sessions.store import Opened, SessionStore
from tests.sessions.contract.world import BOB, NEW_KEY, OLD_KEY, StoreTests, World, eventually

HERE, THERE = "wiki.example.org", "acme.tenants.example.org"


async def opens(store: SessionStore, token: str, world: World, host: str = "", *, streaming: bool = False) -> bool:
    """Tell whether a token opens on a host."""
    try:
        await store.load(token, world.now, host=host, streaming=streaming)
    except BadToken:
        return False
    return True


class TokenTests(StoreTests):
    """A token is ours, for one host or for all, and its place may be taken by that of a later login."""

    # Whose it is

    async def test_what_is_ours(self, world: World, store: SessionStore) -> None:
        """Whatever became of the session, in every process, and under every key of the ring."""
        opened = await store.save(world.begin())
        bound = store.token_for(opened, HERE)
        for _ in range(2):
            assert store.is_ours(opened.token, "")
            assert store.is_ours(opened.token, HERE)
            assert store.is_ours(bound.token, HERE)
            assert not store.is_ours(bound.token, THERE)
            assert not store.is_ours(bound.token, "")
            await store.revoke(opened.session)
            world.now += 100 * 86400
            world.keys = [NEW_KEY, OLD_KEY]
            store = await world.restart()
        world.keys = [NEW_KEY]
        store = await world.restart()
        assert not store.is_ours(opened.token, "")

    async def test_what_is_not_ours(self, world: World, store: SessionStore) -> None:
        """Neither what others made, nor ours with a character changed; nothing raises."""
        token = (await store.save(world.begin())).token
        changed = [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(len(token))]
        odd = [
            "",
            "x",
            "v1.",
            "s2.",
            "s2." + "A" * 96,
            "v1." + "A" * 96,
            "s1." + "A" * 64,
            "\xe4",
            "\ud800",
            "x" * 9000,
        ]
        for other in (*changed, *odd, token[:-1], token + "A", token + "="):
            assert not store.is_ours(other, "")
            assert not store.is_ours(other, HERE)

    async def test_an_old_key_is_left_at_the_next_renewal(self, world: World, store: SessionStore) -> None:
        """A token under it is due at once, and what comes of that is ours when the old key is gone."""
        opened = await store.save(world.begin(), host=HERE)
        world.keys = [NEW_KEY, OLD_KEY]
        store = await world.restart()
        found = await store.load(opened.token, world.now, host=HERE)
        assert found.renew_at <= world.now
        renewed = await store.save(found.session.touched(world.now), found.token, host=found.host)
        assert renewed.token != opened.token
        assert renewed.renew_at > world.now
        world.keys = [NEW_KEY]
        store = await world.restart()
        assert await opens(store, renewed.token, world, HERE)
        assert not await opens(store, opened.token, world, HERE)

    # For which host

    async def test_a_token_for_one_host(self, world: World, store: SessionStore) -> None:
        """It opens there and nowhere else, renewed too, while the one that it came of opens everywhere."""
        opened = await store.save(world.begin())
        bound = store.token_for(opened, HERE)
        assert (opened.host, bound.host) == ("", HERE)
        assert bound.session == opened.session
        for _ in range(2):
            found = await store.load(bound.token, world.now, host=HERE)
            assert (found.host, found.session.id) == (HERE, opened.session.id)
            for host in (THERE, "", "x" + HERE, HERE + "."):
                assert not await opens(store, bound.token, world, host)
            for host in (HERE, THERE, ""):
                assert (await store.load(opened.token, world.now, host=host)).host == ""
            store = await world.restart()
        renewed = await store.save(bound.session.touched(world.now), bound.token, host=HERE)
        assert renewed.host == HERE
        assert not await opens(store, renewed.token, world, THERE)
        assert await opens(store, renewed.token, world, HERE)

    async def test_a_session_that_begins_on_one_host(self, world: World, store: SessionStore) -> None:
        """Its token is for that host from the start; so is one that replaces another."""
        first = await store.save(world.begin(), host=HERE)
        second = await store.replace(first.session, world.begin(BOB), host=THERE)
        assert (first.host, second.host) == (HERE, THERE)
        store = await world.restart()
        assert not await opens(store, first.token, world, HERE)
        assert [await opens(store, second.token, world, host) for host in (HERE, "", THERE)] == [False, False, True]
        with pytest.raises(BadToken):
            await store.save(second.session.touched(world.now), second.token, host=HERE)

    async def test_the_end_of_a_session_ends_all_its_tokens(self, world: World, store: SessionStore) -> None:
        """Whichever host they are for, in every process."""
        opened = await store.save(world.begin())
        tokens = {host: store.token_for(opened, host).token for host in (HERE, THERE)}
        other = await world.another()
        held = [await other.load(token, world.now, host=host) for host, token in tokens.items()]
        await store.revoke(held[0].session)

        async def over() -> bool:
            known = [await opens(other, token, world, host) for host, token in tokens.items()]
            return not any(known) and not await opens(other, opened.token, world)

        assert await eventually(over, other)
        assert [one for one in held if not await world.is_over(one, other)] == []

    # What a later login of the same user leaves of them

    async def _later(
        self, world: World, store: SessionStore, login: ProviderSession | None = None
    ) -> tuple[Opened, Opened, Opened]:
        """Return a login whose token another one has taken, its token for another host, and the other login."""
        old = await store.save(world.begin(login=login))
        bound = store.token_for(old, HERE)
        world.now += 1
        new = world.begin()
        await store.supersede(old, new)
        return old, bound, await store.save(new)

    async def test_the_token_opens_nothing_any_more(self, world: World, store: SessionStore) -> None:
        """In no process, not after a restart, and not when it is renewed; the session goes on for its other tokens."""
        other = await world.another()
        old = await store.save(world.begin())
        bound, held = store.token_for(old, HERE), await other.load(old.token, world.now)
        new = world.begin()
        await store.supersede(old, new)
        assert store.peek(old.token) is None
        assert not await opens(store, old.token, world)
        fresh = await store.save(new)

        async def known() -> bool:
            return other.peek(held.token) is None and not await opens(other, held.token, world)

        assert await eventually(known, other)
        world.now += world.lifetimes.idle / 2
        renewed = await other.save(held.session.touched(world.now), held.token)
        for each in (store, other, await world.another()):
            assert not await opens(each, old.token, world)
            assert not await opens(each, renewed.token, world)
            assert each.peek(renewed.token) is None
            assert await opens(each, fresh.token, world)
            found = await each.load(bound.token, world.now, host=HERE)
            assert found.session.created == pytest.approx(old.session.created, abs=0.002)
            assert found.session.expires == pytest.approx(old.session.expires, abs=0.002)

    async def test_what_is_open_under_it_goes_on(self, world: World, store: SessionStore) -> None:
        """In the process that had it open and in any other, until its session ends."""
        other = await world.another()
        old = await store.save(world.begin())
        held = await other.load(old.token, world.now)
        new = world.begin()
        await store.supersede(old, new)
        await store.save(new)
        for each in (store, other):
            await each.refresh()
            found = await each.load(old.token, world.now, streaming=True)
            assert found.closed
            assert not each.is_over(found, world.now)
            assert each.peek(old.token) is None
            assert await each.load(old.token, world.now, streaming=True) is found
        assert not other.is_over(held, world.now)
        world.now += world.lifetimes.idle + 1
        for each in (store, other):
            assert not await opens(each, old.token, world, streaming=True)

    async def test_it_can_be_given_again(self, world: World, store: SessionStore) -> None:
        """A closed token is closed by itself: another one of the same session for the same host opens."""
        opened = await store.save(world.begin())
        first = store.token_for(opened, HERE)
        await store.supersede(first, world.begin())
        second = store.token_for(opened, HERE)
        for _ in range(2):
            assert not await opens(store, first.token, world, HERE)
            assert await opens(store, second.token, world, HERE)
            store = await world.restart()

    @pytest.mark.parametrize("ended", ["old", "new", "summary", "marks", "user", "replaced"])
    async def test_who_ends_one_ends_both(self, world: World, store: SessionStore, ended: str) -> None:
        """By logout, from a list, at the provider, or by another user's login: with all that is open, everywhere."""
        login = ProviderSession("sso", "https://sso", "alice", sid="1")
        old, bound, new = await self._later(world, store, login)
        world.now += 1
        third = world.begin()
        await store.supersede(new, third)
        last = await store.save(third)
        kept = await store.save(world.begin())
        other = await world.another()
        held = await other.load(old.token, world.now, streaming=True)
        ends: dict[str, Session] = {"old": old.session, "new": new.session}
        if ended == "summary":
            await store.revoke(last.session.summary())
        elif ended == "marks":
            await store.revoke_logins(login.marks()[:1], world.now)
        elif ended == "user":
            await store.revoke_user("alice", world.now)
        elif ended == "replaced":
            await store.replace(last.session, world.begin(BOB))
        else:
            await store.revoke(ends[ended])

        async def over() -> bool:
            open_ones = [await opens(other, old.token, world, streaming=True), await opens(other, last.token, world)]
            return not any([*open_ones, await opens(other, bound.token, world, HERE)])

        assert await eventually(over, other)
        assert held.until == 0 or held.doubtful or other.is_over(held, world.now)
        for each in (store, await world.another()):
            assert not await opens(each, old.token, world, streaming=True)
            assert not await opens(each, bound.token, world, HERE)
            assert not await opens(each, last.token, world)
            assert await opens(each, kept.token, world) is (ended != "user")

    async def test_one_can_be_ended_alone(self, world: World, store: SessionStore) -> None:
        """As when a provider says that it is over; or all but the one that somebody sits at."""
        old, bound, new = await self._later(world, store)
        await store.revoke(old.session, alone=True)
        assert not await opens(store, bound.token, world, HERE)
        assert await world.knew(new.token)
        assert world.store is not None
        old, bound, new = await self._later(world, world.store)
        await world.store.revoke(old.session, spare=new.session.handle)
        assert not await opens(world.store, bound.token, world, HERE)
        assert await world.knew(new.token)

    async def test_both_are_in_the_list(self, world: World, store: SessionStore) -> None:
        """Each as long as it goes on, with its own beginning."""
        old, _, new = await self._later(world, store)
        assert await world.listed() == ([new.session.handle, old.session.handle] if self.lists else [])
