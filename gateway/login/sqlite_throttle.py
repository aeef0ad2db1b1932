"""The throttle in a file, shared by the processes of one host: a restart forgives nothing.

    FallbackThrottle(SqliteThrottle(file, clock, key), MemoryThrottle(monotonic))

Nobody's name, network or browser can be read from it: what was counted lies under a keyed hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from gateway.database import Database, version_of
from gateway.login.curve import CURVES, Count, counted
from gateway.login.throttle import (
    PLACES,
    RECORDS,
    Attempt,
    Key,
    Ticket,
    counted_under,
    device_key,
    network_key,
    places_of,
    refuse,
)

_T = TypeVar("_T")
_VERSION = 1
# A row that is written again gets the next number, so the lowest one is what was longest unused.
_TABLE = """
CREATE TABLE IF NOT EXISTS counted (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key BLOB NOT NULL,
    failures REAL NOT NULL,
    at REAL NOT NULL,
    until REAL NOT NULL,
    UNIQUE (kind, key)
)
"""
_PLACE = "place"


class SqliteThrottle:
    """A `LoginThrottle` in a file; where that fails its methods raise StoreUnavailable.

    ``clock`` is the wall clock, for counts outlive the process: set back, it makes no wait longer.
    """

    def __init__(
        self,
        file: Path,
        clock: Callable[[], float],
        key: bytes,
        *,
        records: int = RECORDS,
        places: int = PLACES,
    ) -> None:
        """Open the file, or make it; ``key`` is secret, 32 bytes. Raises StoreUnavailable."""
        self._clock = clock
        self._key = key
        self._limits = {**dict.fromkeys(CURVES, records), _PLACE: places}
        self._prune_each = max(1, min(records, places) // 16)
        self._since_pruned = 0
        self._database = Database(file, _prepare, "the counts of failed logins")

    async def begin(self, attempt: Attempt) -> Ticket:
        """Count an attempt, or raise TooManyAttempts."""
        now = self._clock()
        wait, keys = await self._write(lambda db: self._begin(db, attempt, now))
        if wait > 0:
            raise refuse(wait)
        return Ticket(attempt, keys)

    def _begin(self, db: Connection, attempt: Attempt, now: float) -> tuple[float, tuple[Key, ...]]:
        known = {place for place in places_of(attempt) if self._get(db, _PLACE, place) is not None}
        keys = counted_under(attempt, known.__contains__)
        wait = 0.0
        found: list[Count | None] = []
        for key in keys:
            stored = self._get(db, key.kind, key)
            count = stored.set_back(now) if stored else None
            if count is not None and count is not stored:
                self._put(db, key.kind, key, count)
            wait = max(wait, count.remaining(now) if count else 0.0)
            found.append(count)
        if not wait:
            for key, count in zip(keys, found, strict=True):
                self._put(db, key.kind, key, counted(count, key.curve, now))
        return wait, keys

    async def succeeded(self, ticket: Ticket) -> None:
        """Take the attempt back, forget the failures of this account from there, and remember the place."""

        def work(db: Connection) -> None:
            self._take_back(db, ticket)
            for key in (network_key(ticket.attempt), device_key(ticket.attempt)):
                db.execute("DELETE FROM counted WHERE kind = ? AND key = ?", (key.kind, self._name(key)))
            for place in places_of(ticket.attempt):
                self._put(db, _PLACE, place, Count(0.0, 0.0, 0.0))

        await self._write(work)

    async def abandoned(self, ticket: Ticket) -> None:
        """Take the attempt back."""
        await self._write(lambda db: self._take_back(db, ticket))

    def _take_back(self, db: Connection, ticket: Ticket) -> None:
        for key in ticket.keys:
            count = self._get(db, key.kind, key)
            if count is not None:
                self._put(db, key.kind, key, count.taken_back(key.curve))

    # Rows

    def _get(self, db: Connection, kind: str, key: Key) -> Count | None:
        row = db.execute(
            "SELECT failures, at, until FROM counted WHERE kind = ? AND key = ?", (kind, self._name(key))
        ).fetchone()
        return Count(*row) if row else None

    def _put(self, db: Connection, kind: str, key: Key, count: Count) -> None:
        self._since_pruned += 1
        db.execute(
            "INSERT OR REPLACE INTO counted (kind, key, failures, at, until) VALUES (?, ?, ?, ?, ?)",
            (kind, self._name(key), count.failures, count.at, count.until),
        )

    def _name(self, key: Key) -> bytes:
        return hashlib.blake2b(json.dumps([key.kind, *key.parts]).encode(), key=self._key, digest_size=16).digest()

    async def _write(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work``, and now and then forget what was longest unused."""

        def bounded(db: Connection) -> _T:
            result = work(db)
            if self._since_pruned >= self._prune_each:
                self._since_pruned = 0
                self._prune(db)
            return result

        # The last counts before a power cut may be lost; waiting for the disk would slow down no attacker.
        return await self._database.write(bounded, durable=False)

    def _prune(self, db: Connection) -> None:
        for kind, limit in self._limits.items():
            db.execute(
                "DELETE FROM counted WHERE kind = ? AND number <="
                " (SELECT number FROM counted WHERE kind = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (kind, kind, limit),
            )

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._database.close)


def _prepare(db: Connection) -> None:
    if version_of(db, _VERSION) != _VERSION:
        db.execute(_TABLE)
        db.execute(f"PRAGMA user_version = {_VERSION}")
