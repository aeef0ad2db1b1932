"""Audit events: logins, failures, logouts and changes of rights, as values. Writing them is not done here.

Nothing in an event is secret: never a password, a token or a cookie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

AuditKind = Literal[
    "login",
    "login_failed",
    "login_throttled",
    "logout",
    "logout_refused",
    "handed_over",
    "handover_refused",
    "session_ended",
    "sessions_ended",
    "csrf_refused",
    "admin_refused",
    "users_reloaded",
    "rights_changed",
    "api_key_made",
    "api_key_revoked",
    "session_superseded",
]
TEXT_CHARACTERS: Final = 256
"""Longer user names, user agents and request ids, which anybody may send, are cut."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened to an account. The writer escapes control characters, as JSON does."""

    kind: AuditKind
    user: str = ""
    """As it was typed where nobody is logged in; it may name nobody."""
    client: str = ""
    """The client's address; empty for what the gateway does by itself."""
    by: str = ""
    """Who ended sessions from a list, or made a key: ``user``, ``provider``, ``admin API`` or ``command line``."""
    session: str = ""
    """The handle of the session that began or ended."""
    ended: int = 0
    """How many sessions this ended, where several may be and the store can count them."""
    reason: str = ""
    """For the operator; what the client was told is less."""
    request_id: str = ""
    user_agent: str = ""
    time: float = 0.0
    """Seconds since the epoch."""

    def __post_init__(self) -> None:
        for name in ("user", "request_id", "user_agent"):
            object.__setattr__(self, name, getattr(self, name)[:TEXT_CHARACTERS])
