"""Fixtures of Redis servers: started once for all tests that want one, empty for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.sessions import redis_client, redis_link, redis_servers, redis_store
from tests.support import redis_server
from tests.support.redis_server import Servers
from tests.support.waiting import PATIENCE

NEVER = 600.0
"""Seconds of silence after which servers that all tests share are taken for dead: a slow machine is not that slow."""


@pytest.fixture(scope="session")
def single_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with redis_server.single(tmp_path_factory.mktemp("single")) as servers:
        yield servers


@pytest.fixture(scope="session")
def sentinel_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with redis_server.behind_sentinel(tmp_path_factory.mktemp("sentinel"), decides_after=NEVER) as servers:
        yield servers


@pytest.fixture(scope="session")
def cluster_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with redis_server.cluster(tmp_path_factory.mktemp("cluster"), decides_after=NEVER) as servers:
        yield servers


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with redis_server.with_tls_and_acl(tmp_path_factory.mktemp("tls")) as servers:
        yield servers


@pytest.fixture
def patient_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients in this process wait for a Redis that is slow as the machine is, where no test is about that."""
    for module in (redis_link, redis_client, redis_servers):
        for name in ("CALL_TIME", "CONNECT_TIME"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, PATIENCE)
    monkeypatch.setattr(redis_link, "GIVE_UP_TIME", 2 * PATIENCE)
    monkeypatch.setattr(redis_store, "MANY_TIME", PATIENCE)
    monkeypatch.setattr(redis_client.RedisClient.deadline, "__defaults__", (PATIENCE,))


@pytest.fixture
def redis_single(single_server: Servers) -> Servers:
    single_server.flush()
    return single_server


@pytest.fixture
def redis_sentinel(sentinel_servers: Servers) -> Servers:
    sentinel_servers.flush()
    return sentinel_servers


@pytest.fixture
def redis_cluster(cluster_servers: Servers) -> Servers:
    cluster_servers.flush()
    return cluster_servers


@pytest.fixture
def redis_tls(tls_server: Servers) -> Servers:
    tls_server.flush()
    return tls_server
