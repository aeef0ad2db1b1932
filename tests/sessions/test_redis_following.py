"""What one gateway learns of what others do to the sessions in Redis, how soon, and what it does with it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.redis_address import Topology
from gateway.errors import BadToken
from gateway.sessions.redis_store import RedisStore
from tests.sessions.contract import BOB, World, eventually
from tests.sessions.redis_stores import make_redis_store, never
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_server import PATIENT, PREFIX, Servers, through

TOLD_WITHIN = 2.0
"""Seconds, in the middle of many, after which a session that was ended on one host is refused on another."""


@pytest.fixture(params=["single", "cluster"])
def servers(request: pytest.FixtureRequest) -> Servers:
    found = request.getfixturevalue(f"redis_{request.param}")
    assert isinstance(found, Servers)
    return found


@pytest.fixture
async def hosts(servers: Servers, tmp_path: Path) -> AsyncIterator[tuple[World, RedisStore, RedisStore]]:
    world = World(tmp_path, never)
    one, two = make_redis_store(world, servers.address), make_redis_store(world, servers.address)
    await one.start()
    await two.start()
    yield world, one, two
    await one.close()
    await two.close()


Hosts = tuple[World, RedisStore, RedisStore]


async def test_a_session_ended_on_one_host_is_refused_on_another_at_once(hosts: Hosts) -> None:
    """Not asked for and not renewed there, it is out of that host's memory in a moment; the median is milliseconds."""
    world, one, two = hosts
    took = []
    for _ in range(50):
        opened = await one.save(world.begin())
        held = await two.load(opened.token, world.now)
        assert two.peek(opened.token) is held
        await one.revoke(opened.session)
        begin = time.monotonic()

        async def refused(token: str = opened.token) -> bool:
            return two.peek(token) is None

        assert await eventually(refused)
        took.append(time.monotonic() - begin)
        assert held.doubtful
        with pytest.raises(BadToken):
            await two.load(opened.token, world.now)
    assert sorted(took)[25] < TOLD_WITHIN


async def test_a_renewal_elsewhere_is_taken_over(hosts: Hosts) -> None:
    """The other host reads the newer record when it next needs it; what holds the older one is told to ask."""
    world, one, two = hosts
    opened = await one.save(world.begin())
    held = await two.load(opened.token, world.now)
    world.now += 100
    renewed = await one.save(opened.session.touched(world.now), opened.token)
    assert one.peek(opened.token) is renewed, "a host's own writes leave its own memory alone"
    assert one.stats()["invalidations_total"] == 0

    async def told() -> bool:
        return two.peek(opened.token) is None

    assert await eventually(told)
    assert held.doubtful
    assert (await two.load(opened.token, world.now)).until > held.until


async def test_a_session_in_doubt_is_read_again_before_the_news_of_its_change_is_here(hosts: Hosts) -> None:
    """As one that another process has just refreshed, whose answer was faster than Redis."""
    world, one, two = hosts
    opened = await one.save(world.begin())
    held = await two.load(opened.token, world.now)
    await one.save(replace(opened.session, identity=BOB), opened.token)

    async def told() -> bool:
        return two.peek(opened.token) is None

    assert await eventually(told)
    two._recent.put(held)
    held.doubtful = False
    assert await two.load(opened.token, world.now) is held, "what is told of changes is believed"
    held.doubtful = True
    assert (await two.load(opened.token, world.now)).session.identity == BOB


async def test_ends_and_reads_at_once_leave_nothing_wrong_in_memory(hosts: Hosts) -> None:
    """However a reply and the news of the end overtake each other: what has ended is in no memory."""
    world, one, two = hosts
    for number in range(150):
        opened = await one.save(world.begin())
        reading = [asyncio.ensure_future(two.load(opened.token, world.now)) for _ in range(3)]
        for _ in range(number % 10):
            await asyncio.sleep(0)
        await one.revoke(opened.session)
        await asyncio.gather(*reading, return_exceptions=True)

        async def told(token: str = opened.token) -> bool:
            return two.peek(token) is None

        assert await eventually(told)
        with pytest.raises(BadToken):
            await two.load(opened.token, world.now)


