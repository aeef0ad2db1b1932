"""The ledger of ended sessions, for tokens that carry their session: in SQLite, and in memory to ask.

An entry stays until the session it ends would have ended by itself. Ids lie here as hashes.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from weakref import WeakSet

from gateway.core.session import Session, SessionSummary
from gateway.errors import StoreUnavailable
from gateway.sessions.recent import RecentSessions

_SCHEMA = """
CREATE TABLE IF NOT EXISTS revoked_session (id BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revoked_user (user TEXT PRIMARY KEY, created_until REAL NOT NULL, until REAL NOT NULL)
    WITHOUT ROWID;
PRAGMA user_version = 1;
"""
PRUNE_EVERY = 600.0
KEEP_BEYOND = 86400.0
"""Entries outlive the session by a day, for a clock that was ahead and is set back."""


class Revocations:
    """What was ended. Reading is from memory; writing returns when the disk has it."""

    def __init__(self, file: Path, lifetime: float, now: float) -> None:
        """Open the ledger; ``lifetime`` is the longest a session can last, in seconds.

        Raises StoreUnavailable where the file cannot be used: without it an ended session would
        come back, so the gateway does not start.
        """
        self._lifetime = lifetime
        self._lock = Lock()
        self._memories: WeakSet[RecentSessions] = WeakSet()
        self._pruned = now
        try:
            # The ledger holds user names, so it is for nobody else, whatever the folder's mode.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=5.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self._prune(now)
            self._sessions, self._users = self._read()
            self._version = self._data_version()
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"{file}: the ledger of ended sessions cannot be used: {error}") from error

    def empties(self, memory: RecentSessions) -> None:
        """Take what is ended out of ``memory`` from now on; during a reload there are two of them."""
        self._memories.add(memory)

    def covers(self, session: Session) -> bool:
        """Tell whether a session was ended."""
        if self._sessions and _digest(session) in self._sessions:
            return True
        return bool(self._users) and session.created <= self._users.get(session.identity.user, -1.0)

    async def add(self, session: Session | SessionSummary, now: float) -> None:
        """End a session. Raises StoreUnavailable if the disk did not take it; it is refused here all the same."""
        digest = _digest(session)
        for memory in self._memories:
            memory.forget(session.handle)
        self._sessions[digest] = session.expires
        await self._write("INSERT OR REPLACE INTO revoked_session VALUES (?, ?)", (digest, session.expires), now)

    async def add_user(self, user: str, now: float) -> None:
        """End every session of a user that was created up to now. Raises StoreUnavailable."""
        # A clock that was set back must not give back what was ended before.
        created_until = self._users[user] = max(now, self._users.get(user, 0.0))
        for memory in self._memories:
            memory.forget_user(user, created_until)
        until = created_until + self._lifetime
        await self._write("INSERT OR REPLACE INTO revoked_user VALUES (?, ?, ?)", (user, created_until, until), now)

    async def add_all(self, now: float) -> None:
        """End every session that was created up to now. Raises StoreUnavailable."""
        raise NotImplementedError

    async def refresh(self) -> None:
        """Take over what another process has written since. Raises StoreUnavailable."""
        found: list[tuple[dict[bytes, float], dict[str, float]]] = []

        def work() -> None:
            version = self._data_version()
            if version != self._version:
                self._version = version
                found.append(self._read())

        await self._run(work)
        for sessions, users in found:
            self._sessions |= sessions
            self._users |= {user: max(until, self._users.get(user, 0.0)) for user, until in users.items()}
            for memory in self._memories:
                memory.forget_if(self.covers)

    def _read(self) -> tuple[dict[bytes, float], dict[str, float]]:
        sessions = dict(self._db.execute("SELECT id, until FROM revoked_session"))
        return sessions, dict(self._db.execute("SELECT user, created_until FROM revoked_user"))

    def _data_version(self) -> int:
        """Return a number that changes when another connection has written (SQLite, PRAGMA data_version)."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    async def check(self) -> None:
        """Raise StoreUnavailable unless the file can be read."""
        await self._run(lambda: self._db.execute("SELECT 1 FROM revoked_session LIMIT 1").fetchone())

    async def _write(self, statement: str, values: tuple[object, ...], now: float) -> None:
        def work() -> None:
            self._db.execute(statement, values)
            if now - self._pruned > PRUNE_EVERY:
                self._prune(now)
                self._pruned = now

        await self._run(work)
        limit = now - KEEP_BEYOND
        self._sessions = {digest: until for digest, until in self._sessions.items() if until > limit}

    def _prune(self, now: float) -> None:
        limit = now - KEEP_BEYOND
        self._db.execute("DELETE FROM revoked_session WHERE until <= ?", (limit,))
        self._db.execute("DELETE FROM revoked_user WHERE until <= ?", (limit,))

    async def _run(self, work: Callable[[], object]) -> None:
        def locked() -> None:
            with self._lock:
                work()

        try:
            # Shielded: a caller that goes away does not undo a logout half-way.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, locked))
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the ledger of ended sessions failed: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _digest(session: Session | SessionSummary) -> bytes:
    return bytes.fromhex(session.handle)
