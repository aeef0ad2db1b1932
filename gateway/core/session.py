"""A session as a value: who, since when, until when. Changes make a new one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.core.identity import Identity
from gateway.core.provider import ProviderSession

SESSION_ID_BYTES: Final = 16
CLOCKS_DIFFER: Final = 60.0
"""Seconds by which a provider's clock may be behind ours."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long sessions live, in seconds (OWASP ASVS 5.0, 7.3)."""

    idle: float = 30 * 60
    absolute: float = 12 * 3600
    remember: float | None = 30 * 86400
    """Absolute lifetime of a remembered session, which has no idle limit; None turns it off."""

    def renewal_interval(self) -> float:
        """Return the least time between two renewals: 10 % of the idle time, 60 s at most."""
        return min(self.idle * 0.1, 60.0)


@dataclass(slots=True, init=False)
class Session:
    """A logged-in session. Times are seconds since the epoch.

    A value: nobody changes one. It is not `frozen` and has a constructor of its own because one is made at each
    first sight of a token: frozen it costs 9 000 instructions more, and 4 000 with the constructor that
    `dataclass` writes, which is never compiled.
    """

    id: bytes
    identity: Identity
    created: float
    seen: float
    expires: float
    """The absolute end; no renewal moves it."""
    idle: float | None
    """Seconds without a request after which it ends; None for a remembered session."""
    remembered: bool = False
    address: str = ""
    """From where it was begun, as text."""
    device: str = ""
    """On what it was begun, in a few words for its owner, as ``Firefox on Windows``."""
    login: ProviderSession | None = None
    """What remains of the login at an identity provider, for one that began there."""
    _handle: str = field(init=False, repr=False, compare=False)
    """Empty until it was asked for: a hash costs half a microsecond."""

    def __init__(
        self,
        id: bytes,  # noqa: A002 - the attribute's name, which `replace` goes by
        identity: Identity,
        created: float,
        seen: float,
        expires: float,
        idle: float | None,
        remembered: bool = False,
        address: str = "",
        device: str = "",
        login: ProviderSession | None = None,
    ) -> None:
        self.id = id
        self.identity = identity
        self.created = created
        self.seen = seen
        self.expires = expires
        self.idle = idle
        self.remembered = remembered
        self.address = address
        self.device = device
        self.login = login
        self._handle = ""

    @property
    def handle(self) -> str:
        """Return its public name, 32 hexadecimal digits: it leads to the session, and opens nothing."""
        if not self._handle:
            self._handle = session_handle(self.id)
        return self._handle

    @property
    def user(self) -> str:
        """Return the name of the user."""
        return self.identity.user

    @property
    def acr(self) -> str:
        """Return in which way its user logged in, as a provider names it; empty where none did."""
        return self.login.acr if self.login is not None else ""

    def proved_at(self) -> float | None:
        """Return when its user last proved who they are, by our clock; None where a provider did not say.

        That a provider led somebody back just now proves nothing: it may have known them for days.
        """
        if self.login is None:
            return self.created
        at = self.login.auth_time
        return None if at is None else min(self.created, at + CLOCKS_DIFFER)

    def summary(self) -> SessionSummary:
        """Return what a list of sessions tells."""
        return SessionSummary(
            self.handle, self.user, self.created, self.seen, self.expires, self.remembered, self.address, self.device
        )

    def ends(self) -> float:
        """Return when the session ends if no further request comes."""
        return self.expires if self.idle is None else min(self.expires, self.seen + self.idle)

    def touched(self, now: float) -> Session:
        """Return the session as seen at ``now``; a clock set back never shortens it."""
        return replace(self, seen=max(now, self.seen))


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What a list of sessions tells about one; enough to end it, not to use it. Times as in `Session`."""

    handle: str
    user: str
    created: float
    seen: float
    expires: float
    remembered: bool = False
    address: str = ""
    device: str = ""


def session_handle(session_id: bytes) -> str:
    """Return the public name of a session: a hash of its id, 32 hexadecimal digits."""
    return hashlib.sha256(b"gateway session v1 " + session_id).hexdigest()[:32]


def start_session(
    session_id: bytes,
    identity: Identity,
    lifetimes: Lifetimes,
    *,
    remember: bool,
    now: float,
    address: str = "",
    device: str = "",
    login: ProviderSession | None = None,
) -> Session:
    """Return a new session for ``identity`` under a fresh random ``session_id`` (16 bytes)."""
    if len(session_id) != SESSION_ID_BYTES:
        raise ValueError(f"a session id has {SESSION_ID_BYTES} bytes, not {len(session_id)}")
    if remember and lifetimes.remember is not None:
        end = now + lifetimes.remember
        return Session(session_id, identity, now, now, end, None, True, address, device, login)
    end = now + lifetimes.absolute
    return Session(session_id, identity, now, now, end, lifetimes.idle, False, address, device, login)
