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
        self._tokens: dict[str, set[str]] = {}
        """By handle."""

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
        self._young.pop(opened.token, None)
        self._old.pop(opened.token, None)
        self._tokens.setdefault(opened.session.handle, set()).add(opened.token)
        self._add(opened)

    def _add(self, opened: Opened) -> None:
        if len(self._young) >= self._capacity:
            for stale in self._old.values():
                self._forget_token(stale)
            self._old, self._young = self._young, {}
        self._young[opened.token] = opened

    def _forget_token(self, opened: Opened) -> None:
        tokens = self._tokens.get(opened.session.handle)
        if tokens:
            tokens.discard(opened.token)
            if not tokens:
                del self._tokens[opened.session.handle]

    def forget(self, handle: str) -> None:
        """Drop every token of a session; what still holds one of them sees that it is over."""
        for token in self._tokens.pop(handle, ()):
            for generation in (self._young, self._old):
                opened = generation.pop(token, None)
                if opened is not None:
                    opened.until = 0.0

    def forget_user(self, user: str, created_until: float) -> None:
        """Drop the sessions of a user that were created at or before a time."""
        self.forget_if(lambda session: session.identity.user == user and session.created <= created_until)

    def forget_if(self, ended: Callable[[Session], bool]) -> None:
        """Drop the sessions that ``ended`` says are over; rare, so it looks at all."""
        generations = (self._young, self._old)
        found = {opened.session.handle for held in generations for opened in held.values() if ended(opened.session)}
        for handle in found:
            self.forget(handle)
