"""What the Redis store does while Redis fails, on real servers behind a proxy that fails as told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.core.identity import Identity
from gateway.core.redis_address import RedisTimes
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.records import Records
from gateway.sessions.redis_link import FAILURES_TO_OPEN
from gateway.sessions.redis_store import RedisStore
from gateway.sessions.seal import KeyRing
from gateway.sessions.store import Opened
from tests.sessions.contract import BOB, World, eventually
from tests.sessions.redis_stores import make_redis_store, never
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_server import PREFIX, Servers, single, through
from tests.support.waiting import wait_until

SOON = 15.0
"""Seconds within which a request that needs Redis is answered: half a one where the machine is free."""


@dataclass
class Stage:
    """A store behind a proxy, and one that is not."""

    world: World
    proxy: FaultProxy
    store: RedisStore
    beside: RedisStore
    servers: Servers

    async def cold(self) -> Opened:
        """Return a session that the store behind the proxy has never seen."""
        return await self.beside.save(self.world.begin())

    async def warm(self) -> Opened:
        """Return a session that the store behind the proxy has in memory."""
        return await self.store.load((await self.cold()).token, self.world.now)

    async def load(self, opened: Opened, *, grace: float | None = None) -> Opened:
        return await self.store.load(opened.token, self.world.now, grace=grace)

    async def settled(self) -> bool:
        """Wait until the store trusts its memory again."""

        async def trusted() -> bool:
            return self.store.stats()["up"] == 1

        return await eventually(trusted)

    async def doubts(self) -> bool:
        """Wait until it does not."""

        async def doubtful() -> bool:
            return self.store.stats()["up"] == 0

        return await eventually(doubtful)


@pytest.fixture
def proxy(redis_single: Servers) -> Iterator[FaultProxy]:
    with FaultProxy(redis_single.port) as proxy:
        yield proxy


StartStage = Callable[[RedisTimes], Awaitable[Stage]]


@pytest.fixture
async def start_stage(redis_single: Servers, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[StartStage]:
    async with AsyncExitStack() as stack:

        async def start(times: RedisTimes) -> Stage:
            world = World(tmp_path, never)
            store = make_redis_store(world, through(redis_single.address, proxy.port, times=times))
            beside = make_redis_store(world, redis_single.address)
            for each in (store, beside):
                await each.start()
                stack.push_async_callback(each.close)
            return Stage(world, proxy, store, beside, redis_single)

        yield start


@pytest.fixture
async def stage(start_stage: StartStage) -> Stage:
    return await start_stage(RedisTimes())


async def timed(call: Awaitable[object]) -> float:
    """Require StoreUnavailable; return after how many seconds it came."""
    begin = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await call
    return time.monotonic() - begin


FAULTS: dict[str, Callable[[FaultProxy], object]] = {
    "gone": FaultProxy.vanish,
    "silent": FaultProxy.black_hole,
    "slow": lambda proxy: setattr(proxy, "delay", 60.0),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_who_is_not_known_is_refused_soon(stage: Stage, fault: str) -> None:
    """Whatever fails, it is neither a session nor a BadToken, and nobody waits longer than the budget."""
    cold = await stage.cold()
    FAULTS[fault](stage.proxy)
    times = [await timed(stage.load(cold)) for _ in range(FAILURES_TO_OPEN + 3)]
    assert max(times) < SOON
    assert min(times[FAILURES_TO_OPEN:]) < 0.1, "the breaker is open: nothing waits any more"
    assert stage.store.stats()["breakers_open"] == 1
    with pytest.raises(StoreUnavailable):
        await stage.store.save(stage.world.begin())
    with pytest.raises(StoreUnavailable):
        await stage.store.check()
    with pytest.raises(BadToken):
        await stage.store.load("s1.nonsense", stage.world.now)


@pytest.mark.parametrize("fault", FAULTS)
async def test_who_is_in_memory_goes_on_for_the_grace_time(stage: Stage, fault: str) -> None:
    """Memory is not trusted by itself, but a load lets in whom it knows, unless the route has no grace."""
    warm = await stage.warm()
    FAULTS[fault](stage.proxy)
    assert await stage.doubts()
    assert stage.store.peek(warm.token) is None
    assert warm.doubtful, "open connections are to ask again"
    for _ in range(FAILURES_TO_OPEN):
        assert await stage.load(warm) is warm
    for grace in (0.0, 0.01):
        with pytest.raises(StoreUnavailable):
            await stage.load(warm, grace=grace)
    stage.world.now = warm.until + 1
    with pytest.raises(StoreUnavailable):
        await stage.load(warm)


async def test_grace_ends(stage: Stage) -> None:
    """It counts from when Redis was last heard of, not from the request."""
    store = make_redis_store(stage.world, through(stage.servers.address, stage.proxy.port), grace=2.0)
    await store.start()
    warm = await store.load((await stage.cold()).token, stage.world.now)
    stage.proxy.vanish()

    async def over() -> bool:
        try:
            await store.load(warm.token, stage.world.now)
        except StoreUnavailable:
            return True
        return False

    await wait_until(over)
    assert store.stats()["graced_total"] > 1
    await store.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_it_is_back_soon_after_redis_is(stage: Stage, fault: str) -> None:
    """Without a restart, within a second, with every session of before, and without a storm of connects."""
    cold, warm = await stage.cold(), await stage.warm()
    FAULTS[fault](stage.proxy)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        await timed(stage.load(cold))
        await asyncio.sleep(0.02)
    stage.proxy.heal()

    async def back() -> bool:
        try:
            await stage.load(cold)
        except StoreUnavailable:
            return False
        return True

    await wait_until(back)
    assert (await stage.load(warm)).session == warm.session
    accepted = stage.proxy.accepted
    assert max(sum(start <= other < start + 1 for other in accepted) for start in accepted) <= 10


async def test_a_reset_connection_costs_nobody_a_login(stage: Stage) -> None:
    """A read that was on its way is repeated on a new connection."""
    cold = [await stage.cold() for _ in range(6)]
    for opened in cold:
        load = asyncio.ensure_future(stage.load(opened))
        await asyncio.sleep(0)
        await asyncio.to_thread(stage.proxy.reset)
        assert (await load).session == opened.session
        assert await stage.settled()


async def test_half_an_answer_is_none(stage: Stage) -> None:
    """An answer cut in the middle is asked for again."""
    cold = await stage.cold()
    stage.proxy.halve()
    assert (await stage.load(cold)).session == cold.session


async def test_a_stall_that_ends_costs_nothing(start_stage: StartStage) -> None:
    """A server that was silent for a moment, and then goes on, has missed no change: memory is right again."""
    stage = await start_stage(RedisTimes(call=2.0, request=2.0))
    warm = await stage.warm()
    connects = len(stage.proxy.accepted)
    stage.servers.primaries[0].signal(signal.SIGSTOP)
    try:
        unknown = Records(KeyRing(stage.world.keys, os.urandom), os.urandom).new_token(bytes(16), "")
        assert await timed(stage.store.load(unknown, stage.world.now)) < SOON
        assert stage.store.peek(warm.token) is None
    finally:
        stage.servers.primaries[0].signal(signal.SIGCONT)
    assert await stage.settled()
    assert stage.store.peek(warm.token) is warm
    assert len(stage.proxy.accepted) == connects


async def test_full_memory_refuses_logins_and_keeps_sessions(tmp_path: Path) -> None:
    """Of a server that can take no more, reads go on; a login that it did not take is none."""
    with single(tmp_path, "--maxmemory-policy", "noeviction") as servers:
        world = World(tmp_path, never)
        store = make_redis_store(world, servers.address)
        await store.start()
        tokens = [(await store.save(world.begin())).token for _ in range(3)]
        servers.primaries[0].do("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            await store.save(world.begin(BOB))
        assert store.stats()["errors_oom"] >= 1
        other = make_redis_store(world, servers.address)
        await other.start()
        assert [await world.knows(token, other) for token in tokens] == [True] * 3
        await other.revoke((await other.load(tokens[0], world.now)).session)
        assert not await world.knows(tokens[0], other)
        servers.primaries[0].do("CONFIG", "SET", "maxmemory", "0")
        assert await world.knows((await store.save(world.begin(BOB))).token, other)
        await store.close()
        await other.close()


async def test_a_server_that_refuses_us_is_no_logout(stage: Stage) -> None:
    """An error that says nothing about the session lets nobody in and throws nobody out."""
    cold = await stage.cold()
    server = stage.servers.primaries[0]
    server.do("ACL", "SETUSER", "default", "-get", "-mget")
    try:
        await timed(stage.load(cold))
        assert stage.store.stats()["errors_refused"] == 1
    finally:
        server.do("ACL", "SETUSER", "default", "+get", "+mget")
    assert (await stage.load(cold)).session == cold.session


async def test_a_logout_that_redis_did_not_take_is_told_and_done_later(stage: Stage) -> None:
    """It is refused here at once, and everywhere when Redis is back."""
    warm = await stage.warm()
    stage.proxy.vanish()
    with pytest.raises(StoreUnavailable):
        await stage.store.revoke(warm.session)
    assert stage.store.is_over(warm, stage.world.now)
    with pytest.raises((BadToken, StoreUnavailable)):
        await stage.load(warm)
    assert await stage.world.knows(warm.token, stage.beside)
    stage.proxy.heal()

    async def over() -> bool:
        return not await stage.world.knows(warm.token, stage.beside)

    assert await eventually(over)
    assert stage.store.stats()["unended"] == 0


async def test_cancelled_requests(stage: Stage) -> None:
    """Ten thousand that go away while they wait: no answer for another user, and not one more connection."""
    users = [await stage.beside.save(stage.world.begin(Identity(f"user-{number}"))) for number in range(100)]
    connects = len(stage.proxy.accepted)

    async def request(number: int) -> None:
        opened = users[number % 100]
        task = asyncio.ensure_future(stage.store.load(opened.token, stage.world.now))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            assert task.result().session.user == opened.session.user

    for begin in range(0, 10_000, 100):
        await asyncio.gather(*(request(begin + number) for number in range(100)))
        if begin % 1000 == 0:
            # Everybody is cold again.
            for opened in users:
                await stage.beside.save(opened.session.touched(stage.world.now + begin / 1e6), opened.token)
    for opened in users:
        assert (await stage.load(opened)).session.user == opened.session.user
    assert len(stage.proxy.accepted) == connects
    assert stage.proxy.connections() == 1


# What lies there is not what it should be


async def test_everything_is_flushed(stage: Stage) -> None:
    """Everybody logs in again; memory is emptied at once, and it is no error."""
    warm, held = await stage.warm(), await stage.warm()
    stage.servers.flush()

    async def emptied() -> bool:
        return stage.store.peek(warm.token) is None and stage.store.peek(held.token) is None

    assert await eventually(emptied)
    assert held.doubtful
    for _ in range(2):
        with pytest.raises(BadToken):
            await stage.load(warm)
    assert stage.store.stats()["flushes_total"] == 1
    assert await stage.world.knows((await stage.store.save(stage.world.begin())).token, stage.beside)


async def test_another_keys_value_is_an_alarm(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """It is nobody's session, and the operator is told, but not once per request."""
    alice, bob = await stage.cold(), await stage.beside.save(stage.world.begin(BOB))
    names = [f"{PREFIX}s:{opened.session.handle}" for opened in (alice, bob)]
    stage.servers.do(names[0], "SET", names[0], stage.servers.do(names[1], "GET", names[1]))
    for _ in range(5):
        with pytest.raises(BadToken):
            await stage.load(alice)
    assert stage.store.stats()["alarms_total"] == 5
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert alice.session.handle in caplog.text


