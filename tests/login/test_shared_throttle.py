"""The throttle that hosts share keeps the contract on Redis, and does not lose counts under contention."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable, TooManyAttempts
from gateway.login.curve import HERE
from gateway.login.shared_throttle import SharedThrottle
from gateway.login.throttle import FallbackThrottle, LoginThrottle, MemoryThrottle
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_values import RedisValues
from tests.login.throttle_contract import Clock, SharedThrottleContract, at, wait_of
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_server import PREFIX, Servers, through

KEY = b"k" * 32


def make(servers: Servers, clock: Clock, *ports: int) -> SharedThrottle:
    address = through(servers.address, *ports) if ports else servers.address
    return SharedThrottle(RedisValues(RedisClient(address), "throttle"), clock, KEY)


class OnRedis(SharedThrottleContract):
    servers: Servers

    async def start(self, directory: Path, clock: Clock) -> LoginThrottle:
        return make(self.servers, clock)


class TestSingle(OnRedis):
    """One server."""

    @pytest.fixture(autouse=True)
    def choose(self, redis_single: Servers) -> None:
        self.servers = redis_single


class TestCluster(OnRedis):
    """Three primaries; all counts are on one of them."""

    @pytest.fixture(autouse=True)
    def choose(self, redis_cluster: Servers) -> None:
        self.servers = redis_cluster


class TestTls(OnRedis):
    """TLS, and a user who may do nothing but what the gateway needs."""

    @pytest.fixture(autouse=True)
    def choose(self, redis_tls: Servers) -> None:
        self.servers = redis_tls


class TestWithFallback(OnRedis):
    """As the gateway uses it."""

    @pytest.fixture(autouse=True)
    def choose(self, redis_single: Servers) -> None:
        self.servers = redis_single

    async def start(self, directory: Path, clock: Clock) -> LoginThrottle:
        return FallbackThrottle(make(self.servers, clock), MemoryThrottle(clock))


async def test_hosts_that_count_at_once_lose_no_count(redis_single: Servers) -> None:
    """Of a burst over several hosts no more attempts pass than from one; none is let by for the crowd."""
    clock = Clock()
    hosts = [make(redis_single, clock) for _ in range(4)]

    async def passes(host: SharedThrottle) -> bool:
        try:
            await host.begin(at())
        except (TooManyAttempts, StoreUnavailable):
            return False
        return True

    passed = await asyncio.gather(*(passes(host) for host in hosts * 10))
    assert sum(passed) <= HERE.free + 1
    assert await wait_of(hosts[0], at()) == 2 * (sum(passed) == HERE.free + 1)
    for host in hosts:
        await host.close()


async def test_everything_is_forgotten_some_day_and_tells_nothing(redis_single: Servers) -> None:
    """Each value has an end, and no name says whose it is."""
    throttle = make(redis_single, Clock())
    ticket = await throttle.begin(at(user="alice", device="laptop"))
    await throttle.succeeded(ticket)
    await throttle.begin(at("198.51.100.7/32", user="alice"))
    names = redis_single.names()
    assert len(names) >= 4
    assert all(name.startswith(f"{PREFIX}{{throttle}}:") for name in names)
    assert all(redis_single.do(name, "PTTL", name) > 0 for name in names)
    found = redis_single.everything()
    assert not any(word in found for word in (b"alice", b"198.51", b"laptop"))
    await throttle.close()


async def test_redis_that_does_not_answer_is_told(redis_single: Servers) -> None:
    """Then memory decides; when it is back, what was counted there holds again."""
    clock = Clock()
    with FaultProxy(redis_single.port) as proxy:
        shared = make(redis_single, clock, proxy.port)
        throttle = FallbackThrottle(shared, MemoryThrottle(clock))
        assert [await wait_of(throttle, at()) for _ in range(HERE.free + 1)] == [0] * (HERE.free + 1)
        proxy.black_hole()
        with pytest.raises(StoreUnavailable):
            await shared.begin(at())
        assert await wait_of(throttle, at()) == 2
        proxy.heal()
        await throttle.close()
