"""The ledger of ended sessions: what it says holds at once, after a restart, and until it does not matter."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.identity import Identity
from gateway.core.session import Session
from gateway.errors import StoreUnavailable
from gateway.sessions.recent import RecentSessions
from gateway.sessions.revocations import KEEP_BEYOND, PRUNE_EVERY, Revocations
from gateway.sessions.store import Opened

NOW = 1_700_000_000.0
LIFETIME = 1000.0


def session(number: int, user: str = "alice", created: float = NOW) -> Session:
    return Session(bytes([number]) * 16, Identity(user), created, created, created + LIFETIME, None)


class Ledger:
    """A ledger that can be closed and opened again on the same file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.now = Revocations(file, LIFETIME, NOW)

    def reopen(self, now: float = NOW) -> Revocations:
        self.now.close()
        self.now = Revocations(self.file, LIFETIME, now)
        return self.now

    def rows(self) -> int:
        """Count what lies in the file."""
        with sqlite3.connect(self.file) as db:
            count = int(db.execute("SELECT count(*) FROM ending").fetchone()[0])
        db.close()
        return count


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "revocations.sqlite3")
    yield opened
    opened.now.close()


async def test_an_ended_session_stays_ended(ledger: Ledger) -> None:
    """It is refused at once and after a restart; others are not."""
    await ledger.now.add(session(1), NOW)
    for opened in (ledger.now, ledger.reopen(), ledger.reopen(NOW + LIFETIME - 1)):
        assert opened.covers(session(1))
        assert not opened.covers(session(2))


async def test_a_user_is_ended_up_to_a_moment(ledger: Ledger) -> None:
    """Sessions created until then are over, that very moment included; later ones and other users' are not."""
    await ledger.now.add_user("alice", NOW)
    for opened in (ledger.now, ledger.reopen()):
        assert opened.covers(session(1, created=NOW))
        assert opened.covers(session(1, created=NOW - 500))
        assert not opened.covers(session(1, created=NOW + 0.001))
        assert not opened.covers(session(1, "bob"))
        assert not opened.covers(session(1, "Alice"))


async def test_the_last_word_about_a_user_counts(ledger: Ledger) -> None:
    """Ending a user's sessions again covers the ones since the first time."""
    await ledger.now.add_user("alice", NOW)
    await ledger.now.add_user("alice", NOW + 10)
    assert ledger.now.covers(session(1, created=NOW + 5))
    assert ledger.reopen().covers(session(1, created=NOW + 5))


async def test_entries_go_when_they_do_not_matter(ledger: Ledger) -> None:
    """What a session's own end covers is dropped a day later, at a start and now and then."""
    await ledger.now.add(session(1), NOW)
    await ledger.now.add_user("alice", NOW)
    assert ledger.rows() == 2
    later = NOW + LIFETIME + KEEP_BEYOND
    ledger.reopen(later - 0.001)
    assert ledger.rows() == 2
    ledger.reopen(later)
    assert ledger.rows() == 0
    await ledger.now.add(session(2, created=later), later)
    much_later = later + LIFETIME + KEEP_BEYOND + PRUNE_EVERY
    await ledger.now.add(session(3, created=much_later), much_later)
    assert ledger.rows() == 1
    assert not ledger.now.covers(session(2, created=later))


async def test_a_clock_set_back_brings_nobody_back(ledger: Ledger) -> None:
    """A user's sessions that were ended stay ended when they are ended again at an earlier time."""
    await ledger.now.add_user("alice", NOW + 10)
    await ledger.now.add_user("alice", NOW)
    assert ledger.now.covers(session(1, created=NOW + 5))
    assert ledger.reopen().covers(session(1, created=NOW + 5))


async def test_what_another_process_ends_is_taken_over(ledger: Ledger) -> None:
    """After a refresh what was ended elsewhere is ended here, and out of the memory."""
    other = Revocations(ledger.file, LIFETIME, NOW)
    memory = RecentSessions(10)
    ledger.now.empties(memory)
    for number, user in ((1, "alice"), (2, "bob"), (3, "carol")):
        memory.put(Opened(session(number, user), user, NOW + 1))
    await other.add(session(1), NOW)
    await other.add_user("bob", NOW)
    await ledger.now.add_user("dave", NOW)
    await ledger.now.refresh()
    other.close()
    assert [memory.get(user) is None for user in ("alice", "bob", "carol")] == [True, True, False]
    assert ledger.now.covers(session(1))
    assert ledger.now.covers(session(9, "bob"))
    assert ledger.now.covers(session(9, "dave"))
    assert not ledger.now.covers(session(3, "carol"))


async def test_everybody_is_ended_up_to_a_moment(ledger: Ledger) -> None:
    """Whoever's session was created until then is out; later ones are not, also where the clock was set back since."""
    await ledger.now.add_all(NOW)
    await ledger.now.add_all(NOW - 100)
    for opened in (ledger.now, ledger.reopen()):
        assert opened.covers(session(1, created=NOW))
        assert opened.covers(session(2, "bob", created=NOW - 50).summary())
        assert not opened.covers(session(1, created=NOW + 0.001))


