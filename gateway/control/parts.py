"""What the control plane is made of, all passed in by the composition root."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from gateway.control.jwks import JwkSet
from gateway.control.metrics import CredentialCounts, LoginCounts, RefreshCounts
from gateway.control.once import MemoryOnce, Once
from gateway.core.audit import AuditEvent
from gateway.core.cookie import CookiePolicy
from gateway.core.metrics import Counters, RunState
from gateway.core.next_url import Serves
from gateway.core.route import Router
from gateway.core.session import Lifetimes
from gateway.login.method import LoginMethod
from gateway.login.redirect import RedirectLogin
from gateway.login.throttle import LoginThrottle
from gateway.sessions.handovers import Handovers, MemoryHandovers
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import SessionStore
from gateway.sessions.token_vault import TokenVault


@dataclass(frozen=True)
class ControlParts:
    """The parts behind ``/_gateway``."""

    store: SessionStore
    session_cookie: CookiePolicy
    lifetimes: Lifetimes
    router: Router
    public_url: str
    """Scheme, host and port by which the gateway is reached, without a path."""
    login: LoginMethod | None
    """None where nobody has a password here."""
    throttle: LoginThrottle
    audit: Callable[[AuditEvent], None]
    csrf_keys: tuple[bytes, ...] = field(repr=False)
    """At least 32 bytes each, for nothing else; the same after a restart, so that open login pages stay good."""
    serves: Serves
    """Whether a GET of a target is served on a host: what a login may lead back to."""
    providers: Mapping[str, RedirectLogin] = field(default_factory=dict)
    """Ways to log in elsewhere, by the provider's id, in the order of their buttons. Who made them starts them."""
    pending_keys: KeyRing | None = field(default=None, repr=False)
    """Seals logins in progress into the browser; needed where there are providers."""
    vault: TokenVault | None = None
    """Keeps the tokens of logins; needed where there are providers. Who made it closes it."""
    jwks: JwkSet | None = None
    """The keys of the signed identity, where there is one."""
    handovers: Handovers = field(default_factory=MemoryHandovers)
    """Sessions on their way to other hosts."""
    logout_tokens: Once = field(default_factory=MemoryOnce)
    """The ids of logout tokens that were used."""
    logins: LoginCounts = field(default_factory=LoginCounts)
    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    random: Callable[[int], bytes] = secrets.token_bytes


async def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class AdminParts:
    """The parts behind the admin listener."""

    store: Callable[[], SessionStore]
    """The store of the configuration in force. Raises StoreUnavailable while there is none yet."""
    counters: Callable[[], Counters]
    logins: LoginCounts
    draining: Callable[[], bool]
    """Whether the gateway is about to stop, so that no new requests should be sent to it."""
    version: str
    audit: Callable[[AuditEvent], None]
    token: Callable[[], str | None] = field(repr=False)
    """What the admin API asks for; None lets in programs of this machine."""
    run: RunState = field(default_factory=RunState)
    refreshes: RefreshCounts = field(default_factory=RefreshCounts)
    credentials: CredentialCounts = field(default_factory=CredentialCounts)
    gather: Callable[[], Awaitable[None]] = _nothing
    """Brings the counters up to date."""
    clock: Callable[[], float] = time.time
