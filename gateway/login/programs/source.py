"""What a source is: somebody who vouches for credentials of programs; and a bounded memory of what it said."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from gateway.core.identity import Identity
from gateway.core.programs import Credential, Verified
from gateway.core.provider import ProviderSession

CAPACITY = 10_000
LOCAL_SECONDS = 60.0
"""How long a password or key of a local user is remembered as right."""


class Vouched(NamedTuple):
    """Whose a credential is."""

    identity: Identity
    until: float
    """When that may be remembered no longer, seconds since the epoch."""
    login: ProviderSession | None = None
    """The login that a token comes from."""


class Source(Protocol):
    """Vouches for credentials of one kind."""

    kind: str
    """What its verdicts are counted as: ``bearer``, ``introspection``, ``basic`` or ``api_key``."""

    def takes(self, credential: Credential) -> bool:
        """Tell whether it may know this one, by its looks."""

    async def verify(self, credential: Credential) -> Verified:
        """Return whose it is. Raises a LoginError."""

    async def start(self) -> None:
        """Begin whatever goes on beside verifying."""

    async def close(self) -> None:
        """Give everything back."""

    def forget(self) -> None:
        """Remember nothing of what was verified."""


class Remembered:
    """Answers under a keyed hash of what was asked; each is asked for once, however many wait. Bounded."""

    def __init__(self, clock: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, Vouched] = {}
        self._asked: dict[bytes, asyncio.Task[Vouched]] = {}
        self._forgotten = 0

    async def get(self, secret: str, ask: Callable[[], Awaitable[Vouched]]) -> Vouched:
        """Return what is remembered, or else what ``ask`` tells. Raises what that raises, which is not remembered."""
        digest = hmac.digest(self._key, secret.encode("utf-8", "surrogatepass"), "sha256")
        known = self._known.get(digest)
        if known is not None and known.until > self._clock():
            return known
        asked = self._asked.get(digest)
        if asked is None:
            asked = self._asked[digest] = asyncio.create_task(self._ask(digest, ask), name="credential")
            asked.add_done_callback(_settle)
        # Whoever grows tired of waiting leaves it to the others.
        return await asyncio.shield(asked)

    async def _ask(self, digest: bytes, ask: Callable[[], Awaitable[Vouched]]) -> Vouched:
        forgotten = self._forgotten
        try:
            found = await ask()
        finally:
            if self._asked.get(digest) is asyncio.current_task():
                del self._asked[digest]
        if forgotten == self._forgotten:
            self._known.pop(digest, None)
            if len(self._known) >= self._capacity:
                # The oldest goes, which is the first.
                del self._known[next(iter(self._known))]
            self._known[digest] = found
        return found

    def forget(self) -> None:
        """Forget everything; what is being asked will not be remembered, nor told to those who ask from now on."""
        self._forgotten += 1
        self._known.clear()
        self._asked.clear()

    def __len__(self) -> int:
        return len(self._known)


def _settle(task: asyncio.Task[Vouched]) -> None:
    if not task.cancelled():
        task.exception()
