"""Endings of many sessions in Redis: of a user, of a login at a provider, of everybody; on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.core.provider import ProviderSession
from gateway.errors import StoreUnavailable
from gateway.sessions.redis_store import RedisStore
from gateway.sessions.store import Opened
from tests.sessions.contract import World
from tests.sessions.redis_stores import make_redis_store, never
from tests.support.redis_server import Servers

LOGIN = ProviderSession("sso", "https://op.example.com", "subject-1", "sid-1")


@dataclass
class Hosts:
    """Two hosts on one Redis, and a session that began at the other one."""

    world: World
    here: RedisStore
    other: RedisStore
    opened: Opened

    async def end(self, how: str) -> None:
        """End it with all others of its kind, here."""
        if how == "user":
            await self.here.revoke_user(self.opened.session.user, self.world.now)
        elif how == "login":
            await self.here.revoke_logins(LOGIN.marks(), self.world.now)
        else:
            await self.here.revoke_all(self.world.now)

    async def known(self) -> list[bool]:
        """Tell for each host whether it opens the session."""
        return [await self.world.knows(self.opened.token, host) for host in (self.here, self.other)]


@pytest.fixture
async def hosts(redis_single: Servers, tmp_path: Path) -> AsyncIterator[Hosts]:
    world = World(tmp_path, never)
    here, other = (make_redis_store(world, redis_single.address) for _ in range(2))
    await here.start()
    await other.start()
    yield Hosts(world, here, other, await other.save(replace(world.begin(), login=LOGIN)))
    await here.close()
    await other.close()


HOW = pytest.mark.parametrize("how", ["user", "login", "everybody"])


@HOW
async def test_one_that_failed_half_way_is_completed_by_the_next(hosts: Hosts, redis_single: Servers, how: str) -> None:
    """Whoever is told that ending sessions failed may say it again, and then they are ended."""
    server = redis_single.primaries[0]
    server.do("ACL", "SETUSER", "default", "-del")
    hosts.world.now += 1
    try:
        with pytest.raises(StoreUnavailable):
            await hosts.end(how)
        assert await hosts.known() == [True, True]
    finally:
        server.do("ACL", "SETUSER", "default", "+del")
    hosts.world.now += 1
    await hosts.end(how)
    assert await hosts.known() == [False, False]
    assert await hosts.here.list(hosts.opened.session.user) == []


@HOW
async def test_what_a_host_with_a_wrong_clock_began_ends_too(hosts: Hosts, how: str) -> None:
    """It is refused for now, but would be known when the time has come that it says it is from."""
    hosts.world.now -= 3600
    await hosts.end(how)
    hosts.world.now += 3601
    assert await hosts.known() == [False, False]
