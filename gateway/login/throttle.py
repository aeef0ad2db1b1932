"""Slowing down password guessing: per account, per network, and per account and network together.

The first failures are free, then each one doubles the wait, up to some minutes; failures are
forgotten with time, so nobody is ever locked out for good. Attempts count when they begin, so a
burst of parallel ones gains nothing. Where an account was logged into before, from a browser or a
network, failures elsewhere do not hold it up there (after OWASP's "device cookies"): else anybody
could lock anybody out.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_network
from typing import Protocol

from gateway.core.policy import Address
from gateway.errors import StoreUnavailable, TooManyAttempts
from gateway.login.curve import CURVES, Count, Curve, counted

_log = logging.getLogger("gateway.login")

USER_CHARACTERS = 256
"""A longer user name counts under its beginning."""
RECORDS = 20_000
"""Per curve, about 6 MiB; beyond, what was longest unused is forgotten."""
PLACES = 50_000
"""Remembered browsers and networks of successful logins."""
UNKNOWN_NETWORK = "unknown"
"""Of clients whose address is not known."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who wants to log in as whom."""

    user: str
    network: str
    """From `client_network`."""
    device: str = ""
    """Something only that browser knows; empty where it showed nothing."""


@dataclass(frozen=True, slots=True)
class Key:
    """Under what something is counted."""

    kind: str
    """Of `CURVES`."""
    parts: tuple[str, ...]

    @property
    def curve(self) -> Curve:
        """Return how failures count here."""
        return CURVES[self.kind]


@dataclass(frozen=True, slots=True)
class Ticket:
    """An attempt that was let through and counted."""

    attempt: Attempt
    keys: tuple[Key, ...]
    """Under which it was counted."""
    in_memory: Ticket | None = None
    """The same attempt, where it was counted in memory besides."""


class LoginThrottle(Protocol):
    """What slows logins down. An attempt of which nothing is told after `begin` is a failure."""

    async def begin(self, attempt: Attempt) -> Ticket:
        """Count an attempt. Raises TooManyAttempts where it comes too early; that one is not counted."""

    async def succeeded(self, ticket: Ticket) -> None:
        """Take back an attempt that logged in, forget the failures from there, and remember the place."""

    async def abandoned(self, ticket: Ticket) -> None:
        """Take back an attempt whose password was not looked at."""

    async def close(self) -> None:
        """Give back what the throttle holds open."""


# What every throttle counts under


def device_key(attempt: Attempt) -> Key:
    """Return the account as used from this browser; as a place it is worth something only where there is a device."""
    return Key("here", ("browser", attempt.user[:USER_CHARACTERS], attempt.device))


def network_key(attempt: Attempt) -> Key:
    """Return the account as used from this network."""
    return Key("here", ("network", attempt.user[:USER_CHARACTERS], attempt.network))


def places_of(attempt: Attempt) -> list[Key]:
    """Return what to remember after a successful login, and to ask for before the next."""
    return [network_key(attempt), device_key(attempt)] if attempt.device else [network_key(attempt)]


def counted_under(attempt: Attempt, knows: Callable[[Key], bool]) -> tuple[Key, ...]:
    """Return under what an attempt counts; ``knows`` tells which of `places_of` it are remembered.

    From a known browser it counts for itself alone, so that neither an attacker elsewhere nor a
    neighbour on the same network is in its way; from a known network only for that network.
    """
    if attempt.device and knows(device_key(attempt)):
        return (device_key(attempt),)
    by_network = (network_key(attempt), Key("network", (attempt.network,)))
    if knows(network_key(attempt)):
        return by_network
    return (*by_network, Key("account", (attempt.user[:USER_CHARACTERS],)))


def refuse(wait: float) -> TooManyAttempts:
    """Return the error for an attempt that comes ``wait`` seconds too early."""
    return TooManyAttempts(math.ceil(wait))


