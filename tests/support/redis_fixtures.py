"""Fixtures of Redis servers: started once for all tests that want one, empty for each.

Clients wait long for them, for few tests are about a machine that is slow; those that are reach them `through` a proxy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support import redis_server
from tests.support.redis_server import PATIENT, Servers

NEVER = 600.0
"""Seconds of silence after which servers that all tests share are taken for dead: a slow machine is not that slow."""


@pytest.fixture(scope="session")
def single_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with redis_server.single(tmp_path_factory.mktemp("single")) as servers:
        servers.address = replace(servers.address, times=PATIENT)
        yield servers


@pytest.fixture(scope="session")
def sentinel_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with redis_server.behind_sentinel(tmp_path_factory.mktemp("sentinel"), decides_after=NEVER) as servers:
        servers.address = replace(servers.address, times=PATIENT)
        yield servers


@pytest.fixture(scope="session")
def cluster_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with redis_server.cluster(tmp_path_factory.mktemp("cluster"), decides_after=NEVER) as servers:
        servers.address = replace(servers.address, times=PATIENT)
        yield servers


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with redis_server.with_tls_and_acl(tmp_path_factory.mktemp("tls")) as servers:
        servers.address = replace(servers.address, times=PATIENT)
        yield servers


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
