"""Opened sessions in memory, by token: the warm path of the session check."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.session import Session
from gateway.sessions.store import Opened


class RecentSessions:
    """A bounded memory of two generations: a full young one becomes the old one, and the old one goes.

    ``capacity`` sessions are always kept, and at most twice as many.

    A hit costs one lookup, and nothing is moved while all that is in use fits into the young half;
    an LRU would reorder at every request.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = max(1, capacity)
        self._young: dict[str, Opened] = {}
        self._old: dict[str, Opened] = {}
        self._tokens: dict[str, tuple[str, ...]] = {}
        """By handle. Nearly all have one, and a set of one would take 160 bytes more."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, token: str) -> Opened | None:
        """Return what was opened under ``token``, or None."""
        opened = self._young.get(token)
        if opened is not None:
            return opened
        opened = self._old.pop(token, None)
        if opened is not None:
            self._add(opened)
        return opened

    def put(self, opened: Opened) -> None:
        """Remember an opened session."""
        token, handle = opened.token, opened.session.handle
        self._old.pop(token, None)
        known = self._tokens.get(handle)
        if known is None:
            self._tokens[handle] = (token,)
        elif token not in known:
            self._tokens[handle] = (*known, token)
        self._add(opened)

    def _add(self, opened: Opened) -> None:
        if len(self._young) >= self._capacity and opened.token not in self._young:
            for stale in self._old.values():
                self._forget_token(stale)
            self._old, self._young = self._young, {}
        self._young[opened.token] = opened

    def _forget_token(self, opened: Opened) -> None:
        handle = opened.session.handle
        left = tuple(token for token in self._tokens.get(handle, ()) if token != opened.token)
        if left:
            self._tokens[handle] = left
        else:
            self._tokens.pop(handle, None)

    def forget(self, handle: str) -> None:
        """Drop every token of a session; what still holds one of them sees that it is over."""
        for token in self._tokens.pop(handle, ()):
            for generation in (self._young, self._old):
                opened = generation.pop(token, None)
                if opened is not None:
                    opened.until = 0.0

    def doubt(self, handle: str) -> None:
        """Drop every token of a session that somebody else has changed; what still holds one has to ask again."""
        for token in self._tokens.pop(handle, ()):
            for generation in (self._young, self._old):
                opened = generation.pop(token, None)
                if opened is not None:
                    opened.doubtful = True

    def doubt_all(self) -> None:
        """Let whatever holds a session ask again; they are kept."""
        for generation in (self._young, self._old):
            for opened in generation.values():
                opened.doubtful = True

    def clear(self) -> None:
        """Drop everything; what still holds a session has to ask again."""
        self.doubt_all()
        self._young, self._old = {}, {}
        self._tokens.clear()

    def forget_user(self, user: str, created_until: float) -> None:
        """Drop the sessions of a user that were created at or before a time."""
        self.forget_if(lambda session: session.identity.user == user and session.created <= created_until)

    def forget_if(self, ended: Callable[[Session], bool]) -> None:
        """Drop the sessions that ``ended`` says are over; rare, so it looks at all."""
        generations = (self._young, self._old)
        found = {opened.session.handle for held in generations for opened in held.values() if ended(opened.session)}
        for handle in found:
            self.forget(handle)
