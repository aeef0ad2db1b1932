"""On what terms a stored session is opened: its own end, the lifetimes of today, and a clock that may jump."""

from __future__ import annotations

from typing import Final

from gateway.core.session import Lifetimes, Session, SessionSummary
from gateway.errors import BadToken, IdleSession
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

    def absolute_end(self, session: Session) -> float:
        """Return when a session ends however much it is used, by what it says and by the lifetimes of today."""
        limits = self._lifetimes
        longest = (limits.remember or 0.0) if session.remembered else limits.absolute
        return min(session.expires, session.created + longest)

    def seems_idle(self, session: Session, now: float) -> bool:
        """Tell whether a session has ended for want of use, so far as it knows itself, and for nothing else."""
        return self.end(session) <= now < self.absolute_end(session)

    def admit(self, session: Session, now: float) -> None:
        """Raise BadToken where a session is over, or from the future; IdleSession where it was only not used."""
        if session.created > now + CLOCK_LEEWAY:
            raise BadToken("the session is from the future: the clock was set back")
        if self.end(session) <= now:
            if now < self.absolute_end(session):
                raise IdleSession("the session was not used for too long")
            raise BadToken("the session is over")

    def used(self, opened: Opened, seen: float) -> None:
        """Let an opened session be one that was used at ``seen``, which another process has told."""
        opened.session = opened.session.touched(seen)
        opened.until = self.end(opened.session)
        if opened.renew_at and opened.session.idle is not None:
            opened.renew_at = opened.session.seen + self._renewal_interval

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
