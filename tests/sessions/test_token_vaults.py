"""What every vault of tokens promises, over a real file and real Redis servers."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gateway.core.identity import Identity
from gateway.core.provider import ProviderSession, ProviderTokens
from gateway.core.session import Lifetimes, Session, start_session
from gateway.errors import StoreUnavailable
from gateway.sessions import sqlite_vault
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_vault import RedisTokenVault
from gateway.sessions.seal import KeyRing
from gateway.sessions.sqlite_vault import SqliteTokenVault
from gateway.sessions.token_vault import KeptLogin, TokenVault, open_kept, seal_kept
from tests.support.redis_server import PREFIX, Servers, through

KEYS = (b"k" * 32,)
LOGIN = ProviderSession("sso", "https://sso", "subject", "sid", "acr", 1.5, 2.5, 3.5)
TOKENS = ProviderTokens("id-token-of-alice", "access-token-of-alice", "refresh-token-of-alice", 4.5)
ALICE = Identity("alice", "Älice", "alice@example.com", ("staff", "wiki"), "sso", {"sub": "subject", "n": 1})
KEPT = KeptLogin(ALICE, LOGIN, TOKENS)
MANY = KeptLogin(replace(ALICE, groups=()), replace(LOGIN, refresh_at=None), ProviderTokens("é\0", "", "\ud800"))


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Place:
    """Where vaults of several processes lie."""

    clock: Clock
    open: Callable[[tuple[bytes, ...]], TokenVault]
    everything: Callable[[], bytes]
    made: list[TokenVault] = field(default_factory=list)

    def vault(self, keys: tuple[bytes, ...] = KEYS) -> TokenVault:
        self.made.append(self.open(keys))
        return self.made[-1]

    def session(self) -> Session:
        return start_session(os.urandom(16), ALICE, Lifetimes(), remember=False, now=self.clock(), login=LOGIN)


def in_file(clock: Clock, folder: Path) -> Place:
    file = folder / "tokens.sqlite"

    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in folder.glob("tokens.sqlite*"))

    return Place(clock, lambda keys: SqliteTokenVault(file, KeyRing(keys, os.urandom), clock, os.urandom), everything)


def in_redis(clock: Clock, servers: Servers) -> Place:
    def make(keys: tuple[bytes, ...]) -> TokenVault:
        return RedisTokenVault(RedisClient(servers.address), KeyRing(keys, os.urandom), clock, os.urandom)

    return Place(clock, make, servers.everything)


@pytest.fixture(params=["file", "redis_single", "redis_cluster", "redis_sentinel", "redis_tls"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    clock = Clock()
    if request.param == "file":
        found = in_file(clock, tmp_path)
    else:
        found = in_redis(clock, request.getfixturevalue(request.param))
    yield found
    for vault in found.made:
        await vault.close()


@pytest.mark.parametrize("kept", [KEPT, MANY])
async def test_what_is_put_comes_back_in_every_process(place: Place, kept: KeptLogin) -> None:
    session, mine, other = place.session(), place.vault(), place.vault()
    assert await mine.get(session) is None
    await mine.put(session, kept)
    assert await mine.get(session) == kept
    assert await other.get(session) == kept


async def test_what_is_put_again_takes_its_place(place: Place) -> None:
    session, vault = place.session(), place.vault()
    await vault.put(session, KEPT)
    await vault.put(session, MANY)
    assert await vault.get(session) == MANY


async def test_what_is_dropped_is_gone(place: Place) -> None:
    session, kept, vault = place.session(), place.session(), place.vault()
    for each in (session, kept):
        await vault.put(each, KEPT)
    assert await vault.drop(session) == KEPT
    assert await vault.drop(session) is None
    assert await vault.get(session) is None
    assert await vault.get(kept) == KEPT


async def test_what_is_renewed_takes_the_place_of_what_is_there_and_of_nothing_else(place: Place) -> None:
    session, mine, other = place.session(), place.vault(), place.vault()
    assert not await mine.renew(session, KEPT)
    assert await mine.get(session) is None
    await mine.put(session, KEPT)
    assert await other.renew(session, MANY)
    assert await mine.drop(session) == MANY
    assert not await other.renew(session, KEPT)
    assert await mine.get(session) is None


async def test_whoever_drops_has_the_newest_or_whoever_renews_learns_of_it(place: Place) -> None:
    """However the two meet, new tokens end with one of them."""
    for _ in range(20):
        session, mine, other = place.session(), place.vault(), place.vault()
        await mine.put(session, KEPT)
        was_there, dropped = await asyncio.gather(other.renew(session, MANY), mine.drop(session))
        assert dropped == (MANY if was_there else KEPT)
        assert await mine.get(session) is None


async def test_it_is_useless_without_the_session(place: Place) -> None:
    """Neither a copy of the vault nor that together with the keys opens an entry: the session's id is in its cookie."""
    session, vault = place.session(), place.vault()
    await vault.put(session, KEPT)
    everything = place.everything()
    assert session.handle.encode() in everything
    for secret in (session.id, session.id.hex().encode(), b"token-of-alice", b"alice", b"staff", b"subject"):
        assert secret not in everything


