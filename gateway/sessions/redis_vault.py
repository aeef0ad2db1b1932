"""The tokens of providers in Redis, for all hosts: whoever sets the lease may use a session's refresh token."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.session import Session
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.seal import KeyRing
from gateway.sessions.token_vault import KeptLogin, open_kept, seal_kept

# A lease that has run out may be another's by now.
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
# GETDEL, which servers before 6.2 lack.
_DROP = """
local kept = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return kept
"""


class RedisTokenVault:
    """A `TokenVault` in Redis; the connection is made when it is first needed."""

    def __init__(
        self, client: RedisClient, keys: KeyRing, clock: Callable[[], float], random: Callable[[int], bytes]
    ) -> None:
        """Take a client of its own, which it starts and closes."""
        self._client = client
        self._keys = keys
        self._clock = clock
        self._name = random(16).hex()
        """By which a lease is known to be ours."""
        self._kept = f"{client.address.prefix}t:"
        self._leases = f"{client.address.prefix}tl:"

    async def put(self, session: Session, kept: KeptLogin) -> None:
        """Keep what belongs to a session, until its absolute end."""
        await self._set(session, kept)

    async def renew(self, session: Session, kept: KeptLogin) -> bool:
        """Do the same if anything is there; tell whether it was."""
        return await self._set(session, kept, "XX")

    async def _set(self, session: Session, kept: KeptLogin, *words: str) -> bool:
        left = session.expires - max(self._clock(), session.created)
        if left <= 0:
            return False
        record = seal_kept(self._keys, session, kept)
        words = (*words, "PX", str(max(1, int(left * 1000))))
        return await self._call(self._kept + session.handle, "SET", record, *words) is not None

    async def get(self, session: Session) -> KeptLogin | None:
        """Return what is kept for a session, or None."""
        record = await self._call(self._kept + session.handle, "GET")
        return open_kept(self._keys, session, record) if isinstance(record, bytes) else None

    async def drop(self, session: Session) -> KeptLogin | None:
        """Forget what is kept for a session, and return it."""
        record = await self._run(_DROP, self._kept + session.handle)
        return open_kept(self._keys, session, record) if isinstance(record, bytes) else None

    async def lease(self, handle: str, seconds: float) -> bool:
        """Tell whether nobody else is at a session's tokens."""
        words = (self._name, "NX", "PX", max(1, int(seconds * 1000)))
        # Not repeated: if only its answer was lost, the second try would find the lease taken by the first.
        return await self._call(self._leases + handle, "SET", *words, repeatable=False) is not None

    async def release(self, handle: str) -> None:
        """Let others at a session's tokens."""
        await self._run(_RELEASE, self._leases + handle, self._name)

    async def _run(self, script: str, name: str, *words: str) -> object:
        await self._client.start_once()
        found: object = await self._client.call(name, "EVAL", script, 1, name, *words, until=self._client.deadline())
        return found

    async def _call(self, name: str, verb: str, *words: str | bytes | int, repeatable: bool = True) -> object:
        await self._client.start_once()
        until = self._client.deadline()
        found: object = await self._client.call(name, verb, name, *words, until=until, repeatable=repeatable)
        return found

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()
