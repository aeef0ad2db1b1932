"""Step-up: a route that asks for a stronger or fresher login than somebody has, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEEWAY: Final = 60.0
"""Seconds beyond ``max_age`` for which a login is fresh: clocks differ by so much, and nobody who has just come back
from a login is sent there again."""


@dataclass(frozen=True, slots=True)
class StepUp:
    """What a login must be like; at least one of ``acr_values`` and ``max_age`` is given."""

    name: str
    """By which addresses name it: the route, or the route and the number of its rule, as ``wiki.2``."""
    acr_values: tuple[str, ...] = ()
    """Ways to have logged in at a provider, one of which is needed (OIDC Core §2); empty: any."""
    max_age: float | None = None
    """How long ago that may have been, in seconds."""
    prompt: str = ""
    """What the provider is to ask of whoever is sent there."""

    def missing(self, acr: str, proved_at: float | None, now: float) -> str | None:
        """Return the name of what a login lacks, or None. ``proved_at`` is None where that is not known."""
        if self.acr_values and acr not in self.acr_values:
            return "acr_values"
        if self.max_age is not None and (proved_at is None or now - proved_at > self.max_age + LEEWAY):
            return "max_age"
        return None
