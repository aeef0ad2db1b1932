"""The arithmetic of throttling: how failures add up, are forgotten, and make the next attempt wait.

Pure, so that every throttle counts alike wherever it keeps its counts; keeping them is all it does itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


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

CURVES = {"here": HERE, "network": NETWORK, "account": ACCOUNT}


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted under one key. Times are by whatever clock the throttle has."""

    failures: float
    at: float
    """When ``failures`` was right."""
    until: float
    """No attempt before that; 0 where there is no wait."""

    def remaining(self, now: float) -> float:
        """Return for how long attempts must still wait."""
        return max(0.0, self.until - now)

    def set_back(self, now: float) -> Count:
        """Return the count as it is where the clock was set back since: what is left of a wait grows no longer."""
        if self.at <= now:
            return self
        return Count(self.failures, now, self.until - (self.at - now) if self.until else 0.0)

    def taken_back(self, curve: Curve) -> Count:
        """Return the count without one attempt."""
        failures = max(0.0, self.failures - 1)
        return replace(self, failures=failures, until=0.0 if failures <= curve.free else self.until)


def counted(count: Count | None, curve: Curve, now: float) -> Count:
    """Return the count after one more attempt, which is a failure until it is taken back."""
    failures = 1.0
    if count is not None:
        forgotten = max(0.0, now - count.at) / curve.forgiven_after
        failures += max(0.0, count.failures - forgotten)
    wait = curve.wait(failures)
    return Count(failures, now, now + wait if wait else 0.0)
