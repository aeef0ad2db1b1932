"""The record of the signing keys in Redis, for several hosts: whoever sets the lease may change it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.errors import StoreUnavailable
from gateway.sessions.redis_client import RedisClient
from gateway.signing.vault import Change

LEASE = 30.0
"""Seconds after which a lease goes by itself, as that of a host that died."""
IN_TIME = 10.0
"""Seconds after which its holder changes nothing any more."""


class RedisVault:
    """The record under one key, the lease under another; both without scripts, so that any Redis will do."""

    def __init__(self, client: RedisClient) -> None:
        """Take a client of its own, which it starts and closes."""
        self._client = client
        self._key = f"{client.address.prefix}signing-keys"
        self._lease = f"{client.address.prefix}signing-keys-lease"

    async def start(self) -> None:
        """Begin to connect."""
        await self._client.start()

    async def read(self) -> bytes | None:
        """Return the record, or None."""
        record: bytes | None = await self._call(self._key, "GET", self._key)
        return record

    async def change(self, change: Change) -> bytes | None:
        """Change the record, if the lease is free."""
        clock = asyncio.get_running_loop().time
        until = clock() + IN_TIME
        words = ("SET", self._lease, "held", "NX", "PX", int(LEASE * 1000))
        # Not repeated: if only its answer was lost, the second try would find the lease taken by the first.
        if await self._client.call(self._lease, *words, until=self._client.deadline(), repeatable=False) is None:
            return await self.read()
        try:
            before = await self.read()
            after = change(before)
            if after is None:
                return before
            if clock() > until:
                raise StoreUnavailable("Redis: too slow to change the signing keys")
            await self._call(self._key, "SET", self._key, after)
            return after
        finally:
            if clock() < until:
                with suppress(StoreUnavailable):
                    await self._call(self._lease, "DEL", self._lease)

    async def _call(self, key: str, *words: str | bytes | int) -> bytes | None:
        reply: bytes | None = await self._client.call(key, *words, until=self._client.deadline())
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
