"""The Redis store keeps the contract on every kind of server: one, behind a Sentinel, a Cluster, with TLS and ACL."""

from __future__ import annotations

import re
from abc import abstractmethod
from pathlib import Path

import pytest

from gateway.sessions.store import SessionStore
from tests.sessions.contract import RecordStoreContract, World
from tests.sessions.redis_stores import make_redis_store
from tests.support.redis_server import ACL, PREFIX, Servers


class RedisContract(RecordStoreContract):
    """The whole contract, and what Redis holds."""

    servers: Servers

    @pytest.fixture(autouse=True)
    @abstractmethod
    def choose(self) -> None:
        """Set the servers."""

    async def start(self, world: World) -> SessionStore:
        return make_redis_store(world, self.servers.address)

    async def record(self, world: World, handle: str) -> bytes:
        key = f"{PREFIX}s:{handle}"
        found = self.servers.do(key, "GET", key)
        assert isinstance(found, bytes)
        return found

    async def put_record(self, world: World, handle: str, record: bytes) -> None:
        key = f"{PREFIX}s:{handle}"
        self.servers.do(key, "SET", key, record, "KEEPTTL")

    async def everything(self, world: World) -> bytes:
        return self.servers.everything()

    async def test_everything_goes_by_itself(self, world: World, store: SessionStore) -> None:
        """Every key has an end: a record with its session's, an index not before its last session's."""
        opened = await store.save(world.begin())
        remembered = await store.save(world.begin(remember=True))
        ended = await store.save(world.begin())
        await store.revoke(ended.session)
        await store.revoke_user("nobody", world.now)
        ends = {key: self.servers.do(key, "PTTL", key) / 1000 for key in self.servers.names()}
        idle, long = world.lifetimes.idle, world.lifetimes.remember or 0.0
        assert idle - 5 < ends.pop(f"{PREFIX}s:{opened.session.handle}") <= idle
        assert long - 5 < ends.pop(f"{PREFIX}s:{remembered.session.handle}") <= long
        assert len(ends) == 2
        assert all(key.startswith(f"{PREFIX}u:") and long - 5 < end <= long for key, end in ends.items())

    async def test_what_is_gone_leaves_the_index(self, world: World, store: SessionStore) -> None:
        """A list clears away the entries of sessions that ended by themselves."""
        opened = await store.save(world.begin())
        await store.save(world.begin())
        key = f"{PREFIX}s:{opened.session.handle}"
        self.servers.do(key, "DEL", key)
        world.now += 100
        assert len(await store.list("alice")) == 1
        (index,) = self.servers.names(f"{PREFIX}u:*")
        assert self.servers.do(index, "HLEN", index) == 1

    async def test_records_that_no_index_knows_are_ended_with_everybody(
        self, world: World, store: SessionStore
    ) -> None:
        """Where the index was lost, its sessions are not."""
        opened = await store.save(world.begin())
        (index,) = self.servers.names(f"{PREFIX}u:*")
        self.servers.do(index, "DEL", index)
        await store.revoke_all(world.now)
        assert not await world.knew(opened.token)
        assert self.servers.names(f"{PREFIX}s:*") == []


def test_the_docs_tell_the_acl_that_is_tested() -> None:
    """The user of the tests may do what the one in docs/redis.md may, and no more."""
    text = (Path(__file__).resolve().parents[2] / "docs/redis.md").read_text(encoding="utf-8")
    (rule,) = re.findall(r"^ACL SETUSER gateway (.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert [word for word in rule.split() if word.startswith("+")] == ACL.split()


class TestSingle(RedisContract):
    """One server."""

    @pytest.fixture(autouse=True)
    def choose(self, redis_single: Servers) -> None:
        self.servers = redis_single


class TestSentinel(RedisContract):
    """A primary that a Sentinel names."""

    @pytest.fixture(autouse=True)
    def choose(self, redis_sentinel: Servers) -> None:
        self.servers = redis_sentinel


class TestCluster(RedisContract):
    """Three primaries."""

    @pytest.fixture(autouse=True)
    def choose(self, redis_cluster: Servers) -> None:
        self.servers = redis_cluster

    async def test_sessions_are_on_all_servers(self, world: World, store: SessionStore) -> None:
        """None of the servers has them all."""
        for _ in range(60):
            await store.save(world.begin())
        assert min(len(server.do("KEYS", "*")) for server in self.servers.primaries) > 3


class TestTls(RedisContract):
    """TLS with certificates on both sides, and a user who may do nothing but what the gateway needs."""

    @pytest.fixture(autouse=True)
    def choose(self, redis_tls: Servers) -> None:
        self.servers = redis_tls
