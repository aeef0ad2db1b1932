"""The SQLite store: sessions of one host in a file that all its processes share; the cookie holds a key.

    SqliteStore(file, keys, recent, lifetimes, clock, random, announce)

Every process opens the file itself. A record is gone with its session's end; beside it the table of
endings tells the memories of the other processes, and says of what is open nowhere that it is over.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection

from gateway.core.session import Lifetimes, Session, SessionSummary
from gateway.database import Database, version_of
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.endings import (
    KEEP_BEYOND,
    LOGIN,
    PRUNE_EVERY,
    SCHEMA,
    SESSION,
    USER,
    Ending,
    Endings,
    prune_endings,
    write_ending,
)
from gateway.sessions.finish import Announce, alone, announced, finish
from gateway.sessions.recent import RecentSessions
from gateway.sessions.records import RecordKey, Records
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import Opened
from gateway.sessions.terms import Terms

_VERSION = 2
_TABLE = """
CREATE TABLE IF NOT EXISTS session (
    handle TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    created REAL NOT NULL,
    ends REAL NOT NULL,
    record BLOB NOT NULL,
    summary BLOB NOT NULL,
    login TEXT,
    person TEXT
) WITHOUT ROWID
"""
_COLUMNS = ("ALTER TABLE session ADD COLUMN login TEXT", "ALTER TABLE session ADD COLUMN person TEXT")
"""What version 1 lacks: the marks of a login at a provider."""
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS session_by_user ON session (user, created)",
    "CREATE INDEX IF NOT EXISTS session_by_end ON session (ends)",
    "CREATE INDEX IF NOT EXISTS session_by_login ON session (login) WHERE login IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS session_by_person ON session (person) WHERE person IS NOT NULL",
)
_INSERT = """
INSERT INTO session (handle, user, created, ends, record, summary, login, person) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_PRUNED_AT_ONCE = 500


