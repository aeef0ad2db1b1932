"""What may be used once: the same promises in memory and in Redis, where they hold for all hosts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.control.once import MemoryOnce, Once
from gateway.errors import StoreUnavailable
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_once import CLAIMED, RedisOnce
from tests.support.redis_server import PREFIX, Servers, through
from tests.support.waiting import wait_until

NOW = 1_800_000_000.0
Open = Callable[[], Once]


@pytest.fixture(params=["memory", "redis_single", "redis_cluster", "redis_sentinel", "redis_tls"])
async def open_once(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Open what all hosts share; there is one host where it is in memory."""
    made: list[Once] = []
    memory = MemoryOnce()

    def make() -> Once:
        if request.param == "memory":
            return memory
        servers: Servers = request.getfixturevalue(request.param)
        made.append(RedisOnce(RedisClient(servers.address)))
        return made[-1]

    if request.param != "memory":
        request.getfixturevalue(request.param)
    yield make
    for once in made:
        await once.close()


async def test_a_name_is_used_up_once_on_all_hosts(open_once: Open) -> None:
    """However many try at the same time; another name is none of its business."""
    hosts = [open_once() for _ in range(3)]
    found = await asyncio.gather(*(host.use_up("sso token-1", NOW + 60, NOW) for host in hosts for _ in range(3)))
    assert sum(found) == 1
    await hosts[found.index(True) // 3].keep("sso token-1", NOW + 60, NOW)
    assert [await host.use_up("sso token-1", NOW + 60, NOW) for host in hosts] == [False] * 3
    assert await hosts[0].use_up("sso tökén-2", NOW + 60, NOW)


async def test_what_is_given_back_may_be_used_again_anywhere(open_once: Open) -> None:
    first, second = open_once(), open_once()
    assert await first.use_up("x", NOW + 60, NOW)
    await first.give_back("x")
    assert await second.use_up("x", NOW + 60, NOW)
    assert not await first.use_up("x", NOW + 60, NOW)


async def test_in_redis_a_name_goes_by_itself(redis_single: Servers) -> None:
    """After its time; one that was claimed and never kept after some seconds. It cannot be read there."""
    once, now = RedisOnce(RedisClient(redis_single.address)), time.time()
    await once.use_up("a secret name", now + 600, now)
    (key,) = redis_single.names()
    assert key.startswith(f"{PREFIX}once:")
    assert b"secret" not in redis_single.everything()
    assert 0 < int(redis_single.do("", "PTTL", key)) <= CLAIMED * 1000
    await once.keep("a secret name", now + 600, now)
    assert 590_000 < int(redis_single.do("", "PTTL", key)) <= 600_000
    await once.keep("a secret name", now + 0.1, now)

    async def gone() -> bool:
        return await once.use_up("a secret name", now + 600, now)

    await wait_until(gone)
    await once.close()


async def test_without_redis_nothing_is_used_up(single_server: Servers) -> None:
    once = RedisOnce(RedisClient(through(single_server.address, 1)))
    for call in (once.use_up("x", NOW, NOW), once.keep("x", NOW, NOW), once.give_back("x")):
        with pytest.raises(StoreUnavailable):
            await call
    await once.close()
