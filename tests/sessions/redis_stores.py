"""Redis stores as the tests make them."""

from __future__ import annotations

import os

from gateway.core.redis_address import RedisAddress
from gateway.sessions.recent import RecentSessions
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_store import RedisStore
from gateway.sessions.seal import KeyRing
from tests.sessions.contract import World

GRACE = 60.0


def make_redis_store(world: World, address: RedisAddress, *, grace: float = GRACE) -> RedisStore:
    """Return a store, not started yet."""
    client = RedisClient(address, follow=f"{address.prefix}s:")
    keys = KeyRing(world.keys, os.urandom)
    return RedisStore(client, keys, RecentSessions(1000), world.lifetimes, grace, world.clock, os.urandom)


async def never(world: World) -> RedisStore:
    """Start no store, where the test starts its own."""
    raise NotImplementedError
