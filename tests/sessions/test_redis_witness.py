"""What lies in Redis, seen through redis-py: another client than ours has to find the same there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis

from gateway.core.session import Lifetimes
from gateway.sessions.store import SessionStore
from tests.sessions.contract import ALICE, World, eventually
from tests.sessions.redis_stores import make_redis_store
from tests.support.ports import HOST
from tests.support.redis_server import PREFIX, Servers


@pytest.fixture
def witness(redis_single: Servers) -> Iterator[Redis]:
    with Redis(host=HOST, port=redis_single.port, socket_timeout=5) as client:
        yield client


@pytest.mark.parametrize(("remember", "seconds"), [(False, 1800), (True, 2_592_000)])
async def test_a_record_lives_as_long_as_its_session_and_tells_nothing(
    world_on_redis: World, witness: Redis, remember: bool, seconds: int
) -> None:
    """One record under the session's handle, with the shorter of idle and absolute lifetime; no name can be read."""
    store = world_on_redis.store
    assert store is not None
    opened = await store.save(world_on_redis.begin(remember=remember))
    name = f"{PREFIX}s:{opened.session.handle}"
    assert witness.keys(f"{PREFIX}s:*") == [name.encode()]
    lives = witness.ttl(name)
    assert isinstance(lives, int)
    assert seconds - 10 <= lives <= seconds
    record = witness.get(name)
    assert isinstance(record, bytes)
    for secret in (ALICE.user, ALICE.email, opened.token, opened.session.id.hex()):
        assert secret.encode() not in record
    await store.revoke(opened.session)
    assert witness.exists(name) == 0


async def test_what_another_client_deletes_is_ended_at_once(world_on_redis: World, witness: Redis) -> None:
    """An operator's DEL ends a session that is in memory: Redis tells us of it."""
    store = world_on_redis.store
    assert store is not None
    opened = await store.save(world_on_redis.begin())
    assert await world_on_redis.knows(opened.token)
    assert witness.delete(f"{PREFIX}s:{opened.session.handle}") == 1

    async def unknown() -> bool:
        return not await world_on_redis.knows(opened.token)

    assert await eventually(unknown)


@pytest.fixture
async def world_on_redis(tmp_path: Path, redis_single: Servers) -> AsyncIterator[World]:
    redis_single.flush()

    async def start(world: World) -> SessionStore:
        return make_redis_store(world, redis_single.address)

    world = World(tmp_path, start, lifetimes=Lifetimes(1800.0, 43_200.0, 2_592_000.0))
    await world.restart()
    yield world
    assert world.store is not None
    await world.store.close()
