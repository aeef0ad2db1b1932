"""How the signed identity token is made: in which header, under which algorithm, for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ALGORITHMS: Final = ("ES256", "EdDSA")
"""RFC 7518 §3.4 with P-256, and RFC 8037 with Ed25519."""
SHORTEST: Final = 2.0
LONGEST: Final = 3600.0
"""Bounds of a token's lifetime, seconds: the data plane's clock ticks once a second, and nothing revokes a token."""


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """The token that upstreams get, where there is one. Times are seconds."""

    header: str
    algorithm: str
    lifetime: float
    rotate: float
    """How long a key signs."""

    def cache_time(self) -> float:
        """Return how long the published keys may be cached."""
        return min(self.rotate / 4, 3600.0)

    def ahead(self) -> float:
        """Return how long a key is published before it signs: every cache has run out by then, on every host."""
        return 2 * self.cache_time()
