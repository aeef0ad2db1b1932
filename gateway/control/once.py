"""Remembering what may be used once: states of logins, ids of logout tokens. Bounded, for a time.

The states are those of one browser, which comes back to where it began. A logout token may be sent to any host.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

MAX_USED = 100_000


class UsedOnce:
    """Names that were used up, each until a time of its own; beyond `MAX_USED` the oldest go first."""

    def __init__(self, most: int = MAX_USED) -> None:
        self._most = most
        self._used: OrderedDict[str, float] = OrderedDict()

    def use_up(self, name: str, until: float, now: float) -> bool:
        """Use up a name; tell whether that was for the first time. Times are seconds since the epoch."""
        while self._used and (len(self._used) >= self._most or next(iter(self._used.values())) <= now):
            self._used.popitem(last=False)
        if name in self._used:
            return False
        self._used[name] = until
        return True

    def give_back(self, name: str) -> None:
        """Let a name be used again, for what it was used for failed."""
        self._used.pop(name, None)


class Once(Protocol):
    """Names that may be used once, on whichever host. Each coroutine may raise StoreUnavailable."""

    async def use_up(self, name: str, until: float, now: float) -> bool:
        """Use up a name, for a short time at least; tell whether that was for the first time."""

    async def keep(self, name: str, until: float, now: float) -> None:
        """Let a name stay used up, for what it was used for is done. Times are seconds since the epoch."""

    async def give_back(self, name: str) -> None:
        """Let a name be used again, for what it was used for failed."""

    async def close(self) -> None:
        """Give back what is held open."""


class MemoryOnce:
    """Names in the memory of the one process that serves our own pages."""

    def __init__(self) -> None:
        self._used = UsedOnce()

    async def use_up(self, name: str, until: float, now: float) -> bool:
        """Use up a name until that time; tell whether that was for the first time."""
        return self._used.use_up(name, until, now)

    async def keep(self, name: str, until: float, now: float) -> None:
        """Do nothing: it stays used up by itself."""

    async def give_back(self, name: str) -> None:
        """Let a name be used again."""
        self._used.give_back(name)

    async def close(self) -> None:
        """Do nothing."""
