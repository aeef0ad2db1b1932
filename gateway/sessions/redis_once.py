"""What may be used once, in Redis: a name that was used up on one host is used up on all.

It is claimed for a moment first, and kept once that for which it was used is done: a gateway that dies, or
loses Redis, between the two costs somebody a wait and not what they wanted.
"""

from __future__ import annotations

import hashlib

from gateway.sessions.redis_client import RedisClient

CLAIMED = 10.0
"""Seconds for which a name is used up unless it is kept."""


class RedisOnce:
    """The names, as hashes; the connection is made when it is first needed."""

    def __init__(self, client: RedisClient) -> None:
        """Take a client of its own, which it starts and closes."""
        self._client = client
        self._prefix = f"{client.address.prefix}once:"

    async def use_up(self, name: str, until: float, now: float) -> bool:
        """Claim a name; tell whether nobody had used it. Raises StoreUnavailable."""
        words = ("1", "NX", "PX", _milliseconds(min(until, now + CLAIMED), now))
        # Not repeated: if only its answer was lost, the second try would find the name used by the first.
        return await self._call(name, "SET", *words, repeatable=False) is not None

    async def keep(self, name: str, until: float, now: float) -> None:
        """Keep a name used up until then. Raises StoreUnavailable."""
        await self._call(name, "SET", "1", "PX", _milliseconds(until, now))

    async def give_back(self, name: str) -> None:
        """Let a name be used again. Raises StoreUnavailable."""
        await self._call(name, "DEL")

    async def _call(self, name: str, verb: str, *words: str | int, repeatable: bool = True) -> object:
        await self._client.start_once()
        key = self._prefix + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        until = self._client.deadline()
        reply: object = await self._client.call(key, verb, key, *words, until=until, repeatable=repeatable)
        return reply

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


def _milliseconds(until: float, now: float) -> int:
    return max(1, int((until - now) * 1000))
