"""Remembering what may be used once: states of logins, ids of logout tokens. Bounded, for a time."""

from __future__ import annotations

from collections import OrderedDict

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
