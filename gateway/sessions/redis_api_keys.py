"""API keys in Redis, for all hosts: each a sealed record that goes at the key's end, and an index of all.

All names share one slot of a Cluster, for a key and its entry in the index are written in one step. Redis
tells of every key that is made or revoked, as it does of sessions; of last uses, which are in the index, nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from gateway.core.api_key import ApiKey
from gateway.core.redis_address import RedisAddress
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.seal import KeyRing, SealBroken

AT_ONCE = 500
MANY_TIME = 2.0
"""Seconds for all calls that read the keys."""
# KEYS: the index, the record. ARGV: id, record, milliseconds or the empty text.
_ADD = """
redis.call('HSET', KEYS[1], ARGV[1], '')
if ARGV[3] == '' then
  redis.call('SET', KEYS[2], ARGV[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return 1
"""
# KEYS: the index, the record. ARGV: id.
_REMOVE = """
local found = redis.call('GET', KEYS[2])
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], ARGV[1])
return found
"""
_log = logging.getLogger("gateway.redis")


class RedisApiKeys:
    """The keys. An `ApiKeyStore`; the connection is made when it is first needed."""

    def __init__(self, client: RedisClient, keys: KeyRing, clock: Callable[[], float]) -> None:
        """Take a client of its own, which follows the keys under `api_keys_prefix`; start and close it."""
        self._client = client
        self._keys = keys
        self._clock = clock
        self._prefix = api_keys_prefix(client.address)
        self._index = f"{client.address.prefix}{{api-keys}}:index"
        self._changes = 0
        """How often something was told."""
        self._told = asyncio.Event()
        self._known: dict[str, ApiKey] = {}
        """What was read last."""
        self._sealed = False
        """Whether all is sealed under the first key, as far as that is for us to do."""
        self._unreadable: set[str] = set()
        """Records that were complained about."""
        client.memory = self

    # What Redis tells

    def invalidated(self, keys: list[bytes] | None) -> None:
        """Note that keys were made, revoked or have ended."""
        self._changes += 1
        self._told.set()

    def in_doubt(self) -> None:
        """Note that changes are no longer told: from now on the keys have to be read."""
        self._told.set()

    def regained(self) -> None:
        """Note that changes are told again, and that some may have been missed."""
        self.invalidated(None)

    async def told(self, seconds: float) -> None:
        """Return after ``seconds``, or as soon as Redis tells something."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        self._told.clear()

    async def version(self) -> int | None:
        """Return a number that changes with the keys; None while Redis does not tell of all changes."""
        await self._client.start_once()
        return self._changes if self._client.trusted else None

    # Reading

    async def read(self) -> dict[str, ApiKey]:
        """Return all keys by id, the newest first; what does not open is left out, and said once in the log."""
        records = await self._records()
        found = [key for key_id, (record, used) in records.items() if (key := self._open(key_id, record, used))]
        self._known = {key.id: key for key in found}
        if not self._sealed:
            # Once: two hosts with their keys in different order would else take turns at it.
            with suppress(StoreUnavailable):
                await self._seal_anew(key for key in found if not self._keys.sealed_with_first(records[key.id][0]))
                self._sealed = True
        return {key.id: key for key in sorted(found, key=lambda key: (-key.created, key.id))}

    async def _records(self) -> dict[str, tuple[bytes, float | None]]:
        """Return every record with its last use, by id; take ids out of the index whose keys have ended."""
        await self._client.start_once()
        until = self._client.deadline(at_least=MANY_TIME)
        entries: dict[bytes, bytes] = await self._client.call(self._index, "HGETALL", self._index, until=until)
        used = {key_id.decode("ascii", "replace"): _seconds(at) for key_id, at in entries.items()}
        ids, records = list(used), list[bytes | None]()
        for start in range(0, len(ids), AT_ONCE):
            names = [self._prefix + key_id for key_id in ids[start : start + AT_ONCE]]
            records += await self._client.call(self._index, "MGET", *names, until=until)
        gone = [key_id for key_id, record in zip(ids, records, strict=True) if record is None]
        if gone:
            with suppress(StoreUnavailable):
                await self._client.call(self._index, "HDEL", self._index, *gone, until=until)
        return {
            key_id: (record, used[key_id]) for key_id, record in zip(ids, records, strict=True) if record is not None
        }

    def _open(self, key_id: str, record: bytes, used: float | None = None) -> ApiKey | None:
        try:
            return _parsed(key_id, self._keys.open_record(_purpose(key_id), b"", record), used)
        except (BadToken, ValueError, TypeError, KeyError) as error:
            known = self._known.get(key_id)
            if known is not None and not isinstance(error, SealBroken):
                # Another host has a new key already, and has sealed it anew; nothing else ever changes a record.
                return replace(known, used=used)
            if key_id not in self._unreadable:
                self._unreadable.add(key_id)
                _log.error("redis: the API key %s does not open with session.keys, so it is refused: %s", key_id, error)
            return None

    # Writing

    async def add(self, key: ApiKey) -> None:
        """Keep a key until its end."""
        left = "" if key.expires is None else max(1, int((key.expires - self._clock()) * 1000))
        await self._run(_ADD, key.id, self._seal(key), left)
        if key.used is not None:
            await self.note_used({key.id: key.used})

    async def remove(self, key_id: str) -> ApiKey | None:
        """Remove a key; return what it was, None where there is none of that id, or none that opens."""
        # Not to be repeated: if only the reply was lost, the second would say that there is none.
        record = await self._run(_REMOVE, key_id, repeatable=False)
        return self._open(key_id, record) if isinstance(record, bytes) else None

    async def _run(self, script: str, key_id: str, *words: str | bytes | int, repeatable: bool = True) -> object:
        await self._client.start_once()
        command = ("EVAL", script, 2, self._index, self._prefix + key_id, key_id, *words)
        until = self._client.deadline()
        reply: object = await self._client.call(self._index, *command, until=until, repeatable=repeatable)
        return reply

    async def note_used(self, used: Mapping[str, float]) -> None:
        """Write when keys were used, of those that are in the index."""
        if not used:
            return
        await self._client.start_once()
        until, ids = self._client.deadline(), list(used)
        before: list[bytes | None] = await self._client.call(self._index, "HMGET", self._index, *ids, until=until)
        words = [
            word
            for key_id, at in zip(ids, before, strict=True)
            if at is not None and (_seconds(at) or 0.0) < used[key_id]
            for word in (key_id, repr(used[key_id]))
        ]
        if words:
            # One that was revoked just now leaves an entry without a record, which goes when it is read.
            await self._client.call(self._index, "HSET", self._index, *words, until=until)

    async def _seal_anew(self, keys: Iterable[ApiKey]) -> None:
        """Seal keys under the first of ``session.keys``, so that they outlive the others."""
        for key in keys:
            # Only where it is still there, and with the time that it has left.
            words = ("SET", self._prefix + key.id, self._seal(key), "XX", "KEEPTTL")
            await self._client.call(self._index, *words, until=self._client.deadline())

    def _seal(self, key: ApiKey) -> bytes:
        return self._keys.seal_record(_purpose(key.id), b"", _dumped(key))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


def api_keys_prefix(address: RedisAddress) -> str:
    """Return what the names of records begin with, which the client has to follow."""
    return f"{address.prefix}{{api-keys}}:key:"


def _purpose(key_id: str) -> str:
    return f"api key {key_id}"


def _seconds(text: bytes) -> float | None:
    """Return a last use; none for what cannot be read."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _dumped(key: ApiKey) -> bytes:
    fields = {
        "digest": key.digest.hex(),
        "name": key.name,
        "user": key.user,
        "groups": key.groups,
        "routes": key.routes,
        "created": key.created,
        "expires": key.expires,
    }
    return json.dumps(fields).encode("ascii")


def _parsed(key_id: str, data: bytes, used: float | None) -> ApiKey:
    """Return the key that was sealed, by us: its fields are what this version or another of ours writes."""
    fields = json.loads(data)
    return ApiKey(
        id=key_id,
        digest=bytes.fromhex(fields["digest"]),
        name=fields["name"],
        user=fields["user"],
        groups=None if fields["groups"] is None else tuple(fields["groups"]),
        routes=tuple(fields["routes"]),
        created=fields["created"],
        expires=fields["expires"],
        used=used,
    )
