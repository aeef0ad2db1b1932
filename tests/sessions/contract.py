"""What every session store promises, as a suite that each store's tests derive from. Time is moved, never slept.

A store's own test file has a class that derives from `SessionStoreContract` and says how one is started
on a world's lasting state; "restart" is then a second one on the same state, with an empty memory.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from gateway.core.identity import Identity
from gateway.core.session import Lifetimes, Session, start_session
from gateway.errors import BadToken
from gateway.sessions.seal import KEY_BYTES
from gateway.sessions.store import Opened, SessionStore

ALICE = Identity("alice", "Alice Ä 😀", "alice@example.com", ("staff", "wiki, all"), claims={"team": "x", "level": 3})
BOB = Identity("bob")
OLD_KEY, NEW_KEY = b"o" * KEY_BYTES, b"n" * KEY_BYTES


@dataclass
class World:
    """Everything around a store: its lasting state, the keys, and the time."""

    directory: Path
    start: Callable[[World], Awaitable[SessionStore]]
    now: float = 1_700_000_000.0007
    keys: list[bytes] = field(default_factory=lambda: [OLD_KEY])
    lifetimes: Lifetimes = field(default_factory=lambda: Lifetimes(1800.0, 43_200.0, 2_592_000.0))
    store: SessionStore | None = None
    _ids: count[int] = field(default_factory=count)

    def clock(self) -> float:
        """Return the time, which only tests move."""
        return self.now

    def begin(self, identity: Identity = ALICE, *, remember: bool = False) -> Session:
        """Return a session that begins now."""
        number = next(self._ids).to_bytes(16, "big")
        return start_session(number, identity, self.lifetimes, remember=remember, now=self.now)

    async def restart(self) -> SessionStore:
        """Return a store with an empty memory on the same state."""
        if self.store is not None:
            await self.store.close()
        self.store = await self.start(self)
        return self.store

    async def knows(self, token: str) -> bool:
        """Tell whether a token opens, in memory or not."""
        store = self.store
        assert store is not None
        peeked = store.peek(token)
        if peeked is not None and peeked.until > self.now:
            return True
        try:
            await store.load(token, self.now)
        except BadToken:
            return False
        return True

    async def knew(self, token: str) -> bool:
        """Tell whether a token opens after a restart."""
        await self.restart()
        return await self.knows(token)


def same(found: Session, session: Session) -> bool:
    """Compare sessions; a store may cut a time to the millisecond, but never move the beginning forward."""
    return (
        (found.id, found.identity, found.idle, found.remembered)
        == (session.id, session.identity, session.idle, session.remembered)
        and session.created - 0.002 < found.created <= session.created
        and session.seen - 0.002 < found.seen <= session.seen
        and abs(found.expires - session.expires) < 0.002
    )


class SessionStoreContract(ABC):
    """The suite."""

    @abstractmethod
    async def start(self, world: World) -> SessionStore:
        """Return a store on the world's state, with an empty memory."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        world = World(tmp_path, self.start)
        await world.restart()
        yield world
        assert world.store is not None
        await world.store.close()

    @pytest.fixture
    def store(self, world: World) -> SessionStore:
        assert world.store is not None
        return world.store

    # Opening

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
        session = world.begin(remember=remember)
        token = (await store.save(session)).token
        store = await world.restart()
        assert store.peek(token) is None
        opened = await store.load(token, world.now)
        assert same(opened.session, session)
        assert store.peek(token) is opened

    @pytest.mark.parametrize(
        "token", ["", "x", "v1.", "v1." + "A" * 80, "v2.abc", "a.b.c", "\xe4", "x" * 9000, "0" * 32]
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
        assert not store.is_over(opened, world.now)
        world.now += 1.01
        assert store.is_over(opened, world.now)
        assert not await world.knows(opened.token)
        assert not await world.knew(opened.token)

    async def test_the_absolute_end(self, world: World, store: SessionStore) -> None:
        """However often it is used, a session ends at its absolute end."""
        session, opened = world.begin(), None
        while world.now < session.expires - world.lifetimes.idle:
            world.now += world.lifetimes.idle / 2
            session = session.touched(world.now)
            opened = await store.save(session)
            assert await world.knows(opened.token)
        assert opened is not None
        world.now = session.expires + 0.01
        assert store.is_over(opened, world.now)
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
        renewed = await store.save(opened.session.touched(world.now))
        world.now += world.lifetimes.idle - 1
        assert await world.knew(renewed.token)
        assert world.store is not None
        found = (await world.store.load(renewed.token, world.now)).session
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

    # The end

    async def test_a_revoked_session_is_over(self, world: World, store: SessionStore) -> None:
        """Every token of it, here and after a restart, for who holds it too; other sessions go on."""
        session, other = world.begin(), world.begin()
        tokens = [(await store.save(session.touched(world.now + number))).token for number in range(5)]
        held = store.peek(tokens[0]) or await store.load(tokens[0], world.now)
        kept = await store.save(other)
        await store.revoke(session)
        assert store.is_over(held, world.now)
        assert not store.is_over(kept, world.now)
        assert [token for token in tokens if await world.knows(token)] == []
        assert await world.knows(kept.token)
        await world.restart()
        assert [token for token in tokens if await world.knows(token)] == []
        assert await world.knows(kept.token)

    async def test_a_revoked_session_is_never_saved_again(self, world: World, store: SessionStore) -> None:
        """A renewal that comes late does not bring it back."""
        session = world.begin()
        await store.save(session)
        await store.revoke(session)
        for _ in range(2):
            with pytest.raises(BadToken):
                await store.save(session.touched(world.now + 1))
            store = await world.restart()

    async def test_revoking_twice_or_in_vain(self, world: World, store: SessionStore) -> None:
        """Ending what is over, or was never stored, is no error."""
        session = world.begin()
        await store.revoke(session)
        await store.revoke(session)
        with pytest.raises(BadToken):
            await store.save(session)

    async def test_a_login_ends_the_session_before_it(self, world: World, store: SessionStore) -> None:
        """Replacing gives a new token, and the old one is over for good."""
        old, new = world.begin(), world.begin(BOB)
        before = await store.save(old)
        after = await store.replace(old, new)
        assert after.token != before.token
        assert store.is_over(before, world.now)
        assert not await world.knows(before.token)
        assert await world.knows(after.token)
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
        mine.append(await store.save(world.begin()))
        others = await store.save(world.begin(BOB))
        await store.revoke_user("alice", world.now)
        world.now += 0.01
        later = await store.save(world.begin())
        for _ in range(2):
            assert [opened for opened in mine if await world.knows(opened.token)] == []
            assert await world.knows(others.token)
            assert await world.knows(later.token)
            store = await world.restart()
            assert all(store.is_over(opened, world.now) for opened in mine)
            with pytest.raises(BadToken):
                await store.save(mine[0].session.touched(world.now))

    async def test_the_list_of_sessions(self, world: World, store: SessionStore) -> None:
        """It holds only sessions of that user which are not over, so far as the store knows any."""
        ended, running = world.begin(), world.begin()
        for session in (ended, running, world.begin(BOB)):
            await store.save(session)
        await store.revoke(ended)
        assert {session.id for session in await store.list("alice")} <= {running.id}
        assert await store.list("nobody") == []
        world.now = running.expires + 1
        assert await store.list("alice") == []

    # Keys

    async def test_keys_are_rotated(self, world: World, store: SessionStore) -> None:
        """A new first key logs nobody out: old tokens open, are due for renewal, and then need the old no more."""
        session = world.begin()
        token = (await store.save(session)).token
        world.keys = [NEW_KEY, OLD_KEY]
        store = await world.restart()
        opened = await store.load(token, world.now)
        assert same(opened.session, session)
        assert opened.renew_at <= world.now
        renewed = await store.save(opened.session.touched(world.now))
        assert renewed.renew_at > world.now
        world.keys = [NEW_KEY]
        assert await world.knew(renewed.token)

    async def test_a_removed_key_is_a_clean_logout(self, world: World, store: SessionStore) -> None:
        """Tokens of a key that is gone are bad, and nothing else happens."""
        token = (await store.save(world.begin())).token
        world.keys = [NEW_KEY]
        assert not await world.knew(token)
        assert world.store is not None
        opened = await world.store.save(world.begin())
        assert await world.knows(opened.token)

    # Faults

    async def test_cancelled_calls_leave_the_store_sound(self, world: World, store: SessionStore) -> None:
        """Whatever call is given up at whatever await, the next ones work, and what began to end ends."""
        session, kept = world.begin(), await store.save(world.begin(BOB))
        calls: list[Callable[[], Coroutine[object, object, object]]] = [
            lambda: store.load(kept.token, world.now),
            lambda: store.save(session),
            lambda: store.replace(session, world.begin()),
            lambda: store.revoke(world.begin()),
            lambda: store.revoke_user("nobody", world.now),
            lambda: store.list("alice"),
            store.check,
        ]
        for call in calls:
            for steps in range(6):
                await _cancel_after(call(), steps)
                assert (await store.load(kept.token, world.now)).session.identity == BOB
        await store.check()
        assert await world.knew(kept.token)

    async def test_a_cancelled_logout_is_a_logout(self, world: World, store: SessionStore) -> None:
        """Once a session has begun to be ended, it is refused here, though the caller went away."""
        for steps in range(1, 6):
            session = world.begin()
            opened = await store.save(session)
            await _cancel_after(store.revoke(session), steps)
            assert store.is_over(opened, world.now)
            assert not await world.knows(opened.token)
            with pytest.raises(BadToken):
                await store.save(session)

    async def test_renewal_and_logout_at_once(self, world: World, store: SessionStore) -> None:
        """Of a renewal and a logout at the same time the logout wins, in whichever order they begin."""
        for logout_first in (True, False):
            session = world.begin()
            opened = await store.save(session)
            calls: list[Awaitable[Opened | None]] = [store.save(session.touched(world.now + 1)), store.revoke(session)]
            results = await asyncio.gather(*(calls[::-1] if logout_first else calls), return_exceptions=True)
            tokens = [opened.token, *(found.token for found in results if isinstance(found, Opened))]
            assert all(found is None or isinstance(found, Opened | BadToken) for found in results)
            assert [token for token in tokens if await world.knows(token)] == []

    async def test_it_works(self, store: SessionStore) -> None:
        """A store that works says so by saying nothing."""
        await store.check()


async def _cancel_after(call: Coroutine[object, object, object], steps: int) -> None:
    """Begin a call and give it up after some steps of the loop; that it had ended before is as good."""
    task = asyncio.ensure_future(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
