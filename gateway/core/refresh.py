"""Keeping what a provider told of somebody fresh: the question a data plane asks, and its answer.

Asking a provider is done in `control.refresher`; nothing here waits or reads a clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of a session whose copy of the provider's word was too old."""

    kind: Literal["fresh", "over", "later"]
    """``fresh``: the session is as the provider tells it now; ``over``: it has ended; ``later``: nothing is known."""
    token: str = field(default="", repr=False)
    """With ``fresh``, the session's token from now on, which may be the same."""
    again: float = 0.0
    """With ``later``, seconds until it is worth asking again."""


Refresh = Callable[[str, str], Awaitable[Refreshed]]
"""Asks whoever refreshes about a session, by its token as its cookie has it and the host that this is good for, which
is empty for every host; never raises."""
