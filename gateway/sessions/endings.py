"""What was ended before its time: rows of a table that processes share, and in memory to ask.

Each ending has a number that grows, so a process reads only what is new to it. An entry stays until the
sessions it ends would have ended by themselves. Ids of sessions lie here as hashes, users by their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from gateway.core.session import Session, SessionSummary
from gateway.sessions.links import Links
from gateway.sessions.recent import RecentSessions
from gateway.sessions.store import Opened

SCHEMA = """
CREATE TABLE IF NOT EXISTS ending (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    created_until REAL NOT NULL,
    until REAL NOT NULL,
    UNIQUE (kind, name)
)
"""
SESSION, USER, LOGIN, EVERYBODY = "session", "user", "login", "everybody"
TOKEN, LINK, MARK = "token", "link", "mark"
"""A closed token, by its session's handle and its own id; two sessions of which one took the place of a token of the
other; and a mark of a login with the handle of such a session."""
_OF_PLACE = (TOKEN, LINK, MARK)
PRUNE_EVERY = 600.0
KEEP_BEYOND = 86400.0
"""Entries outlive the session by a day, for a clock that was ahead and is set back."""
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Ending:
    """One ending."""

    kind: str
    name: str
    """A session's handle, a user's name, or a mark of a login at a provider; of the kinds at the end, two of these."""
    created_until: float
    """Of a user, a login, or of everybody: the sessions that were created until then. Seconds since the epoch."""
    until: float
    """When the last of these sessions would have ended by itself."""


class Endings:
    """What one process knows of the table. Its methods without a connection do no I/O."""

    def __init__(self, lifetime: float) -> None:
        """Begin with nothing; ``lifetime`` is the longest a session can last, in seconds."""
        self._lifetime = lifetime
        self._seq = 0
        self._sessions: dict[str, float] = {}
        self._users: dict[str, Ending] = {}
        self._logins: dict[str, Ending] = {}
        self._everybody = _NEVER
        self._tokens: dict[str, float] = {}
        self._links = Links()
        self._memories: list[RecentSessions] = []

    def empties(self, memory: RecentSessions) -> None:
        """Take what is ended out of ``memory`` from now on."""
        self._memories.append(memory)

    def covers(self, session: Session | SessionSummary) -> bool:
        """Tell whether a session was ended."""
        if session.created <= self._everybody:
            return True
        if self._users:
            ending = self._users.get(session.user)
            if ending is not None and session.created <= ending.created_until:
                return True
        if self._logins and isinstance(session, Session) and session.login is not None:
            for mark in session.login.marks():
                ending = self._logins.get(mark)
                if ending is not None and session.created <= ending.created_until:
                    return True
        return bool(self._sessions) and session.handle in self._sessions

    def closes(self, opened: Opened) -> bool:
        """Tell whether new requests are refused to a session's token."""
        return bool(self._tokens) and f"{opened.session.handle} {opened.token_id}" in self._tokens

    # Endings as values

    def of_session(self, session: Session | SessionSummary) -> Ending:
        """Return the ending of one session."""
        return Ending(SESSION, session.handle, 0.0, session.expires)

    def of_linked(self, session: Session | SessionSummary, spare: str = "") -> list[Ending]:
        """Return the endings of a session and of those that it is linked with, but for the one called ``spare``."""
        linked = self._links.around([session.handle])
        others = [Ending(SESSION, handle, 0.0, until) for handle, until in linked if handle != spare]
        return [self.of_session(session), *others]

    def of_logins(self, marks: Sequence[str], now: float) -> list[Ending]:
        """Return the endings of every session with one of these marks that was created up to now, and of the linked."""
        linked = self._links.of_marks(marks)
        others = [Ending(SESSION, handle, 0.0, until) for handle, until in linked]
        return [*(self.of_login(mark, now) for mark in marks), *others]

    def of_place(self, old: Opened, new: Session) -> list[Ending]:
        """Return what is to be known of a token whose place a session takes."""
        session, until = old.session, max(old.session.expires, new.expires)
        found = [
            Ending(LINK, f"{session.handle} {new.handle}", 0.0, until),
            Ending(TOKEN, f"{session.handle} {old.token_id}", 0.0, session.expires),
        ]
        for each in (session, new):
            marks = each.login.marks() if each.login is not None else ()
            found += [Ending(MARK, f"{mark} {each.handle}", 0.0, until) for mark in marks]
        return found

    def of_user(self, user: str, now: float) -> Ending:
        """Return the ending of every session of a user that was created up to now."""
        return Ending(USER, user, now, now + self._lifetime)

    def of_login(self, mark: str, now: float) -> Ending:
        """Return the ending of every session with a mark that was created up to now."""
        return Ending(LOGIN, mark, now, now + self._lifetime)

    def of_everybody(self, now: float) -> Ending:
        """Return the ending of every session that was created up to now."""
        return Ending(EVERYBODY, "", now, now + self._lifetime)

    # Memory

    def apply(self, endings: Iterable[Ending]) -> None:
        """Hold these endings from now on; the sessions in memory are over at once."""
        groups = False
        for ending in endings:
            if ending.kind in _OF_PLACE:
                self._apply_place(ending)
                continue
            if ending.kind == SESSION:
                self._sessions[ending.name] = max(ending.until, self._sessions.get(ending.name, 0.0))
                for memory in self._memories:
                    memory.forget(ending.name)
                continue
            groups = True
            if ending.kind == USER:
                self._users[ending.name] = _later(ending, self._users.get(ending.name))
            elif ending.kind == LOGIN:
                self._logins[ending.name] = _later(ending, self._logins.get(ending.name))
            else:
                self._everybody = max(ending.created_until, self._everybody)
        if groups:
            for memory in self._memories:
                memory.forget_if(self.covers)

    def _apply_place(self, ending: Ending) -> None:
        first, _, second = ending.name.partition(" ")
        if ending.kind == LINK:
            self._links.add(first, second, ending.until)
        elif ending.kind == MARK:
            self._links.add_mark(first, second, ending.until)
        else:
            self._tokens[ending.name] = ending.until
            for memory in self._memories:
                memory.close(first, second)

    def prune_memory(self, now: float) -> None:
        """Forget what matters no more."""
        limit = now - KEEP_BEYOND
        self._sessions = {handle: until for handle, until in self._sessions.items() if until > limit}
        self._users = {name: ending for name, ending in self._users.items() if ending.until > limit}
        self._logins = {mark: ending for mark, ending in self._logins.items() if ending.until > limit}
        self._tokens = {name: until for name, until in self._tokens.items() if until > limit}
        self._links.prune(limit)

    # The table; these run in a database's thread

    def new_rows(self, db: Connection) -> list[tuple[int, Ending]]:
        """Read what this process has not seen yet, its own endings included."""
        rows = db.execute(
            "SELECT seq, kind, name, created_until, until FROM ending WHERE seq > ? ORDER BY seq", (self._seq,)
        )
        return [(seq, Ending(*values)) for seq, *values in rows]

    def apply_rows(self, rows: list[tuple[int, Ending]]) -> None:
        """Hold what was read."""
        if rows:
            self.apply(ending for _, ending in rows)
            # Two readings at a time may arrive in either order.
            self._seq = max(self._seq, rows[-1][0])


def write_ending(db: Connection, ending: Ending) -> Ending:
    """Put an ending into the table under a new number; return it, for one that reached further stays as far."""
    row = db.execute(
        "SELECT kind, name, created_until, until FROM ending WHERE kind = ? AND name = ?", (ending.kind, ending.name)
    ).fetchone()
    # A clock that was set back must not give back what was ended before.
    kept = _later(ending, Ending(*row) if row else None)
    db.execute(
        "INSERT OR REPLACE INTO ending (kind, name, created_until, until) VALUES (?, ?, ?, ?)",
        (kept.kind, kept.name, kept.created_until, kept.until),
    )
    return kept


def prune_endings(db: Connection, now: float) -> None:
    """Delete what matters no more. The numbers go on: none is given twice."""
    db.execute("DELETE FROM ending WHERE until <= ?", (now - KEEP_BEYOND,))


def _later(ending: Ending, known: Ending | None) -> Ending:
    if known is None:
        return ending
    created_until, until = max(ending.created_until, known.created_until), max(ending.until, known.until)
    return Ending(ending.kind, ending.name, created_until, until)
