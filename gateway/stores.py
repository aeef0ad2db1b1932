"""Session stores and login throttles out of settings."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

from gateway.errors import ConfigError, Problem, StoreUnavailable
from gateway.login.throttle import LoginThrottle, MemoryThrottle
from gateway.sessions.cookie_store import CookieStore
from gateway.sessions.recent import RecentSessions
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import SessionStore
from gateway.settings.settings import Settings

Announce = Callable[[], Awaitable[None]]


def make_store(settings: Settings, announce: Announce) -> SessionStore:
    """Return the session store that the settings ask for. Raises ConfigError."""
    longest = max(settings.lifetimes.absolute, settings.lifetimes.remember or 0.0)
    try:
        revocations = Revocations(settings.state_dir / "revocations.sqlite", longest, time.time())
    except StoreUnavailable as error:
        raise ConfigError([Problem(settings.where("state_dir"), "state_dir", str(error))]) from error
    keys = KeyRing(settings.keys, os.urandom)
    return CookieStore(keys, revocations, RecentSessions(settings.memory), settings.lifetimes, time.time, announce)


def make_throttle(settings: Settings) -> LoginThrottle:
    """Return the throttle of logins."""
    return MemoryThrottle(time.monotonic)