async def test_many_loads_are_one_question(hosts: Hosts, servers: Servers) -> None:
    """A browser that opens a page with a hundred parts is looked up once."""
    world, one, two = hosts
    opened = await one.save(world.begin())

    # In a Cluster two commands: the record, and which of the session's tokens are closed.
    read, commands = ("cmdstat_get:", 2) if len(servers.primaries) > 1 else ("cmdstat_mget:", 1)

    def reads() -> int:
        lines = b"\n".join(server.do("INFO", "commandstats") for server in servers.primaries).decode().splitlines()
        return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines if line.startswith(read))

    before = reads()
    found = await asyncio.gather(*(two.load(opened.token, world.now) for _ in range(100)))
    assert len({id(each) for each in found}) == 1
    assert reads() == before + commands


async def test_an_ending_that_meets_a_login(hosts: Hosts, servers: Servers) -> None:
    """A user's sessions are ended while he logs in elsewhere: whoever began before that is out, in any order."""
    world, one, two = hosts
    tokens = []
    for number in range(60):
        world.now += 1
        login = asyncio.ensure_future(two.save(world.begin()))
        for _ in range(number % 15):
            await asyncio.sleep(0)
        await one.revoke_user("alice", world.now)
        (found,) = await asyncio.gather(login, return_exceptions=True)
        if not isinstance(found, BaseException):
            tokens.append(found.token)
        else:
            assert isinstance(found, BadToken)

    async def over() -> bool:
        return not any([await world.knows(token, two) or await world.knows(token, one) for token in tokens])

    assert await eventually(over)
    assert servers.names(f"{PREFIX}s:*") == []
    assert await one.list("alice") == []
    world.now += 1
    assert await world.knows((await two.save(world.begin())).token, one)


async def test_an_ending_of_everybody_that_meets_logins(hosts: Hosts, servers: Servers) -> None:
    """The same, for all users."""
    world, one, two = hosts
    logins = [asyncio.ensure_future(two.save(world.begin(BOB))) for _ in range(20)]
    await asyncio.sleep(0)
    await one.revoke_all(world.now)
    await asyncio.gather(*logins, return_exceptions=True)
    assert servers.names(f"{PREFIX}s:*") == []


async def test_what_was_missed_is_not_believed(servers: Servers, tmp_path: Path) -> None:
    """A session that was ended while the stream was broken is refused after it, though it was in memory before."""
    if servers.address.topology is Topology.CLUSTER:
        # The servers of a Cluster name themselves, past any proxy: there connections are cut at the servers.
        await _missed(servers, tmp_path, None)
        return
    with FaultProxy(servers.port) as proxy:
        await _missed(servers, tmp_path, proxy)


async def _missed(servers: Servers, tmp_path: Path, proxy: FaultProxy | None) -> None:
    world = World(tmp_path, never)
    beside = make_redis_store(world, servers.address)
    store = make_redis_store(world, through(servers.address, proxy.port, times=PATIENT) if proxy else servers.address)
    await beside.start()
    await store.start()
    ended, kept = await beside.save(world.begin()), await beside.save(world.begin(BOB))
    held = [await store.load(opened.token, world.now) for opened in (ended, kept)]
    if proxy is not None:
        proxy.black_hole()
        await beside.revoke(ended.session)
        await asyncio.sleep(0.05)
        proxy.reset()
        proxy.heal()
    else:
        for server in servers.primaries:
            server.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await beside.revoke(ended.session)

    async def trusted() -> bool:
        return store.stats()["up"] == 1 and store.peek(ended.token) is None

    assert await eventually(trusted)
    assert not await world.knows(ended.token, store)
    assert await world.knows(kept.token, store)
    assert all(opened.doubtful for opened in held)
    await store.close()
    await beside.close()


async def test_the_clients_own_state_ends_with_it(redis_single: Servers, tmp_path: Path) -> None:
    """One connection per process, and none is left after it was closed."""
    server = redis_single.primaries[0]
    server.disconnect()
    newest = int(server.do("CLIENT", "ID"))

    def clients() -> int:
        """Count those that came since; what others left may still be closing."""
        ids = re.findall(rb"(?m)^id=(\d+)", server.do("CLIENT", "LIST"))
        return sum(int(each) > newest for each in ids)

    world = World(tmp_path, never)
    stores = [make_redis_store(world, redis_single.address) for _ in range(3)]
    for store in stores:
        await store.start()
        await store.check()
    assert clients() == 3
    for store in stores:
        await store.close()

    async def gone() -> bool:
        return clients() == 0

    assert await eventually(gone)