async def test_another_sessions_entry_opens_for_nobody_else(place: Place) -> None:
    """A record that was put in the place of another's is none there."""
    mine, yours = place.session(), place.session()
    keys = KeyRing(KEYS, os.urandom)
    record = seal_kept(keys, yours, KEPT)
    assert open_kept(keys, yours, record) == KEPT
    assert open_kept(keys, mine, record) is None
    assert open_kept(keys, replace(yours, id=mine.id), record) is None
    assert open_kept(KeyRing([b"x" * 32], os.urandom), yours, record) is None
    assert open_kept(keys, yours, record[:-1] + bytes([record[-1] ^ 1])) is None
    assert open_kept(keys, yours, b"") is None


async def test_after_a_change_of_keys_it_still_opens(place: Place) -> None:
    session = place.session()
    await place.vault().put(session, KEPT)
    assert await place.vault((b"n" * 32, *KEYS)).get(session) == KEPT
    assert await place.vault((b"n" * 32,)).get(session) is None


async def test_one_at_a_time_has_the_lease(place: Place) -> None:
    """Whoever has it, until it is released or has run out; nobody releases another's."""
    session, vaults = place.session(), [place.vault() for _ in range(3)]
    first, second, _ = vaults
    for _ in range(3):
        found = await asyncio.gather(*(vault.lease(session.handle, 30) for vault in vaults for _ in range(3)))
        assert sum(found) == 1
        holder = vaults[found.index(True) // 3]
        for other in vaults:
            if other is not holder:
                await other.release(session.handle)
        assert not await first.lease(session.handle, 30)
        await holder.release(session.handle)
    assert await second.lease(session.handle, 30)
    assert await first.lease(place.session().handle, 30), "each session has its own"


async def test_a_lease_whose_holder_died_runs_out(place: Place) -> None:
    session, vault = place.session(), place.vault()
    assert await place.vault().lease(session.handle, 0.2)
    assert not await vault.lease(session.handle, 30)
    for _ in range(200):
        place.clock.now += 0.01
        await asyncio.sleep(0.01)
        if await vault.lease(session.handle, 30):
            break
    else:
        pytest.fail("it never ran out")


async def test_what_is_kept_goes_with_the_session(redis_single: Servers) -> None:
    """In Redis by itself, at the session's absolute end."""
    place = in_redis(Clock(), redis_single)
    session, vault = place.session(), place.vault()
    place.clock.now += 3600
    await vault.put(session, KEPT)
    name = f"{PREFIX}t:{session.handle}"
    assert redis_single.names() == [name]
    assert 39_500_000 < int(redis_single.do(name, "PTTL", name)) <= 39_600_000
    await vault.drop(session)
    place.clock.now = session.expires
    await vault.put(session, KEPT)
    assert redis_single.names() == []
    await vault.close()


async def test_without_redis_nothing_is_known(single_server: Servers) -> None:
    address = through(single_server.address, 1)
    vault = RedisTokenVault(RedisClient(address), KeyRing(KEYS, os.urandom), Clock(), os.urandom)
    session = start_session(os.urandom(16), ALICE, Lifetimes(), remember=False, now=Clock().now)
    for call in (vault.put(session, KEPT), vault.get(session), vault.drop(session), vault.lease(session.handle, 1)):
        with pytest.raises(StoreUnavailable):
            await call
    await vault.close()


# The file


def count(file: Path) -> int:
    with sqlite3.connect(file) as db:
        found = int(db.execute("SELECT count(*) FROM kept").fetchone()[0])
    db.close()
    return found


async def test_the_file_is_pruned_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over goes, and of too much what would end first; some at a time."""
    monkeypatch.setattr(sqlite_vault, "_PRUNED_AT_ONCE", 3)
    clock, file = Clock(), tmp_path / "tokens.sqlite"
    vault = SqliteTokenVault(file, KeyRing(KEYS, os.urandom), clock, os.urandom, most=10)
    old = [start_session(os.urandom(16), ALICE, Lifetimes(), remember=False, now=clock.now) for _ in range(7)]
    for session in old:
        await vault.put(session, KEPT)
    assert count(file) == 7
    clock.now = old[0].expires
    assert await vault.get(old[0]) is None
    young = [start_session(os.urandom(16), ALICE, Lifetimes(), remember=False, now=clock.now + n) for n in range(30)]
    await vault.put(young[0], KEPT)
    assert count(file) == 1
    for session in young:
        await vault.put(session, KEPT)
    clock.now += 61
    await vault.put(young[-1], KEPT)
    assert count(file) == 10
    assert [session for session in young if await vault.get(session)] == young[20:]
    await vault.close()


def modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.glob("tokens.sqlite*")}


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    place = in_file(Clock(), tmp_path)
    await place.vault().put(place.session(), KEPT)
    assert modes(tmp_path) == {0o600}
    await place.made[0].close()


async def test_a_clock_that_was_set_back_keeps_no_lease_for_ever(tmp_path: Path) -> None:
    place = in_file(Clock(), tmp_path)
    session, first, second = place.session(), place.vault(), place.vault()
    assert await first.lease(session.handle, 10)
    place.clock.now -= 86400
    assert await second.lease(session.handle, 10)
    for vault in place.made:
        await vault.close()


async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "tokens.sqlite"
    file.write_bytes(b"no database" * 100)
    with pytest.raises(StoreUnavailable, match=r"tokens\.sqlite"):
        SqliteTokenVault(file, KeyRing(KEYS, os.urandom), Clock(), os.urandom)
