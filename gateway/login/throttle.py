"""Slowing down password guessing: per account, per network, and per account and network together.

The first failures are free, then each one doubles the wait, up to some minutes; failures are
forgotten with time, so nobody is ever locked out for good. Attempts count when they begin, so a
burst of parallel ones gains nothing. Where an account was logged into before, from a browser or a
network, failures elsewhere do not hold it up there (after OWASP's "device cookies"): else anybody
could lock anybody out.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Protocol

from gateway.core.policy import Address
from gateway.errors import TooManyAttempts

USER_CHARACTERS = 256
"""A longer user name counts under its beginning."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who wants to log in as whom."""

    user: str
    network: str
    """From `client_network`."""
    device: str = ""
    """Something only that browser knows; empty where it showed nothing."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """An attempt that was let through and counted."""

    attempt: Attempt
    keys: tuple[Hashable, ...]
    """Under which it was counted; the throttle's own."""


class LoginThrottle(Protocol):
    """What slows logins down. An attempt of which nothing is told after `begin` is a failure."""

    async def begin(self, attempt: Attempt) -> Ticket:
        """Count an attempt. Raises TooManyAttempts where it comes too early; that one is not counted."""

    async def succeeded(self, ticket: Ticket) -> None:
        """Take back an attempt that logged in, forget the failures from there, and remember the place."""

    async def abandoned(self, ticket: Ticket) -> None:
        """Take back an attempt whose password was not looked at."""


@dataclass(frozen=True, slots=True)
class Curve:
    """How failures of one kind slow down the next attempt. Times are seconds."""

    free: int
    """Failures without a wait."""
    first: float
    """The first wait; each further failure doubles it."""
    longest: float
    forgiven_after: float
    """After that long one failure is forgotten: the rate of guesses in the long run."""

    def wait(self, failures: float) -> float:
        """Return how long the next attempt has to wait after so many failures."""
        over = failures - self.free
        return min(self.longest, self.first * 2 ** (min(over, 64.0) - 1)) if over > 0 else 0.0


HERE = Curve(free=5, first=2.0, longest=300.0, forgiven_after=300.0)
"""One account from one network or known browser."""
ACCOUNT = Curve(free=20, first=1.0, longest=60.0, forgiven_after=60.0)
"""One account from wherever it was not used before."""
NETWORK = Curve(free=30, first=1.0, longest=300.0, forgiven_after=60.0)
"""All accounts from one network, behind which there may be a whole office."""

RECORDS = 20_000
"""Per curve, about 6 MiB; beyond, what was longest unused is forgotten."""
PLACES = 50_000
"""Remembered browsers and networks of successful logins."""


@dataclass(slots=True)
class _Record:
    failures: float
    at: float
    """When ``failures`` was right."""
    until: float
    """No attempt before that."""


class _Records:
    """The failures counted on one curve, by key; bounded."""

    def __init__(self, curve: Curve, limit: int) -> None:
        self._curve = curve
        self._limit = limit
        self._by_key: OrderedDict[Hashable, _Record] = OrderedDict()

    def remaining(self, key: Hashable, now: float) -> float:
        """Return for how long attempts under ``key`` must still wait."""
        record = self._by_key.get(key)
        return record.until - now if record else 0.0

    def count(self, key: Hashable, now: float) -> None:
        """Count one attempt, as a failure until it is taken back."""
        record = self._by_key.get(key)
        if record is None:
            record = self._by_key[key] = _Record(0.0, now, 0.0)
            if len(self._by_key) > self._limit:
                self._by_key.popitem(last=False)
        forgiven = max(0.0, now - record.at) / self._curve.forgiven_after
        record.failures = max(0.0, record.failures - forgiven) + 1
        record.at = now
        wait = self._curve.wait(record.failures)
        record.until = now + wait if wait else 0.0
        self._by_key.move_to_end(key)

    def take_back(self, key: Hashable) -> None:
        """Undo one attempt."""
        record = self._by_key.get(key)
        if record:
            record.failures = max(0.0, record.failures - 1)
            if record.failures <= self._curve.free:
                record.until = 0.0

    def forget(self, key: Hashable) -> None:
        """Undo all attempts under ``key``."""
        self._by_key.pop(key, None)

    def __len__(self) -> int:
        return len(self._by_key)


class MemoryThrottle:
    """A `LoginThrottle` in the memory of one process; a restart forgives everything.

    ``clock`` is monotonic, in seconds: the wall clock set back must not lock anybody out.
    """

    def __init__(self, clock: Callable[[], float], *, records: int = RECORDS, places: int = PLACES) -> None:
        self._clock = clock
        self._here = _Records(HERE, records)
        self._accounts = _Records(ACCOUNT, records)
        self._networks = _Records(NETWORK, records)
        self._places: OrderedDict[Hashable, None] = OrderedDict()
        self._limit = places

    async def begin(self, attempt: Attempt) -> Ticket:
        """Count an attempt, or raise TooManyAttempts."""
        now = self._clock()
        counted = self._counted(attempt)
        wait = max(records.remaining(key, now) for records, key in counted)
        if wait > 0:
            raise TooManyAttempts(math.ceil(wait))
        for records, key in counted:
            records.count(key, now)
        return Ticket(attempt, tuple(key for _, key in counted))

    def _counted(self, attempt: Attempt) -> list[tuple[_Records, Hashable]]:
        """Return under what an attempt counts.

        From a known browser it counts for itself alone, so that neither an attacker elsewhere nor a
        neighbour on the same network is in its way; from a known network only for that network.
        """
        device, network = _device_key(attempt), _network_key(attempt)
        if device in self._places:
            return [(self._here, device)]
        by_network: list[tuple[_Records, Hashable]] = [(self._here, network), (self._networks, attempt.network)]
        if network in self._places:
            return by_network
        return [*by_network, (self._accounts, attempt.user[:USER_CHARACTERS])]

    async def succeeded(self, ticket: Ticket) -> None:
        """Take the attempt back, forget the failures of this account from there, and remember the place."""
        await self.abandoned(ticket)
        self._here.forget(_network_key(ticket.attempt))
        self._here.forget(_device_key(ticket.attempt))
        self._remember(_network_key(ticket.attempt))
        if ticket.attempt.device:
            self._remember(_device_key(ticket.attempt))

    async def abandoned(self, ticket: Ticket) -> None:
        """Take the attempt back."""
        for records, key in zip((self._here, self._networks, self._accounts), ticket.keys, strict=False):
            records.take_back(key)

    def _remember(self, place: Hashable) -> None:
        self._places[place] = None
        self._places.move_to_end(place)
        if len(self._places) > self._limit:
            self._places.popitem(last=False)

    def __len__(self) -> int:
        return len(self._here) + len(self._accounts) + len(self._networks) + len(self._places)


def _device_key(attempt: Attempt) -> Hashable:
    return "browser", attempt.user[:USER_CHARACTERS], attempt.device


def _network_key(attempt: Attempt) -> Hashable:
    return "network", attempt.user[:USER_CHARACTERS], attempt.network


def client_network(client: Address | None) -> str:
    """Return the network that one client is taken to own: the address itself in IPv4, its /64 in IPv6."""
    if client is None:
        return "unknown"
    bits = 64 if isinstance(client, IPv6Address) else 32
    return str(ip_network((client, bits), strict=False))
