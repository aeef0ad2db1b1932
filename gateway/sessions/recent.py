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
        self._closed: dict[str, Opened] = {}
        """Those whose tokens are closed, for what is open under them; `get` does not find them."""
        self._tokens: dict[str, tuple[str, ...]] = {}
        """By handle. Nearly all have one, and a set of one would take 160 bytes more."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._closed)

    def get(self, token: str) -> Opened | None:
        """Return what was opened under ``token``, or None."""
        opened = self._young.get(token)
        if opened is not None:
            return opened
        opened = self._old.pop(token, None)
        if opened is not None:
            self._add(opened)
        return opened

    def held(self, opened: Opened) -> Opened | None:
        """Return what is here under the token of a session, be it closed or not, as that is."""
        return self._closed.get(opened.token) if opened.closed else self.get(opened.token)

    def get_closed(self, token: str) -> Opened | None:
        """Return what was opened under a token that is closed, or None."""
        return self._closed.get(token)

    def put(self, opened: Opened) -> None:
        """Remember an opened session."""
        token, handle = opened.token, opened.session.handle
        self._old.pop(token, None)
        known = self._tokens.get(handle)
        if known is None:
            self._tokens[handle] = (token,)
        elif token not in known:
            self._tokens[handle] = (*known, token)
        if opened.closed:
            self._add_closed(opened)
        else:
            self._add(opened)

    def _add_closed(self, opened: Opened) -> None:
        self._young.pop(opened.token, None)
        self._closed.pop(opened.token, None)
        if len(self._closed) >= self._capacity:
            stale = self._closed.pop(next(iter(self._closed)))
            # Of changes to it nobody tells any more.
            stale.doubtful = True
            self._forget_token(stale)
        self._closed[opened.token] = opened

    def close(self, handle: str, token_id: str) -> None:
        """Let `get` no longer find one token of a session; what still holds it goes on."""
        for token in self._tokens.get(handle, ()):
            opened = self._young.get(token) or self._old.get(token)
            if opened is not None and opened.token_id == token_id:
                self._young.pop(token, None)
                self._old.pop(token, None)
                opened.closed = True
                self._add_closed(opened)

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
            for generation in (self._young, self._old, self._closed):
                opened = generation.pop(token, None)
                if opened is not None:
                    opened.until = 0.0

    def doubt(self, handle: str) -> None:
        """Drop every token of a session that somebody else has changed; what still holds one has to ask again."""
        for token in self._tokens.pop(handle, ()):
            for generation in (self._young, self._old, self._closed):
                opened = generation.pop(token, None)
                if opened is not None:
                    opened.doubtful = True

    def doubt_all(self) -> None:
        """Let whatever holds a session ask again; they are kept."""
        for generation in (self._young, self._old, self._closed):
            for opened in generation.values():
                opened.doubtful = True

    def clear(self) -> None:
        """Drop everything; what still holds a session has to ask again."""
        self.doubt_all()
        self._young, self._old, self._closed = {}, {}, {}
        self._tokens.clear()

    def forget_user(self, user: str, created_until: float) -> None:
        """Drop the sessions of a user that were created at or before a time."""
        self.forget_if(lambda session: session.identity.user == user and session.created <= created_until)

    def forget_if(self, ended: Callable[[Session], bool]) -> None:
        """Drop the sessions that ``ended`` says are over; rare, so it looks at all."""
        generations = (self._young, self._old, self._closed)
        found = {opened.session.handle for held in generations for opened in held.values() if ended(opened.session)}
        for handle in found:
            self.forget(handle)
