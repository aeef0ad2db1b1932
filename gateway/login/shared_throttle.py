"""The throttle over values that hosts share, wherever these lie: a restart forgives nothing.

    FallbackThrottle(SharedThrottle(values, clock, key), MemoryThrottle(monotonic))

What is written goes only over what was read, so hosts that count at once do not lose each other's counts.
Nobody's name, network or browser can be read there: what was counted lies under a keyed hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from gateway.errors import StoreUnavailable, TooManyAttempts
from gateway.login.curve import Count, Curve, counted
from gateway.login.throttle import (
    Attempt,
    Key,
    Ticket,
    counted_under,
    device_key,
    network_key,
    places_of,
    refuse,
)

PLACE_KEPT = 90 * 86400.0
"""Seconds for which the place of a successful login is remembered."""
TRIES = 10
"""How often a change is tried while other hosts change the same."""
_PLACE = b"1"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Written:
    """A value to write, and for how many seconds it is kept."""

    value: bytes
    kept: float


Values: TypeAlias = Mapping[str, bytes | None]
Changes: TypeAlias = Mapping[str, Written | None]


class SharedValues(Protocol):
    """Values by name, which other hosts change too. Each coroutine may raise StoreUnavailable."""

    async def read(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the values."""

    async def swap(self, before: Values, after: Changes) -> bool:
        """Write and delete, all or nothing, if the values are still those ``before``; tell whether they were."""

    async def close(self) -> None:
        """Give back what is held open."""


class SharedThrottle:
    """A `LoginThrottle` over shared values; where these fail its methods raise StoreUnavailable.

    ``clock`` is the wall clock, for hosts share the counts: set back, it makes no wait longer.
    """

    def __init__(self, values: SharedValues, clock: Callable[[], float], key: bytes) -> None:
        """Prepare; ``key`` is secret, up to 64 bytes, and the same on all hosts."""
        self._values = values
        self._clock = clock
        self._key = key
        self._turn = asyncio.Lock()

    async def begin(self, attempt: Attempt) -> Ticket:
        """Count an attempt, or raise TooManyAttempts."""
        now = self._clock()
        everything = {*counted_under(attempt, lambda place: False), device_key(attempt)}
        places = {self._place(place): place for place in places_of(attempt)}

        def work(values: Values) -> tuple[Ticket | TooManyAttempts, Changes]:
            known = {place for name, place in places.items() if values[name] is not None}
            keys = counted_under(attempt, known.__contains__)
            stored = {key: _count(values[self._name(key)]) for key in keys}
            found = {key: count.set_back(now) if count else None for key, count in stored.items()}
            wait = max(count.remaining(now) if count else 0.0 for count in found.values())
            if wait > 0:
                return refuse(wait), {
                    self._name(key): _written(count, key.curve, now)
                    for key, count in found.items()
                    if count is not None and count is not stored[key]
                }
            return Ticket(attempt, keys), {
                self._name(key): _written(counted(count, key.curve, now), key.curve, now)
                for key, count in found.items()
            }

        result = await self._change([*map(self._name, everything), *places], work)
        if isinstance(result, TooManyAttempts):
            raise result
        return result

    async def succeeded(self, ticket: Ticket) -> None:
        """Take the attempt back, forget the failures of this account from there, and remember the place."""
        forgotten = [self._name(key) for key in (network_key(ticket.attempt), device_key(ticket.attempt))]
        places = {self._place(place): Written(_PLACE, PLACE_KEPT) for place in places_of(ticket.attempt)}
        await self._take_back(ticket, {**dict.fromkeys(forgotten), **places})

    async def abandoned(self, ticket: Ticket) -> None:
        """Take the attempt back."""
        await self._take_back(ticket, {})

    async def _take_back(self, ticket: Ticket, more: Changes) -> None:
        now = self._clock()

        def work(values: Values) -> tuple[None, Changes]:
            changes: dict[str, Written | None] = {}
            for key in ticket.keys:
                name = self._name(key)
                count = _count(values[name])
                if count is not None:
                    changes[name] = _written(count.taken_back(key.curve), key.curve, now)
            return None, {**changes, **more}

        await self._change([*map(self._name, ticket.keys), *more], work)

    async def _change(self, names: Sequence[str], work: Callable[[Values], tuple[_T, Changes]]) -> _T:
        # In turn: else the parallel attempts of a burst would only get in each other's way.
        async with self._turn:
            for _ in range(TRIES):
                values = dict(zip(names, await self._values.read(names), strict=True))
                result, changes = work(values)
                if not changes or await self._values.swap({name: values[name] for name in changes}, changes):
                    return result
        raise StoreUnavailable("other hosts change the counts of logins all the time")

    def _name(self, key: Key) -> str:
        text = json.dumps([key.kind, *key.parts]).encode()
        return f"{key.kind}:{hashlib.blake2b(text, key=self._key, digest_size=16).hexdigest()}"

    def _place(self, key: Key) -> str:
        return f"place:{self._name(key)}"

    async def close(self) -> None:
        """Close the values."""
        await self._values.close()


def _count(value: bytes | None) -> Count | None:
    """Return what was counted; what cannot be read counts as nothing."""
    try:
        return Count(*map(float, value.split())) if value else None
    except (ValueError, TypeError):
        return None


def _written(count: Count, curve: Curve, now: float) -> Written:
    """Return a count as a value that is kept until all of it is forgotten."""
    kept = count.remaining(now) + count.failures * curve.forgiven_after
    return Written(f"{count.failures!r} {count.at!r} {count.until!r}".encode(), max(1.0, kept))
