"""The sealed-cookie store: the whole session travels in the cookie; kept here is only what was ended."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.session import Lifetimes, Session, SessionSummary
from gateway.errors import BadToken
from gateway.sessions.payload import dump_session, parse_session
from gateway.sessions.recent import RecentSessions
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import Opened

PURPOSE = "session"
CLOCK_LEEWAY = 60.0
"""Seconds that a session may seem to come from the future."""


class CookieStore:
    """A `SessionStore` whose tokens are the sessions."""

    def __init__(
        self,
        keys: KeyRing,
        revocations: Revocations,
        recent: RecentSessions,
        lifetimes: Lifetimes,
        clock: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._lifetimes = lifetimes
        self._renewal_interval = lifetimes.renewal_interval()
        self._revocations = revocations
        self._recent = recent
        self._clock = clock
        self.peek = recent.get
        revocations.empties(recent)

    async def start(self) -> None:
        """Do nothing: what others end is learnt by `refresh`."""

    async def load(self, token: str, now: float, *, grace: float | None = None) -> Opened:
        """Open a sealed session. Raises BadToken where it is forged, over or ended."""
        session = parse_session(self._keys.open(PURPOSE, token))
        if session.created > now + CLOCK_LEEWAY:
            raise BadToken("the session is from the future: the clock was set back")
        if self._end(session) <= now:
            raise BadToken("the session is over")
        if self._revocations.covers(session):
            raise BadToken("the session was ended")
        opened = self._opened(session, token)
        if not self._keys.seals_with_first(token):
            opened.renew_at = 0.0
        return opened

    def _opened(self, session: Session, token: str) -> Opened:
        opened = Opened(session, token, self._end(session))
        if session.idle is not None:
            opened.renew_at = session.seen + self._renewal_interval
        self._recent.put(opened)
        return opened

    def _end(self, session: Session) -> float:
        """Return when a session ends by what it says and by the lifetimes of today, which may be shorter."""
        limits = self._lifetimes
        if session.idle is None:
            return min(session.ends(), session.created + (limits.remember or 0.0))
        return min(session.ends(), session.created + limits.absolute, session.seen + limits.idle)

    def is_over(self, opened: Opened, now: float) -> bool:
        """Tell whether a session in use has run out or was ended."""
        latest = opened.latest()
        return latest.until <= now or self._revocations.covers(latest.session)

    async def save(self, session: Session, token: str | None = None) -> Opened:
        """Seal a session, under a new token each time. Raises BadToken where it was ended meanwhile."""
        if self._revocations.covers(session):
            raise BadToken("the session was ended")
        return self._opened(session, self._keys.seal(PURPOSE, dump_session(session)))

    async def replace(self, old: Session | None, new: Session) -> Opened:
        """Seal ``new``, end ``old``."""
        if old is not None:
            await self.revoke(old)
        return await self.save(new)

    async def revoke(self, session: Session | SessionSummary) -> None:
        """End a session; every token that was ever sealed for it is refused from now on."""
        await self._revocations.add(session, self._clock())

    async def revoke_user(self, user: str, now: float) -> None:
        """End every session of ``user`` created before or at ``now``."""
        await self._revocations.add_user(user, now)

    async def revoke_all(self, now: float) -> None:
        """End every session of everybody that was created before or at ``now``."""
        await self._revocations.add_all(now)

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
        self._revocations.close()
