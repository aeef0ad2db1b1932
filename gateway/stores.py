"""Session stores and login throttles out of settings."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.control.once import Once
from gateway.core.redis_address import RedisAddress
from gateway.errors import ConfigError, Problem, StoreUnavailable
from gateway.login.shared_throttle import SharedThrottle
from gateway.login.sqlite_throttle import SqliteThrottle
from gateway.login.throttle import FallbackThrottle, LoginThrottle, MemoryThrottle
from gateway.sessions.cookie_store import CookieStore
from gateway.sessions.handovers import Handovers
from gateway.sessions.last_seen import LastSeen
from gateway.sessions.recent import RecentSessions
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_handovers import RedisHandovers
from gateway.sessions.redis_memory import records_prefix
from gateway.sessions.redis_once import RedisOnce
from gateway.sessions.redis_store import RedisStore
from gateway.sessions.redis_values import RedisValues
from gateway.sessions.redis_vault import RedisTokenVault
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.sqlite_store import SqliteStore
from gateway.sessions.sqlite_vault import SqliteTokenVault
from gateway.sessions.steady_vault import SteadyVault, Waiting
from gateway.sessions.store import SessionStore
from gateway.sessions.token_vault import TokenVault
from gateway.settings.settings import Settings

Announce = Callable[[], Awaitable[None]]
"""Lets the other processes of this host look at what ended on disk; returns when they have."""
T = TypeVar("T")


def make_store(settings: Settings, announce: Announce, last_seen: LastSeen | None = None) -> SessionStore:
    """Return the session store that the settings ask for; the network is first touched by its `start`.

    ``last_seen`` is for sealed sessions, which are used where no cookie can tell. Raises ConfigError.
    """
    keys, recent = KeyRing(settings.keys, os.urandom), RecentSessions(settings.memory)
    lifetimes, folder, address = settings.lifetimes, settings.state_dir, settings.redis

    def cookie_store() -> SessionStore:
        longest = max(lifetimes.absolute, lifetimes.remember or 0.0)
        revocations = Revocations(folder / "revocations.sqlite", longest, time.time())
        return CookieStore(keys, revocations, recent, lifetimes, time.time, announce, last_seen)

    def sqlite_store() -> SessionStore:
        return SqliteStore(folder / "sessions.sqlite", keys, recent, lifetimes, time.time, os.urandom, announce)

    if address is not None:
        client = redis_client(settings, address, follow=records_prefix(address))
        return RedisStore(client, keys, recent, lifetimes, settings.grace, time.time, os.urandom)
    makers = {"cookie": cookie_store, "sqlite": sqlite_store}
    return _opened(settings, makers[settings.store])


def make_throttle(settings: Settings) -> LoginThrottle:
    """Return the throttle of logins, shared in Redis where sessions are, else in a file. Raises ConfigError."""
    key, address = KeyRing(settings.keys, os.urandom).derive("throttle")[0], settings.redis

    def in_file() -> LoginThrottle:
        return SqliteThrottle(settings.state_dir / "throttle.sqlite", time.time, key)

    shared: LoginThrottle
    if address is not None:
        shared = SharedThrottle(RedisValues(redis_client(settings, address), "throttle"), time.time, key)
    else:
        shared = _opened(settings, in_file)
    return FallbackThrottle(shared, MemoryThrottle(time.monotonic))


def make_handovers(settings: Settings, memory: Handovers) -> Handovers:
    """Return where sessions on their way between hosts are: in Redis where sessions are, else in this process.

    Raises ConfigError.
    """
    if settings.redis is None:
        return memory
    return RedisHandovers(redis_client(settings, settings.redis), KeyRing(settings.keys, os.urandom))


def make_once(settings: Settings, memory: Once) -> Once:
    """Return where it is remembered which logout tokens were used: in Redis where sessions are, else in this process.

    Raises ConfigError.
    """
    return memory if settings.redis is None else RedisOnce(redis_client(settings, settings.redis))


def make_vault(settings: Settings, waiting: dict[str, Waiting]) -> TokenVault | None:
    """Return where the tokens of logins are kept: in Redis where sessions are, else in a file of this host.

    None where nobody logs in at a provider. ``waiting`` outlives a reload. Raises ConfigError.
    """
    if not settings.providers:
        return None
    keys = KeyRing(settings.keys, os.urandom)

    def in_file() -> TokenVault:
        return SqliteTokenVault(settings.state_dir / "tokens.sqlite", keys, time.time, os.urandom)

    if settings.redis is None:
        return SteadyVault(_opened(settings, in_file), waiting, time.time)
    client = redis_client(settings, settings.redis)
    return SteadyVault(RedisTokenVault(client, keys, time.time, os.urandom), waiting, time.time)


def redis_client(settings: Settings, address: RedisAddress, *, follow: str = "") -> RedisClient:
    """Return a client, not started yet, that follows the keys with this beginning. Raises ConfigError."""
    try:
        return RedisClient(address, follow=follow)
    except (OSError, ssl.SSLError) as error:
        text = f"a certificate file cannot be used: {error}"
        raise ConfigError([Problem(settings.where("session.redis"), "session.redis", text)]) from error


def _opened(settings: Settings, make: Callable[[], T]) -> T:
    """Make what opens a file of ``state_dir``; say where that is configured if it cannot be."""
    try:
        return make()
    except StoreUnavailable as error:
        raise ConfigError([Problem(settings.where("state_dir"), "state_dir", str(error))]) from error
