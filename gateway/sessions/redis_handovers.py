"""Sessions on their way between hosts, in Redis: whichever gateway the browser reaches next can take them over.

What lies there is sealed under the key ring and the code together, as sessions are under their cookie's secret.
"""

from __future__ import annotations

import json

from gateway.errors import BadToken
from gateway.sessions.handovers import SECONDS, Handover, key_of
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.seal import KeyRing

PURPOSE = "handover"
# As GETDEL, which Redis has since 6.2 only.
_TAKE = """
local found = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return found
"""


class RedisHandovers:
    """Reads and deletes in one step, so that no two gateways can take the same one."""

    def __init__(self, client: RedisClient, keys: KeyRing) -> None:
        """Take a client of its own, which it starts and closes."""
        self._client = client
        self._keys = keys
        self._prefix = f"{client.address.prefix}handover:"

    async def put(self, code: str, handover: Handover) -> None:
        """Keep a session under a code. Raises StoreUnavailable."""
        fields = [handover.token, handover.host, handover.browser, handover.next_url]
        record = self._keys.seal_record(PURPOSE, code.encode(), json.dumps(fields).encode("ascii"))
        name = self._prefix + key_of(code)
        words = ("SET", name, record, "PX", int(SECONDS * 1000))
        await self._client.start_once()
        await self._client.call(name, *words, until=self._client.deadline())

    async def take(self, code: str) -> Handover | None:
        """Return what a code stands for, and use it up. Raises StoreUnavailable."""
        name = self._prefix + key_of(code)
        await self._client.start_once()
        # Not to be repeated: if only the reply was lost, the second would say that there is none.
        words = ("EVAL", _TAKE, 1, name)
        record: bytes | None = await self._client.call(name, *words, until=self._client.deadline(), repeatable=False)
        if record is None:
            return None
        try:
            fields = json.loads(self._keys.open_record(PURPOSE, code.encode("utf-8", "replace"), record))
        except (BadToken, ValueError):
            return None
        return Handover(*fields) if _is_sound(fields) else None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _is_sound(fields: object) -> bool:
    """Tell whether it is what this version writes."""
    return isinstance(fields, list) and len(fields) == 4 and all(isinstance(text, str) for text in fields)
