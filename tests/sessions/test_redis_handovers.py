"""Sessions on their way between hosts, in a real Redis: taken once by whoever is first, unreadable to all others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.errors import StoreUnavailable
from gateway.sessions.handovers import Handover, key_of
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_handovers import RedisHandovers
from gateway.sessions.seal import KeyRing
from tests.support.redis_server import PREFIX, Servers, through

ONE = Handover("s2.token-of-the-session", "wiki.example.org", "b" * 43, "/page?ä=1")
KEYS = (b"k" * 32,)
Make = Callable[..., Awaitable[RedisHandovers]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[RedisHandovers] = []

    async def start(servers: Servers, keys: tuple[bytes, ...] = KEYS) -> RedisHandovers:
        made.append(RedisHandovers(RedisClient(servers.address), KeyRing(keys, os.urandom)))
        return made[-1]

    yield start
    for each in made:
        await each.close()


@pytest.mark.parametrize("servers", ["redis_single", "redis_cluster", "redis_sentinel", "redis_tls"])
async def test_another_gateway_takes_it_and_nobody_after(
    request: pytest.FixtureRequest, make: Make, servers: str
) -> None:
    redis: Servers = request.getfixturevalue(servers)
    first, second = await make(redis), await make(redis)
    await first.put("code", ONE)
    assert await second.take("other") is None
    assert await second.take("code") == ONE
    assert await first.take("code") is None
    assert redis.names() == []


async def test_of_many_at_once_one_gets_it(redis_single: Servers, make: Make) -> None:
    gateways = [await make(redis_single) for _ in range(4)]
    await gateways[0].put("code", ONE)
    found = await asyncio.gather(*(each.take("code") for each in gateways for _ in range(5)))
    assert [each for each in found if each] == [ONE]


async def test_it_goes_by_itself_within_half_a_minute(redis_single: Servers, make: Make) -> None:
    await (await make(redis_single)).put("code", ONE)
    name = f"{PREFIX}handover:{key_of('code')}"
    assert redis_single.names() == [name]
    assert 0 < int(redis_single.do(name, "PTTL", name)) <= 30_000


async def test_redis_holds_nothing_that_opens_a_session(redis_single: Servers, make: Make) -> None:
    await (await make(redis_single)).put("the-code", ONE)
    everything = redis_single.everything()
    for secret in (b"token-of-the-session", b"the-code", b"wiki.example.org"):
        assert secret not in everything


async def test_what_was_sealed_otherwise_or_changed_is_nothing(redis_single: Servers, make: Make) -> None:
    first, stranger = await make(redis_single), await make(redis_single, (b"x" * 32,))
    await first.put("code", ONE)
    assert await stranger.take("code") is None
    await first.put("code", ONE)
    mine, yours = (f"{PREFIX}handover:{key_of(code)}" for code in ("code", "another"))
    redis_single.do(mine, "RENAME", mine, yours)
    assert await first.take("another") is None, "a record is for its own code"
    redis_single.do(mine, "SET", mine, b"rubbish")
    assert await first.take("code") is None


async def test_after_a_change_of_keys_it_is_still_taken(redis_single: Servers, make: Make) -> None:
    await (await make(redis_single)).put("code", ONE)
    assert await (await make(redis_single, (b"n" * 32, *KEYS))).take("code") == ONE


async def test_without_redis_nothing_is_known(make: Make, single_server: Servers, tmp_path: object) -> None:
    gone = through(single_server.address, 1)
    nowhere = RedisHandovers(RedisClient(gone), KeyRing(KEYS, os.urandom))
    with pytest.raises(StoreUnavailable):
        await nowhere.put("code", ONE)
    with pytest.raises(StoreUnavailable):
        await nowhere.take("code")
    await nowhere.close()
