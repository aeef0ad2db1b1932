"""A stream or WebSocket that stays open: for whose session, and by which rule they were let in.

Who they are may change while it is open, so the sweep judges them again. A login that has become too old
for a step-up since is none of its business: what needed it was let in with it.
"""

from __future__ import annotations

from gateway.core.identity import Identity
from gateway.core.policy import Address, Rule
from gateway.proxy.credentials import Presented
from gateway.sessions.store import Opened


class Watched:
    """What the sweep looks at."""

    __slots__ = (
        "_address",
        "_judged",
        "_method",
        "_rule",
        "ends_when_idle",
        "kept_until",
        "opened",
        "presented",
        "store_grace",
    )

    def __init__(
        self,
        opened: Opened,
        presented: Presented | None,
        store_grace: float | None,
        rule: Rule,
        method: str,
        address: Address | None,
        ends_when_idle: bool,
    ) -> None:
        self.opened = opened
        self.presented = presented
        """The credential that it has in place of a session, if that is so."""
        self.store_grace = store_grace
        """For how long the session may go on without its store, by its route, seconds; None: as configured."""
        self.ends_when_idle = ends_when_idle
        """Whether it ends with a session that is not used: event streams and WebSockets do, a download goes on."""
        self.kept_until = 0.0
        """Until when the store keeps what tells that an idle session was not revoked, seconds since the epoch."""
        self._rule = rule
        self._method = method
        self._address = address
        self._judged: Identity | None = None
        """Who was let in."""

    def follow(self) -> Opened:
        """Go on with the newest state of the session, and return it."""
        self.opened = self.opened.latest()
        return self.opened

    def needs_session(self) -> bool:
        """Tell whether nobody has this who has no session."""
        return not self._rule.public

    def is_allowed(self) -> bool:
        """Tell whether whom the session is now may have this; judged only where that has changed."""
        identity, rule = self.opened.latest().session.identity, self._rule
        if identity is self._judged or rule.public:
            return True
        self._judged = identity
        return rule.allow.missing(identity, self._method, self._address) is None
