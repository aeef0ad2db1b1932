"""The tokens of providers in a file, for the gateway of one host.

    SqliteTokenVault(file, keys, clock, random)

One process opens it, the parent; two may for a moment, as when one gateway takes over from another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection

from gateway.core.session import Session
from gateway.database import Database, version_of
from gateway.sessions.seal import KeyRing
from gateway.sessions.token_vault import KeptLogin, open_kept, seal_kept

MAX_KEPT = 1_000_000
"""Entries; beyond, those that end first go first."""
PRUNE_EVERY = 60.0
LONGEST_LEASE = 3600.0
_VERSION = 1
_TABLES = (
    "CREATE TABLE IF NOT EXISTS kept (handle TEXT PRIMARY KEY, ends REAL NOT NULL, record BLOB NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS kept_by_end ON kept (ends)",
    "CREATE TABLE IF NOT EXISTS lease (handle TEXT PRIMARY KEY, until REAL NOT NULL, holder BLOB) WITHOUT ROWID",
)
_PUT = """
INSERT INTO kept (handle, ends, record) VALUES (?, ?, ?)
ON CONFLICT (handle) DO UPDATE SET ends = excluded.ends, record = excluded.record
"""
_RENEW = "UPDATE kept SET ends = ?, record = ? WHERE handle = ?"
_DROP = "DELETE FROM kept WHERE handle = ? RETURNING record"
# One that would last for far longer than any does is from before the clock was set back.
_LEASE = """
INSERT INTO lease (handle, until, holder) VALUES (?, ?, ?)
ON CONFLICT (handle) DO UPDATE SET until = excluded.until, holder = excluded.holder
WHERE lease.until <= ? OR lease.until > ?
"""
_PRUNED_AT_ONCE = 500


class SqliteTokenVault:
    """A `TokenVault` in a file."""

    def __init__(
        self,
        file: Path,
        keys: KeyRing,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        *,
        most: int = MAX_KEPT,
    ) -> None:
        """Open the file, or make it. Raises StoreUnavailable, which names it, where it cannot be used."""
        self._keys = keys
        self._clock = clock
        self._most = most
        self._name = random(16)
        """By which a lease is known to be ours."""
        self._pruned = 0.0
        self._database = Database(file, _prepare, "the file of providers' tokens")

    async def put(self, session: Session, kept: KeptLogin) -> None:
        """Keep what belongs to a session; it is on disk then, for the token before may be good no more."""
        row = (session.handle, session.expires, seal_kept(self._keys, session, kept))
        await self._database.write(lambda db: db.execute(_PUT, row))
        now = self._clock()
        if abs(now - self._pruned) > PRUNE_EVERY:
            self._pruned = now
            await self._prune(now)

    async def renew(self, session: Session, kept: KeptLogin) -> bool:
        """Do the same if anything is there; tell whether it was."""
        row = (session.expires, seal_kept(self._keys, session, kept), session.handle)
        return await self._database.write(lambda db: db.execute(_RENEW, row).rowcount > 0)

    async def get(self, session: Session) -> KeptLogin | None:
        """Return what is kept for a session, or None."""
        query = "SELECT record FROM kept WHERE handle = ? AND ends > ?"
        found = (session.handle, self._clock())
        row = await self._database.read(lambda db: db.execute(query, found).fetchone())
        return open_kept(self._keys, session, row[0]) if row is not None else None

    async def drop(self, session: Session) -> KeptLogin | None:
        """Forget what is kept for a session, and return it."""
        rows = await self._database.write(lambda db: db.execute(_DROP, (session.handle,)).fetchall())
        return open_kept(self._keys, session, rows[0][0]) if rows else None

    async def lease(self, handle: str, seconds: float) -> bool:
        """Tell whether nobody else is at a session's tokens."""
        now = self._clock()
        row = (handle, now + seconds, self._name, now, now + LONGEST_LEASE)
        return await self._database.write(lambda db: db.execute(_LEASE, row).rowcount > 0, durable=False)

    async def release(self, handle: str) -> None:
        """Let others at a session's tokens."""
        query = "DELETE FROM lease WHERE handle = ? AND holder = ?"
        await self._database.write(lambda db: db.execute(query, (handle, self._name)), durable=False)

    async def _prune(self, now: float) -> None:
        """Delete what is over, and what is too much, some at a time."""
        await self._database.write(lambda db: db.execute("DELETE FROM lease WHERE until <= ?", (now,)), durable=False)
        while await self._database.write(lambda db: _delete_over(db, now, self._most), durable=False):
            pass

    async def close(self) -> None:
        """Close the file when what was begun is done."""
        await asyncio.to_thread(self._database.close)


def _prepare(db: Connection) -> None:
    if version_of(db, _VERSION) != _VERSION:
        for statement in (*_TABLES, f"PRAGMA user_version = {_VERSION}"):
            db.execute(statement)


def _delete_over(db: Connection, now: float, most: int) -> bool:
    """Delete some of what is over or too much; tell whether there may be more."""
    surplus = int(db.execute("SELECT count(*) FROM kept").fetchone()[0]) - most
    found = db.execute(
        "DELETE FROM kept WHERE handle IN (SELECT handle FROM kept WHERE ends <= ? ORDER BY ends LIMIT ?)",
        (now, _PRUNED_AT_ONCE),
    ).rowcount
    if surplus > found:
        db.execute(
            "DELETE FROM kept WHERE handle IN (SELECT handle FROM kept ORDER BY ends LIMIT ?)",
            (min(surplus - found, _PRUNED_AT_ONCE),),
        )
    return found == _PRUNED_AT_ONCE or surplus - found > _PRUNED_AT_ONCE
