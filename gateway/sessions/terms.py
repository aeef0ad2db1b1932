"""On what terms a stored session is opened: its own end, the lifetimes of today, and a clock that may jump."""

from __future__ import annotations

from typing import Final

from gateway.core.session import Lifetimes, Session, SessionSummary
from gateway.errors import BadToken
from gateway.sessions.store import Opened

CLOCK_LEEWAY: Final = 60.0
"""Seconds that a session may seem to come from the future."""


class Terms:
    """The lifetimes of today, applied to sessions that may have begun under others."""

    def __init__(self, lifetimes: Lifetimes) -> None:
        self._lifetimes = lifetimes
        self._renewal_interval = lifetimes.renewal_interval()

    def end(self, session: Session) -> float:
        """Return when a session ends by what it says and by the lifetimes of today, which may be shorter."""
        return min(session.ends(), self.end_at_most(session))

    def end_at_most(self, session: Session | SessionSummary) -> float:
        """Return when the lifetimes of today end a session at the latest."""
        limits = self._lifetimes
        if session.remembered:
            return session.created + (limits.remember or 0.0)
        return min(session.created + limits.absolute, session.seen + limits.idle)

    def admit(self, session: Session, now: float) -> None:
        """Raise BadToken where a session is over, or from the future."""
        if session.created > now + CLOCK_LEEWAY:
            raise BadToken("the session is from the future: the clock was set back")
        if self.end(session) <= now:
            raise BadToken("the session is over")

    def opened(
        self, session: Session, token: str, *, host: str = "", token_id: str = "", current_key: bool = True
    ) -> Opened:
        """Return an opened session; one that lies under an old key is to be written anew at once."""
        opened = Opened(session, token, self.end(session), host, token_id)
        if not current_key:
            opened.renew_at = 0.0
        elif session.idle is not None:
            opened.renew_at = session.seen + self._renewal_interval
        login = session.login
        if login is not None and login.refresh_at is not None:
            opened.refresh_at = login.refresh_at
        return opened
