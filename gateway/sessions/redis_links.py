"""Tokens whose place another session took, in Redis, and the sessions that are linked by that.

The ids of a session's closed tokens lie under a key beside its record, in the same slot of a Cluster, and followed as
records are. It is a key of its own because renewals write the record without reading it.
The ids are no secret; who can write to Redis could put back a record of before as well. The neighbours of a session
are the fields of a hash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from gateway.core.redis_address import Topology
from gateway.core.session import Session
from gateway.errors import StoreUnavailable
from gateway.sessions.recent import RecentSessions
from gateway.sessions.records import TOKEN_ID_BYTES
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_memory import FollowedSessions
from gateway.sessions.store import Opened

MOST_CLOSED = 60
"""Closed tokens of one session, beyond which it ends."""
MOST_LINKED = 1000
"""Sessions that are looked at around one."""
_CLOSE = f"""
local ids = redis.call('GET', KEYS[1]) or ''
if #ids >= {MOST_CLOSED * TOKEN_ID_BYTES} then return 0 end
redis.call('SET', KEYS[1], ids .. ARGV[1], 'PX', ARGV[2])
return 1
"""


def closed_name(record_name: str, records_prefix: str) -> str:
    """Return the key of a session's closed tokens; what is in braces chooses the slot, and is its record's key."""
    return f"{records_prefix}{{{record_name}}}"


def is_closed(ids: bytes | None, token_id: str) -> bool:
    """Tell whether a token is among the closed ones."""
    if not ids:
        return False
    wanted = bytes.fromhex(token_id)
    return any(ids[at : at + TOKEN_ID_BYTES] == wanted for at in range(0, len(ids), TOKEN_ID_BYTES))


class BothRead:
    """The two replies about a session, in whichever order they come."""

    def __init__(self, memory: FollowedSessions, then: Callable[[bytes | None, bytes | None, bool], Opened]) -> None:
        """``then`` takes the record, the closed ids, and whether nothing was told to have changed in between."""
        self._memory = memory
        self._then = then
        self._told = -1
        self._replies: dict[bool, bytes | None] = {}
        self.opened: Opened | None = None

    def take_both(self, replies: list[bytes | None]) -> None:
        """Take the replies together."""
        self.opened = self._then(replies[0], replies[1], True)

    def take(self, reply: bytes | None, *, closed: bool) -> None:
        """Take a reply where it is read."""
        self._replies[closed] = reply
        if len(self._replies) == 1:
            self._told = self._memory.told
        else:
            self.opened = self._then(self._replies[False], self._replies[True], self._memory.told == self._told)


class SessionLinks:
    """Closes tokens, and knows which sessions are linked by that."""

    def __init__(self, client: RedisClient, records_prefix: str, lifetime: float) -> None:
        """``lifetime`` is the longest a session can last, in seconds."""
        self._client = client
        self._records = records_prefix
        self._prefix = f"{client.address.prefix}k:"
        self._lifetime_ms = max(1, int(lifetime * 1000))

    async def read(self, handle: str, until: float, both: BothRead) -> Opened:
        """Read the record of a session and its closed tokens at the same time. Raises StoreUnavailable, or BadToken."""
        name = self._records + handle
        beside, call = closed_name(name, self._records), self._client.call
        if self._client.address.topology is not Topology.CLUSTER:
            await call(name, "MGET", name, beside, until=until, then=both.take_both)
        else:
            # While a slot moves, an MGET fails for good where one of its keys is not there.
            await asyncio.gather(
                call(beside, "GET", beside, until=until, then=partial(both.take, closed=True)),
                call(name, "GET", name, until=until, then=partial(both.take, closed=False)),
            )
        assert both.opened is not None  # noqa: S101 - both are there
        return both.opened

    async def supersede(self, old: Opened, new: Session, until: float, memory: RecentSessions) -> bool:
        """Link two sessions, then close the token, in ``memory`` too; tell whether there was room for that.

        Raises StoreUnavailable.
        """
        handle = old.session.handle
        # The link first: whoever ends one of them from now on ends both.
        await asyncio.gather(self._link(handle, new.handle, until), self._link(new.handle, handle, until))
        name = closed_name(self._records + handle, self._records)
        words = ("EVAL", _CLOSE, 1, name, bytes.fromhex(old.token_id), self._lifetime_ms)

        def closed(reply: int) -> bool:
            # Called where the reply is read: what was asked before cannot put it back.
            memory.close(handle, old.token_id)
            return bool(reply)

        # Repeated, it is closed twice, which is closed.
        found: bool = await self._client.call(name, *words, until=until, then=closed)
        return found

    async def look(self, opened: Opened, until: float, memory: RecentSessions) -> None:
        """Close a session in ``memory`` that was written just now, if its token is closed. Raises StoreUnavailable.

        That is told under another key than the record's: looked at after the write, nothing is missed.
        """
        handle = opened.session.handle
        name = closed_name(self._records + handle, self._records)

        def looked(ids: bytes | None) -> None:
            if is_closed(ids, opened.token_id):
                memory.close(handle, opened.token_id)

        try:
            await self._client.call(name, "GET", name, until=until, then=looked)
        except StoreUnavailable:
            memory.doubt(handle)
            raise

    async def _link(self, handle: str, other: str, until: float) -> None:
        key, call = self._prefix + handle, self._client.call
        await asyncio.gather(
            call(key, "HSET", key, other, b"1", until=until),
            call(key, "PEXPIRE", key, self._lifetime_ms, until=until),
        )

    async def around(self, handles: Iterable[str], until: float) -> set[str]:
        """Return every other session that is linked with one of these, over others too. Raises StoreUnavailable."""
        begun = set(handles)
        seen, waiting = set(begun), sorted(begun)
        while waiting and len(seen) < len(begun) + MOST_LINKED:
            keys = [self._prefix + handle for handle in waiting]
            found = await asyncio.gather(*(self._client.call(key, "HGETALL", key, until=until) for key in keys))
            waiting = sorted({name.decode("ascii", "replace") for links in found for name in links} - seen)
            seen.update(waiting)
        return seen - begun