async def test_only_what_is_new_is_read(ledger: Ledger) -> None:
    """Every reading goes on where the last one stopped, whoever deleted old entries meanwhile, also the newest."""
    other = Revocations(ledger.file, LIFETIME, NOW)
    await other.add(session(1), NOW)
    await ledger.now.refresh()
    later = NOW + LIFETIME + KEEP_BEYOND + PRUNE_EVERY
    third = Revocations(ledger.file, LIFETIME, later)
    assert ledger.rows() == 0
    await third.add(session(2, created=later), later)
    for number in range(3, 9):
        await other.add_user("bob", later + number)
        await ledger.now.refresh()
        assert ledger.now.covers(session(9, "bob", created=later + number))
        assert ledger.now.covers(session(2, created=later))
    assert ledger.rows() == 2
    other.close()
    third.close()


async def test_a_user_is_ended_by_two_with_clocks_apart(ledger: Ledger) -> None:
    """The later moment counts, whichever process wrote last, and whatever it had read."""
    other = Revocations(ledger.file, LIFETIME, NOW)
    await other.add_user("alice", NOW + 10)
    await ledger.now.add_user("alice", NOW)
    await other.refresh()
    await ledger.now.refresh()
    other.close()
    for opened in (ledger.now, other, ledger.reopen()):
        assert opened.covers(session(1, created=NOW + 5))


def make_first_version(file: Path) -> None:
    """Write a ledger as version 1 had it."""
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE revoked_session (id BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID")
    db.execute(
        "CREATE TABLE revoked_user (user TEXT PRIMARY KEY, created_until REAL NOT NULL, until REAL NOT NULL)"
        " WITHOUT ROWID"
    )
    handle = bytes.fromhex(session(1).handle)
    db.execute("INSERT INTO revoked_session VALUES (?, ?)", (handle, NOW + LIFETIME))
    db.execute("INSERT INTO revoked_user VALUES ('bob', ?, ?)", (NOW, NOW + LIFETIME))
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()


async def test_a_ledger_of_the_version_before_is_kept(tmp_path: Path) -> None:
    """What had been ended before an upgrade stays ended, in all processes that start at once."""
    file = tmp_path / "ledger"
    make_first_version(file)
    opened = await asyncio.gather(*(asyncio.to_thread(Revocations, file, LIFETIME, NOW) for _ in range(4)))
    for ledger in opened:
        assert ledger.covers(session(1))
        assert ledger.covers(session(2, "bob"))
        assert not ledger.covers(session(3))
        ledger.close()
    with sqlite3.connect(file) as db:
        found = db.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'revoked%'").fetchone()
    db.close()
    assert found == (0,)


def test_a_ledger_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    """An older program does not start on it, for it could not read what was ended."""
    file = tmp_path / "ledger"
    Revocations(file, LIFETIME, NOW).close()
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(StoreUnavailable, match="newer version"):
        Revocations(file, LIFETIME, NOW)


async def test_ids_do_not_lie_in_the_file(ledger: Ledger) -> None:
    """A copy of the ledger does not tell the ids of sessions."""
    await ledger.now.add(session(0x41), NOW)
    ledger.reopen().close()
    assert all(b"A" * 16 not in file.read_bytes() for file in ledger.file.parent.iterdir())
    ledger.reopen()


async def test_memories_are_emptied(ledger: Ledger) -> None:
    """What is ended is out of every memory at once."""
    memories = [RecentSessions(10), RecentSessions(10)]
    for memory in memories:
        ledger.now.empties(memory)
        memory.put(Opened(session(1), "one", NOW + 1))
        memory.put(Opened(session(2, "bob"), "two", NOW + 1))
    await ledger.now.add(session(1), NOW)
    assert [(memory.get("one"), memory.get("two") is not None) for memory in memories] == [(None, True)] * 2
    await ledger.now.add_user("bob", NOW)
    assert [memory.get("two") for memory in memories] == [None, None]


async def test_many_are_ended_at_once(ledger: Ledger) -> None:
    """Writers at the same time lose nothing."""
    numbers = range(100)
    await asyncio.gather(*(ledger.now.add(session(number), NOW) for number in numbers))
    opened = ledger.reopen()
    assert all(opened.covers(session(number)) for number in numbers)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 500])
def test_a_file_that_is_no_ledger(tmp_path: Path, content: bytes) -> None:
    """Without a ledger an ended session would come back: it is not opened, and the file is named."""
    file = tmp_path / "ledger"
    file.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="ledger"):
        Revocations(file, LIFETIME, NOW)
    assert file.read_bytes() == content


@pytest.mark.parametrize("name", ["", "missing/ledger"])
def test_a_place_where_no_file_can_be(tmp_path: Path, name: str) -> None:
    """A folder, or a file in a folder that is not there, cannot be used."""
    with pytest.raises(StoreUnavailable):
        Revocations(tmp_path / name, LIFETIME, NOW)


async def test_a_disk_that_fails(ledger: Ledger) -> None:
    """The caller is told, and the session is refused here all the same."""
    await ledger.now.check()
    ledger.now.close()
    with pytest.raises(StoreUnavailable):
        await ledger.now.check()
    with pytest.raises(StoreUnavailable):
        await ledger.now.add(session(1), NOW)
    with pytest.raises(StoreUnavailable):
        await ledger.now.add_user("bob", NOW)
    assert ledger.now.covers(session(1))
    assert ledger.now.covers(session(2, "bob"))


async def test_a_locked_ledger_waits(ledger: Ledger) -> None:
    """While another process writes, an entry waits for its turn and the loop goes on."""
    with sqlite3.connect(ledger.file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.ensure_future(ledger.now.add(session(1), NOW))
        await asyncio.sleep(0.05)
        assert not adding.done()
        assert ledger.now.covers(session(1))
        other.execute("COMMIT")
        await adding
    other.close()
    assert ledger.reopen().covers(session(1))