class SqliteStore:
    """A `SessionStore` in a file."""

    def __init__(
        self,
        file: Path,
        keys: KeyRing,
        recent: RecentSessions,
        lifetimes: Lifetimes,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        announce: Announce = alone,
    ) -> None:
        """Open the file, or make it. Raises StoreUnavailable, which names it, where it cannot be used."""
        self._records = Records(keys, random)
        self._recent = recent
        self._terms = Terms(lifetimes)
        self._clock = clock
        self._announce = announce
        self._pruned = 0.0
        self._endings = Endings(max(lifetimes.absolute, lifetimes.remember or 0.0))
        self._endings.empties(recent)
        self._database = Database(file, _prepare, "the file of sessions")
        self._endings.apply_rows(self._database.read_now(self._endings.new_rows))
        self.peek = recent.get

    async def start(self) -> None:
        """Do nothing: what others end is learnt by `refresh`."""

    # Reading

    async def load(
        self, token: str, now: float, *, host: str = "", grace: float | None = None, streaming: bool = False
    ) -> Opened:
        """Open a token as the file has it now. Raises BadToken where it is not one for ``host``, over or ended."""
        key = self._records.parse(token, host)
        row = await self._database.read(
            lambda db: db.execute("SELECT record FROM session WHERE handle = ?", (key.handle,)).fetchone()
        )
        if row is None:
            self._recent.forget(key.handle)
            raise BadToken("the session is not there, or no more")
        record: bytes = row[0]
        session = self._records.open(record, key)
        self._refuse_ended(session)
        self._terms.admit(session, now)
        current = key.current and self._records.is_current(record)
        opened = self._terms.opened(session, token, host=key.host, token_id=key.token_id, current_key=current)
        opened.closed = self._endings.closes(opened)
        if opened.closed and not streaming:
            raise BadToken("a later login has taken the place of this token")
        return self._newest(opened)

    def is_ours(self, token: str, host: str) -> bool:
        """Tell whether a token has a right tag for this host, or for every host."""
        return self._records.is_ours(token, host)

    def _newest(self, opened: Opened) -> Opened:
        """Return what memory has for the token if that is no older; else put this there."""
        held = self._recent.held(opened)
        if held is not None and not opened.told_later_than(held) and held.until >= opened.until:
            return held
        self._recent.put(opened)
        return opened

    def _refuse_ended(self, session: Session | SessionSummary) -> None:
        if self._endings.covers(session):
            raise BadToken("the session was ended")

    def is_over(self, opened: Opened, now: float) -> bool:
        """Tell whether a session in use has run out, so far as this process knows, or was ended."""
        latest = opened.latest()
        return latest.until <= now or self._endings.covers(latest.session)

    async def list(self, user: str) -> list[SessionSummary]:
        """Return the sessions of ``user`` that are not over, newest first."""
        now = self._clock()
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT summary, handle FROM session WHERE user = ? AND ends > ? ORDER BY created DESC", (user, now)
            ).fetchall()
        )
        found = [summary for row in rows if (summary := self._summary(*row)) is not None]
        return [each for each in found if self._terms.end_at_most(each) > now and not self._endings.covers(each)]

    def _summary(self, sealed: bytes, handle: str) -> SessionSummary | None:
        try:
            return self._records.open_summary(sealed, handle)
        except BadToken:
            # Sealed under a key that is gone, so its session opens no more either.
            return None

    # Writing

    async def keep(self, opened: Opened, seconds: float) -> None:
        """Do nothing: records are only pruned a day after their end."""

    async def save(self, session: Session, token: str | None = None, *, host: str = "") -> Opened:
        """Store a new session, or under its ``token`` a changed one. Raises BadToken where that was ended."""
        self._refuse_ended(session)
        if token is None:
            return await finish(self._insert(session, [], host), "store a session")
        return await finish(self._update(session, self._records.parse(token, host)), "renew a session")

    async def _insert(self, session: Session, endings: Sequence[Ending], host: str) -> Opened:
        key = self._records.parse(self._records.new_token(session.id, host), host)
        row = (*self._row(session, key), *(session.login.marks() if session.login else (None, None)))

        def work(db: Connection) -> None:
            for ending in endings:
                _end(db, ending)
            try:
                db.execute(_INSERT, row)
            except sqlite3.IntegrityError:
                raise BadToken("there is a session of this id already") from None

        await self._database.write(work)
        if endings:
            await announced(self._announce)
        return self._written(session, key)

    async def _update(self, session: Session, key: RecordKey) -> Opened:
        handle, _, _, *values = self._row(session, key)
        # Of a login that is refreshed a provider may tell another name; the person's stays.
        login = session.login.marks()[0] if session.login else None

        def work(db: Connection) -> None:
            found = db.execute(
                "UPDATE session SET (ends, record, summary, login) = (?, ?, ?, ?) WHERE handle = ?",
                (*values, login, handle),
            )
            if not found.rowcount:
                raise BadToken("the session is there no more")

        # A renewal that a power cut takes back costs somebody a login; waiting for the disk costs everybody.
        await self._database.write(work, durable=False)
        return self._written(session, key)

    def _row(self, session: Session, key: RecordKey) -> tuple[str, str, float, float, bytes, bytes]:
        if key.id != session.id:
            raise BadToken("the token of another session")
        record, summary = self._records.seal(session, key.secret), self._records.seal_summary(session)
        return key.handle, session.user, session.created, self._terms.end(session), record, summary

    def _written(self, session: Session, key: RecordKey) -> Opened:
        # It may have been ended while it was on its way to the disk.
        self._refuse_ended(session)
        return self._remembered(session, self._records.same_token(key), key)

    def _remembered(self, session: Session, token: str, key: RecordKey) -> Opened:
        opened = self._terms.opened(session, token, host=key.host, token_id=key.token_id)
        opened.closed = self._endings.closes(opened)
        self._recent.put(opened)
        return opened

    def token_for(self, opened: Opened, host: str) -> Opened:
        """Return the session with a token for one host; the record is the same."""
        token = self._records.further_token(self._records.parse(opened.token, opened.host), host)
        return self._remembered(opened.session, token, self._records.parse(token, host))

    # Ending

    async def replace(self, old: Session | None, new: Session, *, host: str = "") -> Opened:
        """Store ``new`` and end ``old``, both or neither on disk."""
        self._refuse_ended(new)
        if old is None:
            return await self.save(new, host=host)
        endings = self._endings.of_linked(old)
        self._endings.apply(endings)
        return await finish(self._insert(new, endings, host), "replace a session")

    async def supersede(self, old: Opened, new: Session) -> None:
        """Close the token of ``old`` for new requests, in favour of ``new``."""
        endings = self._endings.of_place(old, new)

        async def work() -> None:
            await self._database.write(lambda db: [write_ending(db, ending) for ending in endings])
            self._endings.apply(endings)
            await announced(self._announce)

        await finish(work(), "let a session take a token's place")

    async def revoke(self, session: Session | SessionSummary, *, spare: str = "", alone: bool = False) -> None:
        """End a session and those linked with it; where the disk fails, this process refuses them all the same."""
        if alone:
            await self._end([self._endings.of_session(session)])
            return
        known = self._endings.of_linked(session, spare)
        self._endings.apply(known)

        async def work() -> None:
            with suppress(StoreUnavailable):
                # Another process may have linked it just now.
                self._endings.apply_rows(await self._database.read(self._endings.new_rows))
            await self._end(self._endings.of_linked(session, spare))

        await finish(work(), "end a session")

    async def revoke_user(self, user: str, now: float) -> None:
        """End every session of ``user`` created before or at ``now``."""
        await self._end([self._endings.of_user(user, now)])

    async def revoke_logins(self, marks: Sequence[str], now: float) -> int:
        """End every session with one of these marks that was created before or at ``now``; return how many."""
        return await self._end(self._endings.of_logins(marks, now))

    async def revoke_all(self, now: float) -> None:
        """End every session of everybody that was created before or at ``now``."""
        await self._end([self._endings.of_everybody(now)])

    async def _end(self, endings: Sequence[Ending]) -> int:
        self._endings.apply(endings)

        async def work() -> int:
            ended: int = await self._database.write(lambda db: sum([_end(db, ending) for ending in endings]))
            await announced(self._announce)
            return ended

        return await finish(work(), "end a session")

    # Keeping

    async def refresh(self) -> None:
        """Take over what other processes have ended; now and then delete what is over."""
        self._endings.apply_rows(await self._database.read(self._endings.new_rows))
        now = self._clock()
        if abs(now - self._pruned) > PRUNE_EVERY:
            self._pruned = now
            await finish(self._prune(now), "prune sessions")

    async def _prune(self, now: float) -> None:
        self._endings.prune_memory(now)
        limit = now - KEEP_BEYOND
        while await self._database.read(
            lambda db: db.execute("SELECT 1 FROM session WHERE ends <= ? LIMIT 1", (limit,)).fetchone()
        ):
            # Some at a time: whoever logs in meanwhile does not wait for all of them.
            await self._database.write(lambda db: _delete_over(db, limit), durable=False)
        await self._database.write(lambda db: prune_endings(db, now), durable=False)

    async def check(self) -> None:
        """Raise StoreUnavailable unless the file can be read."""
        await self._database.check()

    async def close(self) -> None:
        """Close the file when what was begun is done."""
        await asyncio.to_thread(self._database.close)


