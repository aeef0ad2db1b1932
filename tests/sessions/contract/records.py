"""The contract of stores with records: what lies in them opens for nobody but the cookie it was made for."""

from __future__ import annotations

from abc import abstractmethod

import pytest

from gateway.errors import BadToken
from gateway.sessions.store import SessionStore
from tests.sessions.contract.world import BOB, StoreTests, World


class RecordTests(StoreTests):
    """A store's own tests say how a record is read and put behind its back."""

    @abstractmethod
    async def record(self, world: World, handle: str) -> bytes:
        """Return the record that lies under a handle."""

    @abstractmethod
    async def put_record(self, world: World, handle: str, record: bytes) -> None:
        """Put another record in its place, which no store in the world knows of."""

    @abstractmethod
    async def everything(self, world: World) -> bytes:
        """Return all that lies in the store, names of keys included."""

    async def test_a_session_has_one_token(self, world: World, store: SessionStore) -> None:
        """A renewed session needs no new cookie."""
        opened = await store.save(world.begin())
        renewed = await store.save(opened.session.touched(world.now + 1), opened.token)
        assert renewed.token == opened.token
        assert store.peek(opened.token) is renewed

    async def test_a_session_is_new_once(self, world: World, store: SessionStore) -> None:
        """A second session of the same id is refused, and the first one goes on."""
        session = world.begin()
        token = (await store.save(session)).token
        with pytest.raises(BadToken):
            await store.save(session)
        assert await world.knew(token)

    async def test_a_session_that_was_never_stored_is_not_renewed(self, world: World, store: SessionStore) -> None:
        """Saving under a token changes what is there, and makes nothing; another session's token is refused."""
        opened = await store.save(world.begin())
        kept = await store.save(world.begin(BOB))
        await store.revoke(opened.session)
        store = await world.restart()
        for session, token in ((opened.session, opened.token), (world.begin(), kept.token)):
            with pytest.raises(BadToken):
                await store.save(session, token)
        assert (await (await world.restart()).load(kept.token, world.now)).session.identity == BOB

    async def test_no_bit_of_a_record_can_be_changed(self, world: World, store: SessionStore) -> None:
        """Key id, nonce, text and tag are all bound; a record cut short or made longer is none."""
        opened = await store.save(world.begin())
        handle = opened.session.handle
        record = await self.record(world, handle)
        changed = [bytes([*record[:at], record[at] ^ 1, *record[at + 1 :]]) for at in range(0, len(record), 3)]
        for other in (*changed, b"", record[:4], record[:-1], record + b"\0", bytes(len(record))):
            await self.put_record(world, handle, other)
            fresh = await world.restart()
            with pytest.raises(BadToken):
                await fresh.load(opened.token, world.now)
        await self.put_record(world, handle, record)
        assert await world.knew(opened.token)

    async def test_another_sessions_record(self, world: World, store: SessionStore) -> None:
        """A store that answers with somebody else's record lets nobody in as somebody else."""
        alice, bob = await store.save(world.begin()), await store.save(world.begin(BOB))
        await self.put_record(world, alice.session.handle, await self.record(world, bob.session.handle))
        store = await world.restart()
        with pytest.raises(BadToken):
            await store.load(alice.token, world.now)
        assert (await store.load(bob.token, world.now)).session.identity == BOB

    async def test_the_record_of_before(self, world: World, store: SessionStore) -> None:
        """A record that is put back opens as what it was: its times still end it."""
        opened = await store.save(world.begin())
        before = await self.record(world, opened.session.handle)
        world.now += world.lifetimes.idle - 1
        await store.save(opened.session.touched(world.now), opened.token)
        await self.put_record(world, opened.session.handle, before)
        world.now += 2
        assert not await world.knew(opened.token)

    async def test_a_record_that_is_gone_is_a_logout(self, world: World, store: SessionStore) -> None:
        """Whatever took it away: it is a BadToken, not an error."""
        opened = await store.save(world.begin())
        await store.revoke(opened.session)
        store = await world.restart()
        for _ in range(2):
            with pytest.raises(BadToken):
                await store.load(opened.token, world.now)

    async def test_a_copy_of_the_store_opens_nothing(self, world: World, store: SessionStore) -> None:
        """Neither ids, nor secrets, nor who somebody is, nor where from, can be read from what lies there."""
        opened = await store.save(world.begin(address="198.51.100.7", device="Netscape on Amiga"))
        await store.save(opened.session.touched(world.now + 1), opened.token)
        found = await self.everything(world)
        hidden = ["198.51.100.7", "Netscape", "alice@example.com", "staff", opened.session.id.hex(), opened.token[3:]]
        hidden += [opened.token[start : start + 16] for start in range(3, len(opened.token) - 16)]
        assert opened.session.handle.encode() in found or bytes.fromhex(opened.session.handle) in found
        assert [text for text in hidden if text.encode() in found] == []
        assert opened.session.id not in found
