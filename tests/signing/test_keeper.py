"""The keeper and its vaults: one key for all, kept over restarts, rotated, never in clear text."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.token_policy import TokenPolicy
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.seal import KeyRing
from gateway.signing.keeper import KeyKeeper
from gateway.signing.keys import Keys
from gateway.signing.record import open_keys
from gateway.signing.redis_vault import LEASE, RedisVault
from gateway.signing.vault import FileVault, Vault
from tests.support.redis_server import PREFIX, Servers
from tests.support.waiting import PATIENCE

NOW = 1_800_000_000.0
POLICY = TokenPolicy("X-Identity-Token", "ES256", lifetime=300.0, rotate=30 * 86400.0)
RING = (os.urandom(32),)

MakeVault = Callable[[], Vault]


class Host:
    """One gateway's keeper, and what it has handed on."""

    def __init__(self, vault: Vault, ring: tuple[bytes, ...] = RING, now: float = NOW) -> None:
        self.now = now
        self.vault = vault
        self.handed: list[Keys] = []
        self.has_keys = asyncio.Event()
        self.keeper = KeyKeeper(vault, KeyRing(ring, os.urandom), POLICY, self._take, lambda: self.now)

    def _take(self, keys: Keys) -> None:
        self.handed.append(keys)
        self.has_keys.set()

    @property
    def kids(self) -> list[str]:
        """The names of the keys it has now."""
        return [key.kid for key in self.handed[-1]]

    def published(self) -> list[str]:
        return [key["kid"] for key in json.loads(self.keeper.published())["keys"]]


StartHost = Callable[..., Awaitable[Host]]


@pytest.fixture(params=["file", "redis_single", "redis_sentinel", "redis_cluster", "redis_tls"])
def make_vault(request: pytest.FixtureRequest, tmp_path: Path) -> MakeVault:
    """Every kind of vault; each call is another process's view of the same one."""
    if request.param == "file":
        return lambda: FileVault(tmp_path / "signing-keys")
    servers: Servers = request.getfixturevalue(request.param)
    return lambda: RedisVault(RedisClient(servers.address))


@pytest.fixture
async def start_host(make_vault: MakeVault) -> AsyncIterator[StartHost]:
    started: list[Host] = []

    async def start(ring: tuple[bytes, ...] = RING, now: float = NOW) -> Host:
        host = Host(make_vault(), ring, now)
        started.append(host)
        await host.keeper.start()
        return host

    yield start
    for host in started:
        await host.keeper.close()


async def test_many_hosts_that_start_at_once_have_one_key(start_host: StartHost) -> None:
    hosts = await asyncio.gather(*[start_host() for _ in range(8)])
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*[host.has_keys.wait() for host in hosts])
    assert len({tuple(host.kids) for host in hosts}) == 1
    assert len(hosts[0].kids) == 1
    assert hosts[0].published() == hosts[0].kids


async def test_a_restart_keeps_the_keys(start_host: StartHost) -> None:
    before = await start_host()
    await before.keeper.close()
    assert (await start_host()).kids == before.kids


async def test_what_one_host_rotates_the_others_publish_before_it_signs(start_host: StartHost) -> None:
    one, two = await start_host(), await start_host()
    one.now += POLICY.rotate - POLICY.ahead()
    two.now = one.now
    await one.keeper.look()
    await two.keeper.look()
    assert len(one.kids) == 2
    assert two.published() == one.published()
    assert one.handed[-1][1].signs == one.now + POLICY.ahead()
    one.now += POLICY.ahead() + POLICY.lifetime + 60
    await one.keeper.look()
    await two.keeper.look()
    assert two.kids == one.kids == [one.handed[-2][1].kid], "the old one goes when its last token is over"


async def test_what_is_lost_comes_back_from_memory(make_vault: MakeVault, start_host: StartHost) -> None:
    host = await start_host()
    vault = make_vault()
    await vault.start()
    if isinstance(vault, FileVault):
        vault._file.unlink()
    else:
        assert isinstance(vault, RedisVault)
        await vault._call(vault._key, "DEL", vault._key)
    assert await vault.read() is None
    await host.keeper.look()
    assert (await start_host()).kids == host.kids
    await vault.close()