async def test_a_newer_versions_record_is_a_quiet_logout(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """During a rolling upgrade the old version asks for a login, without an error."""
    with monkeypatch.context() as patch:
        patch.setattr("gateway.sessions.payload.VERSION", b"\x7f")
        newer = await stage.cold()
    with pytest.raises(BadToken):
        await stage.load(newer)
    assert stage.store.stats()["alarms_total"] == 0
    assert caplog.records == []


async def test_clocks_that_jump(stage: Stage) -> None:
    """No record has a negative time to live or outlives its session, whatever the clocks say."""
    world = stage.world
    idle = world.lifetimes.idle

    def left(opened: Opened) -> float:
        name = f"{PREFIX}s:{opened.session.handle}"
        return float(stage.servers.do(name, "PTTL", name)) / 1000

    opened = await stage.store.save(world.begin())
    world.now -= 3600
    renewed = await stage.store.save(opened.session.touched(world.now), opened.token)
    assert 0 < left(renewed) <= idle
    with pytest.raises(BadToken):
        await stage.beside.load(opened.token, world.now)
    world.now += 3600 + 90
    assert await world.knows(renewed.token, stage.beside)
    world.now = opened.session.expires + 3600
    with pytest.raises(BadToken):
        await stage.store.save(opened.session.touched(world.now), opened.token)
    over = replace(world.begin(), created=world.now - 10, seen=world.now - 10, expires=world.now - 5)
    with pytest.raises(BadToken):
        await stage.store.save(over)