def _prepare(db: Connection) -> None:
    version = version_of(db, _VERSION)
    if version != _VERSION:
        columns = _COLUMNS if version == 1 else ()
        for statement in (_TABLE, *columns, *_INDEXES, SCHEMA, f"PRAGMA user_version = {_VERSION}"):
            db.execute(statement)


def _end(db: Connection, ending: Ending) -> int:
    """Delete what an ending ends, and tell the other processes; return how many sessions that were."""
    kept = write_ending(db, ending)
    if kept.kind == SESSION:
        found = db.execute("DELETE FROM session WHERE handle = ?", (kept.name,))
    elif kept.kind == USER:
        found = db.execute("DELETE FROM session WHERE user = ? AND created <= ?", (kept.name, kept.created_until))
    elif kept.kind == LOGIN:
        found = db.execute(
            "DELETE FROM session WHERE (login = ? OR person = ?) AND created <= ?",
            (kept.name, kept.name, kept.created_until),
        )
    else:
        found = db.execute("DELETE FROM session WHERE created <= ?", (kept.created_until,))
    return found.rowcount


def _delete_over(db: Connection, limit: float) -> None:
    db.execute(
        "DELETE FROM session WHERE handle IN (SELECT handle FROM session WHERE ends <= ? LIMIT ?)",
        (limit, _PRUNED_AT_ONCE),
    )
