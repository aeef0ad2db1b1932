"""Small values that hosts share in Redis, as the counts of logins: read together, changed together.

All names share one slot of a Cluster, for a change of several is one script on one server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.sessions.redis_client import RedisClient

# KEYS: what is changed. ARGV: for each what it was, then for each what it becomes and its milliseconds;
# the empty text is "nothing". Returns 1, or 0 where something has changed since.
_SWAP = """
local found = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  if (found[i] or '') ~= ARGV[i] then return 0 end
end
for i = 1, #KEYS do
  local value = ARGV[#KEYS + 2 * i - 1]
  if value == '' then
    redis.call('DEL', KEYS[i])
  else
    redis.call('SET', KEYS[i], value, 'PX', ARGV[#KEYS + 2 * i])
  end
end
return 1
"""


class Kept(Protocol):
    """A value, and for how many seconds it is kept."""

    @property
    def value(self) -> bytes:
        """Return the value; not empty."""

    @property
    def kept(self) -> float:
        """Return the seconds."""


class RedisValues:
    """The values; the connection is made when it is first needed."""

    def __init__(self, client: RedisClient, area: str) -> None:
        """``area`` names what they are for."""
        self._client = client
        self._prefix = f"{client.address.prefix}{{{area}}}:"

    async def read(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the values. Raises StoreUnavailable."""
        await self._client.start_once()
        keys = [self._prefix + name for name in names]
        found: list[bytes | None] = await self._client.call(keys[0], "MGET", *keys, until=self._client.deadline())
        return found

    async def swap(self, before: Mapping[str, bytes | None], after: Mapping[str, Kept | None]) -> bool:
        """Write and delete if nothing has changed since ``before``; tell whether. Raises StoreUnavailable."""
        await self._client.start_once()
        keys = [self._prefix + name for name in after]
        was = [before[name] or b"" for name in after]
        becomes: list[bytes | int] = []
        for entry in after.values():
            becomes += [entry.value, max(1, int(entry.kept * 1000))] if entry else [b"", 0]
        words = ("EVAL", _SWAP, len(keys), *keys, *was, *becomes)
        # Not to be repeated: a second time nothing would be as it was before.
        reply = await self._client.call(keys[0], *words, until=self._client.deadline(), repeatable=False)
        return bool(reply)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()
