"""The sealed-cookie store: the whole session travels in the cookie; kept here is only what was ended.

    CookieStore(keys, revocations, recent, lifetimes, clock, announce)

The store closes its `Revocations`, of which every process opens its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from gateway.core.session import Lifetimes, Session, SessionSummary
from gateway.errors import BadToken
from gateway.sessions.finish import Announce, alone, announced, finish
from gateway.sessions.last_seen import LastSeen, LastSeenLedger
from gateway.sessions.payload import dump_session, parse_bound
from gateway.sessions.recent import RecentSessions
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import Opened
from gateway.sessions.terms import Terms

PURPOSE: Final = "session"
_TOKEN_ID_BYTES: Final = 4


class CookieStore:
    """A `SessionStore` whose tokens are the sessions."""

    lists = False
    """Only the browsers know their sealed sessions."""

    def __init__(
        self,
        keys: KeyRing,
        revocations: Revocations,
        recent: RecentSessions,
        lifetimes: Lifetimes,
        clock: Callable[[], float],
        announce: Announce = alone,
        last_seen: LastSeen | None = None,
    ) -> None:
        """``last_seen`` knows of uses that no cookie tells; without it, this process alone does."""
        self._keys = keys
        self._terms = Terms(lifetimes)
        self._revocations = revocations
        self._recent = recent
        self._clock = clock
        self._announce = announce
        self._last_seen = last_seen if last_seen is not None else LastSeenLedger()
        self.peek = recent.get
        revocations.empties(recent)

    async def start(self) -> None:
        """Do nothing: what others end is learnt by `refresh`."""

    async def load(
        self, token: str, now: float, *, host: str = "", grace: float | None = None, streaming: bool = False
    ) -> Opened:
        """Open a sealed session. Raises BadToken where it is forged, over, ended, closed or for another host."""
        opened = self._open(token, host)
        self._refuse_ended(opened.session)
        if self._terms.seems_idle(opened.session, now):
            self._terms.used(opened, min(await self._last_seen.ask(opened.session.handle), now))
            self._refuse_ended(opened.session)
        self._terms.admit(opened.session, now)
        opened.closed = self._revocations.closes(opened)
        if opened.closed and not streaming:
            raise BadToken("a later login has taken the place of this token")
        held = self._recent.held(opened)
        if held is not None:
            if held.session.seen < opened.session.seen:
                self._terms.used(held, opened.session.seen)
            return held
        self._recent.put(opened)
        return opened

    def _refuse_ended(self, session: Session) -> None:
        if self._revocations.covers(session):
            raise BadToken("the session was ended")

    def _open(self, token: str, host: str) -> Opened:
        """Open a token, whatever became of its session. Raises BadToken."""
        session, binding = parse_bound(self._keys.open(PURPOSE, token))
        token_id, _, bound = binding.partition("@")
        if bound and bound != host:
            raise BadToken("a token for another host")
        current = self._keys.seals_with_first(token)
        return self._terms.opened(session, token, host=bound, token_id=token_id, current_key=current)

    def is_ours(self, token: str, host: str) -> bool:
        """Tell whether a token was sealed under a key of the ring for this host, or for every host."""
        try:
            self._open(token, host)
        except BadToken:
            return False
        return True

    def is_over(self, opened: Opened, now: float) -> bool:
        """Tell whether a session in use has run out or was ended."""
        latest = opened.latest()
        return latest.until <= now or self._revocations.covers(latest.session)

    async def keep(self, opened: Opened, seconds: float) -> None:
        """Do nothing: the ledger remembers what was revoked."""

    async def save(self, session: Session, token: str | None = None, *, host: str = "") -> Opened:
        """Seal a session, under a new token each time. Raises BadToken where it was ended meanwhile."""
        self._refuse_ended(session)
        if token is None:
            return self._seal(session, host, self._keys.random(_TOKEN_ID_BYTES).hex())
        before = self._open(token, host)
        if session.idle is not None:
            self._last_seen.report(session.handle, session.seen)
        return self._seal(session, before.host, before.token_id)

    def _seal(self, session: Session, host: str, token_id: str) -> Opened:
        token = self._keys.seal(PURPOSE, dump_session(session, f"{token_id}@{host}"))
        opened = self._terms.opened(session, token, host=host, token_id=token_id)
        opened.closed = self._revocations.closes(opened)
        self._recent.put(opened)
        return opened

    def token_for(self, opened: Opened, host: str) -> Opened:
        """Seal a session once more, for one host."""
        return self._seal(opened.session, host, self._keys.random(_TOKEN_ID_BYTES).hex())

    async def replace(self, old: Session | None, new: Session, *, host: str = "") -> Opened:
        """Seal ``new``, end ``old``."""
        if old is not None:
            await self.revoke(old)
        return await self.save(new, host=host)

    async def supersede(self, old: Opened, new: Session) -> None:
        """Close the token of ``old`` for new requests, in favour of ``new``."""
        await self._end(self._revocations.supersede(old, new, self._clock()))

    async def revoke(self, session: Session | SessionSummary, *, spare: str = "", alone: bool = False) -> None:
        """End a session and those linked with it; every token ever sealed for it is refused from now on."""
        await self._end(self._revocations.add(session, self._clock(), spare=spare, alone=alone))

    async def revoke_user(self, user: str, now: float) -> None:
        """End every session of ``user`` created before or at ``now``."""
        await self._end(self._revocations.add_user(user, now))

    async def revoke_logins(self, marks: Sequence[str], now: float) -> int:
        """End every session with one of these marks created before or at ``now``; how many, only browsers know."""
        await self._end(self._revocations.add_logins(marks, now))
        return 0

    async def revoke_all(self, now: float) -> None:
        """End every session of everybody that was created before or at ``now``."""
        await self._end(self._revocations.add_all(now))

    async def _end(self, writing: Coroutine[None, None, None]) -> None:
        async def work() -> None:
            await writing
            await announced(self._announce)

        await finish(work(), "end a session")

    async def list(self, user: str) -> list[SessionSummary]:
        """Return nothing: only the browsers know their sealed sessions."""
        return []

    async def refresh(self) -> None:
        """Take over what other processes have written into the ledger."""
        await self._revocations.refresh()

    async def check(self) -> None:
        """Raise StoreUnavailable unless the ledger works."""
        await self._revocations.check()

    async def close(self) -> None:
        """Close the ledger."""
        await asyncio.to_thread(self._revocations.close)
