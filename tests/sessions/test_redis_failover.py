"""The Redis store when another server becomes primary: named by a Sentinel, or in a Cluster."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import hiredis
import pytest

from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.redis_servers import slot_of
from gateway.sessions.redis_store import RedisStore
from gateway.sessions.store import Opened
from tests.sessions.contract import BOB, World, eventually
from tests.sessions.redis_stores import make_redis_store, never
from tests.support.ports import HOST
from tests.support.redis_server import (
    PREFIX,
    SERVICE,
    RedisServer,
    Servers,
    behind_sentinel,
    cluster,
    single,
)
from tests.support.waiting import PATIENCE, wait_for


async def started(servers: Servers, tmp_path: Path) -> tuple[World, RedisStore]:
    world = World(tmp_path, never)
    store = make_redis_store(world, servers.address)
    await store.start()
    return world, store


async def write_again(world: World, store: RedisStore) -> Opened:
    """Log in as soon as that works."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                return await store.save(world.begin(BOB))
            await asyncio.sleep(0.02)


async def test_the_primary_dies(tmp_path: Path) -> None:
    """Logins fail until the Sentinel has named another one, then work; what was confirmed is there."""
    with behind_sentinel(tmp_path) as servers:
        world, store = await started(servers, tmp_path)
        before = [await store.save(world.begin()) for _ in range(20)]
        (primary,), (replica, sentinel) = servers.primaries, servers.others
        wait_for(lambda: len(replica.do("KEYS", f"{PREFIX}s:*")) == 20, what="the replica has it all")
        primary.kill()
        after = await write_again(world, store)
        assert sentinel.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE) == [HOST.encode(), b"%d" % replica.port]
        assert [await world.knows(opened.token, store) for opened in (*before, after)] == [True] * 21

        async def trusted() -> bool:
            return store.stats()["up"] == 1

        assert await eventually(trusted)
        replica.do("DEL", f"{PREFIX}s:{after.session.handle}")

        async def told() -> bool:
            return store.peek(after.token) is None

        assert await eventually(told), "the new primary tells of changes"
        await store.close()


async def test_the_primary_is_changed_while_it_lives(tmp_path: Path) -> None:
    """A demoted server answers READONLY: it is left at once, and the new one asked."""
    with behind_sentinel(tmp_path) as servers:
        world, store = await started(servers, tmp_path)
        before = await store.save(world.begin())
        (primary,), (replica, sentinel) = servers.primaries, servers.others
        wait_for(lambda: len(replica.do("KEYS", f"{PREFIX}s:*")) == 1, what="the replica has it")
        wait_for(
            lambda: _accepted(sentinel, "SENTINEL", "FAILOVER", SERVICE), what="the Sentinel thinks the replica fit"
        )
        wait_for(
            lambda: sentinel.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1] != b"%d" % primary.port, what="moved"
        )
        after = await write_again(world, store)
        assert replica.do("EXISTS", f"{PREFIX}s:{after.session.handle}") == 1
        assert await world.knows(before.token, store)
        await store.close()


async def test_a_server_that_turns_readonly(tmp_path: Path) -> None:
    """The connection is given up, the primary looked for anew, and what was refused is tried once more."""
    with single(tmp_path) as servers:
        world, store = await started(servers, tmp_path)
        opened = await store.save(world.begin())
        server = servers.primaries[0]
        server.do("REPLICAOF", HOST, str(server.port + 1))
        with pytest.raises(StoreUnavailable):
            await store.save(world.begin())
        assert store.stats()["errors_readonly"] >= 1
        assert store.stats()["connects_total"] >= 2
        assert await world.knows(opened.token, store)
        server.do("REPLICAOF", "NO", "ONE")
        assert await world.knows((await write_again(world, store)).token, store)
        await store.close()


async def test_slots_that_move(tmp_path: Path) -> None:
    """MOVED and ASK are followed, and changes are told by whoever has a key now."""
    with cluster(tmp_path) as servers:
        world, store = await started(servers, tmp_path)
        opened = await store.save(world.begin())
        name = f"{PREFIX}s:{opened.session.handle}"
        slot = slot_of(name)
        source = next(
            server for server in servers.primaries if _serves(server.do("CLUSTER", "SLOTS"), server.port, slot)
        )
        target = next(server for server in servers.primaries if server is not source)
        ids = {server: server.do("CLUSTER", "MYID").decode() for server in servers.primaries}
        target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        source.do("MIGRATE", HOST, target.port, name, 0, 1000)

        async def told() -> bool:
            return store.peek(opened.token) is None

        assert await eventually(told)
        assert (await store.load(opened.token, world.now)).session == opened.session, "ASK is followed"
        for server in (target, source, *servers.primaries):
            server.do("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        assert store.stats()["redirected_total"] >= 1
        opened = await store.save(opened.session.touched(world.now + 1), opened.token)
        target.do("DEL", name)
        assert await eventually(told)
        with pytest.raises(BadToken):
            await store.load(opened.token, world.now)
        await store.close()


def _accepted(server: RedisServer, *words: str) -> bool:
    try:
        server.do(*words)
    except hiredis.ReplyError:
        return False
    return True


def _serves(slots: list[list[object]], port: int, slot: int) -> bool:
    for first, last, primary, *_ in slots:
        assert isinstance(first, int)
        assert isinstance(last, int)
        assert isinstance(primary, list)
        if first <= slot <= last:
            return bool(primary[1] == port)
    return False


@pytest.mark.parametrize(
    ("key", "slot"), [("123456789", 12739), ("foo", 12182), ("{user1000}.following", 3443), ("foo{}{bar}", 8363)]
)
def test_slots(key: str, slot: int) -> None:
    """They are those of the Redis Cluster specification."""
    assert slot_of(key) == slot


async def test_a_cluster_that_is_down(tmp_path: Path) -> None:
    """Where not every slot is served, memory is not trusted, and known sessions live on the grace time."""
    with cluster(tmp_path) as servers:
        world, store = await started(servers, tmp_path)
        opened = [await store.save(world.begin()) for _ in range(30)]
        servers.primaries[0].kill()

        async def doubtful() -> bool:
            return store.stats()["up"] == 0

        assert await eventually(doubtful)
        for _ in range(20):
            assert [await world.knows(each.token, store) for each in opened] == [True] * 30
            await asyncio.sleep(0.05)
        with pytest.raises(StoreUnavailable):
            await store.check()
        await asyncio.gather(*(store.save(world.begin()) for _ in range(20)), return_exceptions=True)
        assert store.stats()["errors_down"] > 0
        await store.close()
