"""Opened sessions in memory, by token: the warm path of the session check."""

from __future__ import annotations

from gateway.sessions.store import Opened


class RecentSessions:
    """A bounded memory of two generations: a full young one becomes the old one, and the old one goes.

    A hit costs one lookup, and nothing is moved while all that is in use fits into the young half;
    an LRU would reorder at every request.
    """

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._young: dict[str, Opened] = {}
        self._old: dict[str, Opened] = {}
        self._tokens: dict[bytes, set[str]] = {}

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
        self._tokens.setdefault(opened.session.id, set()).add(opened.token)
        self._add(opened)

    def _add(self, opened: Opened) -> None:
        if len(self._young) >= self._half:
            for stale in self._old.values():
                self._forget_token(stale)
            self._old, self._young = self._young, {}
        self._young[opened.token] = opened

    def _forget_token(self, opened: Opened) -> None:
        tokens = self._tokens.get(opened.session.id)
        if tokens:
            tokens.discard(opened.token)
            if not tokens:
                del self._tokens[opened.session.id]

    def forget(self, session_id: bytes) -> None:
        """Drop every token of a session; what still holds one of them sees that it is over."""
        for token in self._tokens.pop(session_id, ()):
            for generation in (self._young, self._old):
                opened = generation.pop(token, None)
                if opened is not None:
                    opened.until = 0.0

    def forget_user(self, user: str, created_until: float) -> None:
        """Drop the sessions of a user that were created at or before a time; rare, so it looks at all."""
        found = {
            opened.session.id
            for generation in (self._young, self._old)
            for opened in generation.values()
            if opened.session.identity.user == user and opened.session.created <= created_until
        }
        for session_id in found:
            self.forget(session_id)
