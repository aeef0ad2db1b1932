"""The published keys of the signed identity, as the control plane gets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JwkSet:
    """A JWK set (RFC 7517 §5)."""

    body: Callable[[], bytes]
    """Its JSON now. Raises StoreUnavailable while there are no keys."""
    max_age: int
    """Seconds that it may be cached."""
