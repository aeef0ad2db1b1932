"""Password hashes: Argon2id (RFC 9106) as PHC strings, and what they cost. Nothing here waits or keeps state."""

from __future__ import annotations

import logging
import re
import secrets
from base64 import b64encode
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

MAX_PASSWORD_BYTES = 1024
"""As UTF-8; longer ones are refused, so that hashing costs the same whatever is sent."""
SALT_BYTES = 16
HASH_BYTES = 32

_PARAMETERS = re.compile(r"\$argon2id\$v=19\$m=([0-9]{1,10}),t=([0-9]{1,10}),p=([0-9]{1,8})\$")
_log = logging.getLogger("gateway.login")


@dataclass(frozen=True, slots=True)
class Cost:
    """Argon2's parameters.

    The default is the first one in OWASP's Password Storage Cheat Sheet, and of its equal choices the
    one with the most memory: that is what makes guessing on graphics cards dear, while two hashes at
    a time still fit into 92 MiB. RFC 9106 §4 would have 64 MiB and three passes: some 2.5 times the
    time per login for a gain that throttling makes up for.
    """

    memory: int = 46 * 1024
    """KiB."""
    iterations: int = 1
    lanes: int = 1

    def work(self) -> int:
        """Return a measure of what one hash costs, in KiB written: it says which is dearer, and not by how much.

        Taking fresh memory costs about as much as one pass over it (measured: 46 MiB once 109 ms,
        19 MiB twice 67 ms), where it is fresh.
        """
        return self.memory * (self.iterations + 1)


TARGET = Cost()
CHEAPEST = Cost(memory=64)
"""Only for testing."""


def hash_password(password: str, cost: Cost = TARGET) -> str:
    """Return a PHC string for ``password``, taken as UTF-8 just as typed.

    Raises ValueError where it is empty or over 1024 bytes.
    """
    secret = password.encode("utf-8")
    if not 0 < len(secret) <= MAX_PASSWORD_BYTES:
        raise ValueError(f"a password has 1 to {MAX_PASSWORD_BYTES} bytes, not {len(secret)}")
    return _derivation(cost).derive_phc_encoded(secret)


def matches(password: str, phc: str) -> bool:
    """Tell whether ``phc`` was made from ``password``; a hash that cannot be computed matches nothing."""
    secret = password.encode("utf-8", "surrogatepass")
    fits = len(secret) <= MAX_PASSWORD_BYTES
    try:
        Argon2id.verify_phc_encoded(secret[:MAX_PASSWORD_BYTES], phc)
    except InvalidKey:
        return False
    except (ValueError, MemoryError) as error:
        _log.error("a password hash of the users file cannot be computed: %s", error)
        return False
    return fits


def cost_of(phc: str) -> Cost | None:
    """Return what a PHC string says about its cost, or None where it is no Argon2id hash."""
    found = _PARAMETERS.match(phc)
    return Cost(int(found[1]), int(found[2]), int(found[3])) if found else None


def work_of(phc: str) -> int:
    """Return the work of computing a hash, 0 for one that cannot be computed."""
    cost = cost_of(phc)
    return cost.work() if cost else 0


def unmatched_hash(cost: Cost) -> str:
    """Return a hash of that cost that no password matches, without computing one."""
    salt, digest = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (SALT_BYTES, HASH_BYTES))
    return f"$argon2id$v=19$m={cost.memory},t={cost.iterations},p={cost.lanes}${salt}${digest}"


def spend(cost: Cost) -> None:
    """Take the time that a hash of that cost takes."""
    _derivation(cost).derive(b"spent")


def _derivation(cost: Cost) -> Argon2id:
    return Argon2id(
        salt=secrets.token_bytes(SALT_BYTES),
        length=HASH_BYTES,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory,
    )