async def test_another_session_key_opens_what_the_one_before_sealed(start_host: StartHost) -> None:
    """As at a rotation of session.keys: the new one first, later without the old one."""
    new = os.urandom(32)
    before = await start_host()
    assert (await start_host((new, *RING))).kids == before.kids
    assert (await start_host((new,))).kids == before.kids


async def test_keys_that_do_not_open_are_made_anew_and_said(
    start_host: StartHost, caplog: pytest.LogCaptureFixture
) -> None:
    before = await start_host()
    other = await start_host((os.urandom(32),))
    assert other.kids != before.kids
    assert "do not open with session.keys" in caplog.text
    caplog.clear()
    await before.keeper.look()
    await before.keeper.look()
    await other.keeper.look()
    assert other.handed[-1] is other.handed[0], "who has keys leaves those of others alone"
    assert len(caplog.records) == 1, "and says so once"


async def test_nothing_lies_there_in_clear_text(make_vault: MakeVault, start_host: StartHost) -> None:
    host = await start_host()
    vault = make_vault()
    await vault.start()
    record = await vault.read()
    await vault.close()
    assert record is not None
    key = host.handed[-1][0]
    assert key.private not in record
    assert key.kid.encode() not in record
    assert open_keys(KeyRing(RING, os.urandom), record) == host.handed[-1]
    with pytest.raises(BadToken):
        open_keys(KeyRing(RING, os.urandom), record[:-1] + bytes([record[-1] ^ 1]))


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        asyncio.run(FileVault(tmp_path / "signing-keys").change(lambda _: b"record"))
    finally:
        os.umask(mask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"signing-keys": 0o600, "signing-keys.lock": 0o600}


async def test_a_write_that_was_broken_off_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "signing-keys.new").write_bytes(b"half")
    host = Host(FileVault(tmp_path / "signing-keys"))
    await host.keeper.look()
    assert host.kids


async def test_a_folder_that_fails_is_said_and_the_keys_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "var"
    host = Host(FileVault(folder / "signing-keys"))
    await host.keeper.look()
    assert "signing keys cannot be used" in caplog.text
    with pytest.raises(StoreUnavailable):
        host.keeper.published()
    folder.mkdir()
    await host.keeper.look()
    kids = host.kids
    (folder / "signing-keys").unlink()
    (folder / "signing-keys").mkdir()
    await host.keeper.look()
    assert host.published() == kids


async def test_a_redis_that_comes_late_is_waited_for(redis_single: Servers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "gateway.redis")
    host = Host(RedisVault(RedisClient(redis_single.address)))
    redis_single.primaries[0].signal(signal.SIGSTOP)
    try:
        await host.keeper.start()
        with pytest.raises(StoreUnavailable):
            host.keeper.published()
    finally:
        redis_single.primaries[0].signal(signal.SIGCONT)
    async with asyncio.timeout(PATIENCE):
        await host.has_keys.wait()
    await host.keeper.close()


async def test_who_has_the_lease_alone_changes_the_record(redis_single: Servers) -> None:
    """A host that died in the middle holds up the others for the time of its lease, and no longer."""
    lease = f"{PREFIX}signing-keys-lease"
    redis_single.do(lease, "SET", lease, "held", "PX", int(LEASE * 1000))
    host = Host(RedisVault(RedisClient(redis_single.address)))
    await host.vault.start()
    await host.keeper.look()
    assert host.handed == []
    redis_single.do(lease, "PEXPIRE", lease, 1)
    async with asyncio.timeout(PATIENCE):
        while not host.handed:
            await host.keeper.look()
    assert redis_single.do(lease, "GET", lease) is None, "given back"
    await host.keeper.close()


async def test_a_keeper_with_another_policy_takes_over_the_same_keys(tmp_path: Path) -> None:
    """As at a reload with a longer lifetime."""
    first = Host(FileVault(tmp_path / "signing-keys"))
    await first.keeper.look()
    handed: list[Keys] = []
    longer = replace(POLICY, lifetime=3600.0)
    second = KeyKeeper(first.vault, KeyRing(RING, os.urandom), longer, handed.append, lambda: NOW)
    await second.look()
    assert [key.kid for key in handed[-1]] == first.kids
    assert handed[-1][0].lifetime == 3600.0
