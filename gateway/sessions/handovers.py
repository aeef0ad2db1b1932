"""Sessions on their way from one host to another: kept under a code that is good once, and for half a minute.

Two hosts may share no cookie; what stands for the session is a code in an address. It is kept under
its hash, so that neither a look at the memory nor at Redis shows one that is still good.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

SECONDS = 30.0
"""How long a code is good."""
MAX_KEPT = 4096
"""Codes in memory; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What a code stands for."""

    token: str = field(repr=False)
    """A token of the session that is good for the host, as its cookie will have it."""
    host: str
    """The only host that may take it over, in lower case."""
    browser: str
    """A hash of what only the browser that asked can show there."""
    next_url: str = ""
    """Where the browser wanted to go."""


class Handovers(Protocol):
    """Where they are kept. `put` and `take` may raise StoreUnavailable."""

    async def put(self, code: str, handover: Handover) -> None:
        """Keep a session under a code, which must be unguessable."""

    async def take(self, code: str) -> Handover | None:
        """Return what a code stands for, and use it up; None for one that is not there, used or too old."""

    async def close(self) -> None:
        """Give back what is held open."""


class MemoryHandovers:
    """In the memory of the one process that serves our own pages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, Handover]] = {}

    async def put(self, code: str, handover: Handover) -> None:
        """Keep a session under a code."""
        now = self._clock()
        # The oldest stand first, for all are kept equally long.
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) < MAX_KEPT and self._kept[oldest][0] > now:
                break
            del self._kept[oldest]
        self._kept[key_of(code)] = now + SECONDS, handover

    async def take(self, code: str) -> Handover | None:
        """Return what a code stands for, and use it up."""
        until, handover = self._kept.pop(key_of(code), (0.0, None))
        return handover if self._clock() < until else None

    async def close(self) -> None:
        """Do nothing."""


def key_of(code: str) -> str:
    """Return under what a code's session is kept."""
    return hashlib.sha256(b"gateway handover code v1 " + code.encode("utf-8", "replace")).hexdigest()
