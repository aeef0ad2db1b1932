"""The SQLite store keeps the contract, and what is particular to it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from gateway.core.provider import ProviderSession
from gateway.core.session import Session
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.recent import RecentSessions
from gateway.sessions.seal import KeyRing
from gateway.sessions.sqlite_store import SqliteStore
from gateway.sessions.store import Opened, SessionStore
from tests.sessions.contract import ALICE, BOB, FileTests, RecordStoreContract, World, ways_to_end


class TestSqliteStore(FileTests, RecordStoreContract):
    """The whole contract."""

    file_name = "sessions.sqlite"

    def open(self, world: World, *, recent: RecentSessions | None = None, others: list[SessionStore]) -> SessionStore:
        async def announce() -> None:
            for other in others:
                await other.refresh()

        return SqliteStore(
            world.directory / self.file_name,
            KeyRing(world.keys, os.urandom),
            recent or RecentSessions(1000),
            world.lifetimes,
            world.clock,
            os.urandom,
            announce,
        )

    def ask(self, world: World, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement behind the store's back."""
        db = sqlite3.connect(world.directory / self.file_name, timeout=10)
        with db:
            rows = db.execute(statement, values).fetchall()
        db.close()
        return rows

    async def record(self, world: World, handle: str) -> bytes:
        found = self.ask(world, "SELECT record FROM session WHERE handle = ?", handle)[0][0]
        assert isinstance(found, bytes)
        return found

    async def put_record(self, world: World, handle: str, record: bytes) -> None:
        self.ask(world, "UPDATE session SET record = ? WHERE handle = ?", record, handle)

    async def everything(self, world: World) -> bytes:
        assert world.store is not None
        await world.store.close()
        world.store = None
        return b"".join(file.read_bytes() for file in world.directory.iterdir())

    async def test_the_end_of_many_leaves_no_record(self, world: World, store: SessionStore) -> None:
        """Ended sessions are not in the file."""
        for identity in (ALICE, ALICE, BOB):
            await store.save(world.begin(identity))
        opened = await store.save(world.begin())
        counts = [len(self.ask(world, "SELECT 1 FROM session"))]
        for ending in ("session", "user", "everybody"):
            await ways_to_end(store, opened, world)[ending]()
            counts.append(len(self.ask(world, "SELECT 1 FROM session")))
        assert counts == [4, 3, 1, 0]

    async def test_a_record_that_was_taken_away(self, world: World, store: SessionStore) -> None:
        """A renewal does not bring it back, though nothing says that it was ended."""
        opened = await store.save(world.begin())
        self.ask(world, "DELETE FROM session")
        with pytest.raises(BadToken, match="no more"):
            await store.save(opened.session.touched(world.now + 1), opened.token)
        assert self.ask(world, "SELECT 1 FROM session") == []
        with pytest.raises(BadToken):
            await store.load(opened.token, world.now)
        assert opened.until == 0

    async def test_what_is_over_is_deleted_later(self, world: World, store: SessionStore) -> None:
        """A day after their end records go, however many, and what goes on stays; so do endings."""
        for _ in range(1200):
            await store.save(world.begin())
        await store.revoke(world.begin())
        world.now += world.lifetimes.idle
        kept = await store.save(world.begin(BOB, remember=True))
        world.now += 86400 - 1
        await store.refresh()
        assert len(self.ask(world, "SELECT 1 FROM session")) == 1201
        world.now += 43_200
        await store.refresh()
        assert len(self.ask(world, "SELECT 1 FROM session")) == 1
        assert self.ask(world, "SELECT 1 FROM ending") == []
        assert await world.knew(kept.token)

    async def test_a_full_disk_stops_writing_only(self, world: World, store: SessionStore) -> None:
        """Logins are told so, sessions open and go on; when there is room again all is well."""
        opened = await store.save(world.begin())
        assert isinstance(store, SqliteStore)
        pages = await store._database.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await store._database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))
        results = await asyncio.gather(*(store.save(world.begin()) for _ in range(60)), return_exceptions=True)
        stored = [found.token for found in results if isinstance(found, Opened)]
        failures = [error for error in results if not isinstance(error, Opened)]
        assert failures
        assert all(isinstance(error, StoreUnavailable) and "full" in str(error) for error in failures)
        fresh = await world.another()
        assert await world.knows(opened.token, fresh)
        assert all([await world.knows(token, fresh) for token in stored])
        assert len(await store.list("alice")) == len(stored) + 1
        await store._database.write(lambda db: db.execute("PRAGMA max_page_count = 100000"))
        assert await world.knew((await store.save(world.begin())).token)

    async def test_a_busy_file_waits_and_the_loop_does_not(self, world: World, store: SessionStore) -> None:
        """While another process writes, sessions open, and a login waits for its turn."""
        opened = await store.save(world.begin())
        fresh = await world.another()
        other = sqlite3.connect(world.directory / self.file_name, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        saving = asyncio.ensure_future(store.save(world.begin(BOB)))
        await asyncio.sleep(0.05)
        assert await world.knows(opened.token, fresh)
        assert not saving.done()
        other.execute("COMMIT")
        other.close()
        assert await world.knew((await saving).token)

    async def test_an_end_and_a_login_are_one(self, world: World, store: SessionStore) -> None:
        """Where the new session cannot be stored, the file keeps the old one, which is refused here all the same."""
        old, other = await store.save(world.begin()), await store.save(world.begin(BOB))
        with pytest.raises(BadToken):
            await store.replace(old.session, other.session)
        assert not await world.knows(old.token)
        assert len(self.ask(world, "SELECT 1 FROM session")) == 2

    async def test_a_list_that_was_tampered_with(self, world: World, store: SessionStore) -> None:
        """A summary that was not sealed for its session is not shown."""
        sessions: list[Session] = [world.begin(), world.begin(), world.begin()]
        for session in sessions:
            await store.save(session)
        one, two, three = (session.handle for session in sessions)
        self.ask(
            world,
            "UPDATE session SET summary = (SELECT summary FROM session WHERE handle = ?) WHERE handle = ?",
            one,
            two,
        )
        self.ask(world, "UPDATE session SET summary = x'00' WHERE handle = ?", three)
        assert await world.listed() == [one]

    async def test_a_file_of_a_newer_version(self, world: World, store: SessionStore) -> None:
        """It is not touched by an older program."""
        await store.close()
        world.store = None
        self.ask(world, "PRAGMA user_version = 99")
        with pytest.raises(StoreUnavailable, match="newer version"):
            await self.start(world)


def test_a_file_from_before_logins_at_providers_were_known_is_taken_over(tmp_path: Path) -> None:
    """Its sessions go on; those that begin now are found by their logins."""
    world = World(tmp_path, TestSqliteStore().start)
    file = tmp_path / "sessions.sqlite"

    async def before() -> Opened:
        store = await world.restart()
        opened = await store.save(world.begin())
        await store.close()
        world.store = None
        with sqlite3.connect(file) as db:
            for index in ("session_by_login", "session_by_person"):
                db.execute(f"DROP INDEX {index}")
            for column in ("login", "person"):
                db.execute(f"ALTER TABLE session DROP COLUMN {column}")
            db.execute("PRAGMA user_version = 1")
        db.close()
        return opened

    async def after() -> None:
        opened = await before()
        store = await world.restart()
        assert await world.knows(opened.token)
        login = ProviderSession("sso", "https://sso", "alice", "sid")
        new = await store.save(world.begin(login=login))
        assert await store.revoke_logins(login.marks()[:1], world.now) == 1
        assert not await world.knows(new.token)
        assert await world.knows(opened.token)
        await world.close()

    asyncio.run(after())