class MemoryThrottle:
    """A `LoginThrottle` in the memory of one process; a restart forgives everything.

    ``clock`` is monotonic, in seconds: the wall clock set back must not lock anybody out.
    """

    def __init__(self, clock: Callable[[], float], *, records: int = RECORDS, places: int = PLACES) -> None:
        self._clock = clock
        self._counts: dict[str, OrderedDict[Key, Count]] = {kind: OrderedDict() for kind in CURVES}
        self._records = records
        self._places: OrderedDict[Key, None] = OrderedDict()
        self._limit = places

    async def begin(self, attempt: Attempt) -> Ticket:
        """Count an attempt, or raise TooManyAttempts."""
        now = self._clock()
        keys = counted_under(attempt, self._places.__contains__)
        found = [self._counts[key.kind].get(key) for key in keys]
        wait = max(count.remaining(now) if count else 0.0 for count in found)
        if wait > 0:
            raise refuse(wait)
        for key, count in zip(keys, found, strict=True):
            self._put(key, counted(count, key.curve, now))
        return Ticket(attempt, keys)

    def _put(self, key: Key, count: Count) -> None:
        counts = self._counts[key.kind]
        counts[key] = count
        counts.move_to_end(key)
        if len(counts) > self._records:
            counts.popitem(last=False)

    async def succeeded(self, ticket: Ticket) -> None:
        """Take the attempt back, forget the failures of this account from there, and remember the place."""
        await self.abandoned(ticket)
        for key in (network_key(ticket.attempt), device_key(ticket.attempt)):
            self._counts[key.kind].pop(key, None)
        for place in places_of(ticket.attempt):
            self._places[place] = None
            self._places.move_to_end(place)
            if len(self._places) > self._limit:
                self._places.popitem(last=False)

    async def abandoned(self, ticket: Ticket) -> None:
        """Take the attempt back."""
        for key in ticket.keys:
            count = self._counts[key.kind].get(key)
            if count:
                self._counts[key.kind][key] = count.taken_back(key.curve)

    async def close(self) -> None:
        """Do nothing."""

    def __len__(self) -> int:
        return sum(map(len, self._counts.values())) + len(self._places)


class FallbackThrottle:
    """A `LoginThrottle` that is shared by processes, and one in memory that decides while the shared one fails.

    Memory counts all the time, so that an attacker who brings the other down gains nothing by it.
    """

    def __init__(self, shared: LoginThrottle, memory: MemoryThrottle) -> None:
        """``shared`` raises StoreUnavailable where it cannot count."""
        self._shared = shared
        self._memory = memory
        self._works = True

    async def begin(self, attempt: Attempt) -> Ticket:
        """Count an attempt, or raise TooManyAttempts."""
        in_memory: Ticket | None = None
        too_early: TooManyAttempts | None = None
        try:
            in_memory = await self._memory.begin(attempt)
        except TooManyAttempts as error:
            too_early = error
        try:
            ticket = await self._shared.begin(attempt)
        except TooManyAttempts:
            if in_memory is not None:
                await self._memory.abandoned(in_memory)
            raise
        except StoreUnavailable as error:
            self._failed(error)
            if in_memory is None:
                raise too_early or refuse(1.0) from error
            return Ticket(attempt, (), in_memory)
        self._recovered()
        return replace(ticket, in_memory=in_memory)

    async def succeeded(self, ticket: Ticket) -> None:
        """Take the attempt back, and remember the place."""
        await self._memory.succeeded(ticket.in_memory or Ticket(ticket.attempt, ()))
        try:
            await self._shared.succeeded(ticket)
        except StoreUnavailable as error:
            self._failed(error)

    async def abandoned(self, ticket: Ticket) -> None:
        """Take the attempt back."""
        if ticket.in_memory is not None:
            await self._memory.abandoned(ticket.in_memory)
        try:
            await self._shared.abandoned(ticket)
        except StoreUnavailable as error:
            self._failed(error)

    def _failed(self, error: StoreUnavailable) -> None:
        if self._works:
            _log.error("failed logins are counted in this process alone: %s", error)
        self._works = False

    def _recovered(self) -> None:
        if not self._works:
            _log.info("failed logins are counted together again")
        self._works = True

    async def close(self) -> None:
        """Close the shared one."""
        await self._shared.close()


def client_network(client: Address | None) -> str:
    """Return the network that one client is taken to own: the address itself in IPv4, its /64 in IPv6."""
    if client is None:
        return UNKNOWN_NETWORK
    bits = 64 if isinstance(client, IPv6Address) else 32
    return str(ip_network((client, bits), strict=False))
