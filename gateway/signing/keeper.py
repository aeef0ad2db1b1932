"""Keeps the signing keys: makes the first, makes the next in time, follows what other hosts make.

It runs beside the control plane, which publishes the keys; `changed` hands them to whoever signs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from gateway.core.token_policy import TokenPolicy
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.seal import KeyRing
from gateway.signing.keys import Keys, advance, key_set
from gateway.signing.record import open_keys, seal_keys
from gateway.signing.vault import Vault

LOOK_EVERY = 60.0
"""Seconds between two looks at the record, or less where keys rotate quickly."""
RETRY_EVERY = 0.25
"""Seconds until the next look while there are no keys at all."""

_log = logging.getLogger("gateway.signing")


class KeyKeeper:
    """The signing keys of one version of the configuration."""

    def __init__(
        self,
        vault: Vault,
        ring: KeyRing,
        policy: TokenPolicy,
        changed: Callable[[Keys], None],
        clock: Callable[[], float],
    ) -> None:
        self._vault = vault
        self._ring = ring
        self._policy = policy
        self._changed = changed
        self._clock = clock
        self._keys: Keys = ()
        self._published = b""
        self._said = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read or make the keys; where that fails, it is tried again beside the rest.

        A Redis that cannot be reached is no error here: until there are keys, requests that need one get 503.
        """
        await self._vault.start()
        await self.look()
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="signing keys")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._vault.close()

    def published(self) -> bytes:
        """Return the keys for verifiers. Raises StoreUnavailable while there are none."""
        if not self._published:
            raise StoreUnavailable("there are no signing keys yet")
        return self._published

    async def _follow(self) -> None:
        every = min(LOOK_EVERY, self._policy.cache_time() / 2)
        while True:
            await asyncio.sleep(every if self._keys else min(every, RETRY_EVERY))
            await self.look()

    async def look(self) -> None:
        """Take over what others have made, and make what is due; failures are logged, and the keys stay."""
        try:
            record = await self._vault.read()
            if self._revised(record) is not None:
                record = await self._vault.change(self._revised)
            if record is not None:
                self._take(open_keys(self._ring, record))
                self._said = ""
        except (StoreUnavailable, BadToken) as error:
            self._complain(f"the signing keys stay as they are: {error}")

    def _complain(self, text: str) -> None:
        """Log a fault; the same one is said once."""
        if text != self._said:
            _log.error("%s", text)
        self._said = text

    def _revised(self, record: bytes | None) -> bytes | None:
        """Return the record as it is to be; None if it is as it should be.

        What is lost comes back from memory. What does not open is replaced only by one who has no keys yet:
        else two hosts with different session keys would take turns at that. Raises BadToken.
        """
        keys = self._keys
        current = False
        if record is not None:
            try:
                keys = open_keys(self._ring, record)
                current = self._ring.sealed_with_first(record)
            except BadToken as error:
                if self._keys:
                    raise
                self._complain(f"the signing keys do not open with session.keys, so new ones are made: {error}")
        after = advance(keys, self._policy, self._clock())
        return None if current and after == keys else seal_keys(self._ring, after)

    def _take(self, keys: Keys) -> None:
        if keys != self._keys:
            self._keys = keys
            self._published = key_set(keys)
            self._changed(keys)
