"""When what has failed may be tried again: after waits that double, each cut at random so that no herd forms."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable

FIRST, LAST = 5.0, 60.0
"""The first wait and the longest, seconds."""
MAX_NAMES = 100_000


class BackOff:
    """Failures in a row by name; beyond `MAX_NAMES` the oldest are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` tells seconds and is never set back."""
        self._clock = clock
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """How often, and until when it is left alone."""

    def wait(self, name: str) -> float:
        """Return for how many seconds it is to be left alone; 0 lets the caller try, and everybody else wait."""
        failures, until = self._failed.get(name, (0, 0.0))
        left = until - self._clock()
        if failures and left <= 0:
            self._failed[name] = failures, self._clock() + FIRST
        return max(left, 0.0)

    def failed(self, name: str) -> float:
        """Note a failure; return for how many seconds it is left alone."""
        failures = self._failed.pop(name, (0, 0.0))[0] + 1
        longest = min(FIRST * 2 ** min(failures - 1, 30), LAST)
        seconds: float = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        self._failed[name] = failures, self._clock() + seconds
        if len(self._failed) > MAX_NAMES:
            self._failed.popitem(last=False)
        return seconds

    def worked(self, name: str) -> None:
        """Note that it works."""
        self._failed.pop(name, None)
