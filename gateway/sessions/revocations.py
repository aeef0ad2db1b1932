"""The ledger of ended sessions, for tokens that carry their session: a file, and in memory to ask.

Every process of a host opens the file itself: `Revocations(file, lifetime, now)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection

from gateway.core.session import Session, SessionSummary
from gateway.database import Database, version_of
from gateway.errors import StoreUnavailable
from gateway.sessions.endings import (
    KEEP_BEYOND,
    PRUNE_EVERY,
    SCHEMA,
    SESSION,
    USER,
    Ending,
    Endings,
    prune_endings,
    write_ending,
)
from gateway.sessions.store import Opened

__all__ = ["KEEP_BEYOND", "PRUNE_EVERY", "Revocations"]

_VERSION = 2


class Revocations:
    """What was ended. Reading is from memory; writing returns when the disk has it."""

    def __init__(self, file: Path, lifetime: float, now: float) -> None:
        """Open the ledger; ``lifetime`` is the longest a session can last, in seconds.

        Raises StoreUnavailable where the file cannot be used: without it an ended session would
        come back, so the gateway does not start.
        """
        self._endings = Endings(lifetime)
        self._pruned = now

        def prepare(db: Connection) -> None:
            _migrate(db)
            prune_endings(db, now)

        self._database = Database(file, prepare, "the ledger of ended sessions")
        self._endings.apply_rows(self._database.read_now(self._endings.new_rows))
        self.covers = self._endings.covers
        self.closes = self._endings.closes
        self.empties = self._endings.empties

    async def add(self, session: Session | SessionSummary, now: float, *, spare: str = "", alone: bool = False) -> None:
        """End a session and those that it is linked with, but for ``spare``; or it alone.

        Raises StoreUnavailable if the disk did not take it; it is refused here all the same.
        """
        if alone:
            await self._add([self._endings.of_session(session)], now)
            return
        self._endings.apply(self._endings.of_linked(session, spare))
        with suppress(StoreUnavailable):
            # Another process may have linked it just now.
            await self.refresh()
        await self._add(self._endings.of_linked(session, spare), now)

    async def supersede(self, old: Opened, new: Session, now: float) -> None:
        """Close a token, and link its session with the one that takes its place. Raises StoreUnavailable."""
        endings = self._endings.of_place(old, new)
        await self._write(endings, now, prune=False)
        self._endings.apply(endings)

    async def add_user(self, user: str, now: float) -> None:
        """End every session of a user that was created up to now. Raises StoreUnavailable."""
        await self._add([self._endings.of_user(user, now)], now)

    async def add_logins(self, marks: Sequence[str], now: float) -> None:
        """End every session with one of these marks that was created up to now. Raises StoreUnavailable."""
        await self._add(self._endings.of_logins(marks, now), now)

    async def add_all(self, now: float) -> None:
        """End every session that was created up to now. Raises StoreUnavailable."""
        await self._add([self._endings.of_everybody(now)], now)

    async def _add(self, endings: Sequence[Ending], now: float) -> None:
        self._endings.apply(endings)
        prune = now - self._pruned > PRUNE_EVERY
        if prune:
            self._pruned = now
            self._endings.prune_memory(now)
        await self._write(endings, now, prune=prune)

    async def _write(self, endings: Sequence[Ending], now: float, *, prune: bool) -> None:
        def work(db: Connection) -> None:
            for ending in endings:
                write_ending(db, ending)
            if prune:
                prune_endings(db, now)

        await self._database.write(work)

    async def refresh(self) -> None:
        """Take over what other processes have written since. Raises StoreUnavailable."""
        self._endings.apply_rows(await self._database.read(self._endings.new_rows))

    async def check(self) -> None:
        """Raise StoreUnavailable unless the file can be read."""
        await self._database.check()

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _migrate(db: Connection) -> None:
    """Make the table. Version 1 had one for sessions, by handle as bytes, and one for users, by name."""
    version = version_of(db, _VERSION)
    db.execute(SCHEMA)
    if version == 1:
        for handle, until in db.execute("SELECT id, until FROM revoked_session").fetchall():
            write_ending(db, Ending(SESSION, handle.hex(), 0.0, until))
        for user, created_until, until in db.execute("SELECT user, created_until, until FROM revoked_user").fetchall():
            write_ending(db, Ending(USER, user, created_until, until))
        db.execute("DROP TABLE revoked_session")
        db.execute("DROP TABLE revoked_user")
    if version != _VERSION:
        db.execute(f"PRAGMA user_version = {_VERSION}")
