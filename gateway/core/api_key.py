"""What is kept of an API key of a local user, wherever that lies: all about it but its secret."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. Times are seconds since the epoch."""

    id: str
    """Its public name, part of the key itself."""
    digest: bytes = field(repr=False)
    """SHA-256 of the secret."""
    name: str
    """What it is for, in its owner's words."""
    user: str
    groups: tuple[str, ...] | None
    """Of the user's groups those that it has; None for all."""
    routes: tuple[str, ...]
    """The only routes it opens; empty for all that accept keys."""
    created: float
    expires: float | None
    used: float | None = field(default=None, compare=False)
    """When it was last used, to the minute."""

    def fits(self, secret: str) -> bool:
        """Tell whether a secret is that of this key."""
        return hmac.compare_digest(self.digest, secret_digest(secret))

    def is_over(self, now: float) -> bool:
        """Tell whether it has expired."""
        return self.expires is not None and self.expires <= now


def secret_digest(secret: str) -> bytes:
    """Return what is kept of a secret, which is ASCII."""
    return sha256(secret.encode("ascii")).digest()
