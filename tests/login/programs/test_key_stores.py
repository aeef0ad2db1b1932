"""What every store of API keys promises, over a real file and real Redis servers; and what each does besides."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.api_key import ApiKey
from gateway.errors import StoreUnavailable
from gateway.login.programs.api_keys import make_api_key
from tests.login.programs.key_places import NOW, RING, Place, in_file, in_redis, seen
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_server import PREFIX, Servers
from tests.support.waiting import PATIENCE, wait_until

NEW_RING = (b"n" * 32, *RING)


def key(name: str = "robot", user: str = "alice", at: float = NOW, lifetime: float | None = None) -> ApiKey:
    return make_api_key(name, user, at, lifetime=lifetime)[1]


async def test_what_one_process_adds_others_read(place: Place) -> None:
    """All of it, the newest first."""
    mine, other = place.open(), place.open()
    assert await other.read() == {}
    plain = key("plain", at=NOW - 2)
    narrow = make_api_key("närrow", "bob", NOW - 1, groups=("wiki", "a b"), routes=("x", "y"), lifetime=3600)[1]
    none = make_api_key("none", "bob", NOW, groups=())[1]
    for each in (plain, narrow, none):
        await mine.add(each)
    assert await other.read() == await mine.read() == {each.id: each for each in (plain, narrow, none)}
    assert list(await other.read()) == [none.id, narrow.id, plain.id]
    assert [each.user for each in (await other.read()).values()] == ["bob", "bob", "alice"]


async def test_what_one_process_removes_others_read_no_more(place: Place) -> None:
    mine, other = place.open(), place.open()
    gone, kept = key("gone"), key("kept")
    for each in (gone, kept):
        await mine.add(each)
    assert await other.remove(gone.id) == gone
    assert await mine.read() == {kept.id: kept}
    assert await mine.remove(gone.id) is None
    assert await other.remove("kept") is None


async def test_the_version_changes_with_every_change_of_others(place: Place) -> None:
    """And not by itself, so that nobody reads for nothing."""
    mine, other = place.open(), place.open()
    before = await other.version()
    assert before is not None
    assert await other.version() == before
    added = key()
    await seen(other, mine.add(added))
    await seen(other, mine.remove(added.id))


async def test_last_use_is_written_forwards_only_and_of_nothing_that_is_gone(place: Place) -> None:
    store = place.open()
    first, second, gone = key(), key(), key()
    for each in (first, second, gone):
        await store.add(each)
    await store.remove(gone.id)
    await store.note_used({})
    await store.note_used({first.id: NOW + 60.5, gone.id: NOW, "unknown": NOW})
    await store.note_used({first.id: NOW + 30, second.id: NOW})
    found = await place.open().read()
    assert {each.id: each.used for each in found.values()} == {first.id: NOW + 60.5, second.id: NOW}


async def test_a_key_that_is_taken_over_keeps_its_last_use(place: Place) -> None:
    store, old = place.open(), key()
    await store.add(replace(old, used=NOW - 5))
    assert (await place.open().read())[old.id].used == NOW - 5


async def test_nothing_there_is_a_secret(place: Place) -> None:
    text, kept = make_api_key("robot", "alice", NOW)
    await place.open().add(kept)
    everything, secret = place.everything(), text[17:]
    assert kept.id.encode() in everything
    assert secret.encode() not in everything
    assert bytes.fromhex(secret) not in everything


async def test_a_store_that_is_closed_knows_nothing(place: Place) -> None:
    store = place.open()
    await store.read()
    await store.close()
    for call in (store.read(), store.add(key()), store.remove("x"), store.note_used({"x": NOW})):
        with pytest.raises(StoreUnavailable):
            await call
    place.made.clear()


# The file


async def test_the_file_is_for_its_owner(tmp_path: Path) -> None:
    place = in_file(tmp_path)
    await place.open().add(key())
    assert all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in tmp_path.iterdir())  # noqa: ASYNC240
    await place.close()


# Redis


@pytest.mark.parametrize("servers", ["redis_single", "redis_cluster"])
async def test_in_redis_a_key_goes_at_its_end(servers: str, request: pytest.FixtureRequest) -> None:
    """By itself, its entry with it when the keys are read next; one without an end stays. Others are told."""
    running: Servers = request.getfixturevalue(servers)
    place = in_redis(running)
    mine, other = place.open(), place.open()
    short, long, endless = key(lifetime=0.3), key(lifetime=3600), key()
    for each in (long, endless):
        await mine.add(each)
    left = {each.id: int(running.do(name(each), "PTTL", name(each))) for each in (long, endless)}
    assert 3_500_000 < left[long.id] <= 3_600_000
    assert left[endless.id] == -1
    before = await other.version()
    assert before is not None
    await mine.add(short)

    async def told_of_both() -> bool:
        return (await other.version() or 0) >= before + 2

    await wait_until(told_of_both)
    assert await other.read() == {each.id: each for each in (long, endless)}
    index = f"{PREFIX}{{api-keys}}:index"
    assert set(running.do(index, "HKEYS", index)) == {long.id.encode(), endless.id.encode()}
    await place.close()


def name(each: ApiKey) -> str:
    return f"{PREFIX}{{api-keys}}:key:{each.id}"


async def test_redis_tells_of_changes_and_of_no_last_use(redis_single: Servers) -> None:
    place = in_redis(redis_single)
    mine, other = place.open(), place.open()
    added = key()
    before = await other.version()
    await other.told(0)
    told = asyncio.create_task(other.told(60))
    await mine.add(added)
    async with asyncio.timeout(PATIENCE):
        await told
    after = await other.version()
    assert after != before
    await mine.note_used({added.id: NOW})
    # What is told comes in order: the next change is told alone.
    await seen(other, mine.remove(added.id))
    assert after is not None
    assert await other.version() == after + 1
    await place.close()


async def test_a_record_that_was_made_up_or_moved_is_no_key(
    redis_single: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can write to Redis still has no key of anybody's; it is said once."""
    place = in_redis(redis_single)
    mine, yours, bad = key("mine"), key("yours", "admin"), key("bad")
    for each in (mine, yours, bad):
        await place.open().add(each)
    record = redis_single.do("", "GET", name(yours))
    redis_single.do("", "SET", name(mine), record)
    redis_single.do("", "SET", name(bad), b'{"user": "admin"}')
    store = place.open()
    for _ in range(2):
        assert await store.read() == {yours.id: yours}
    assert len([each for each in caplog.records if mine.id in each.message]) == 1
    assert await store.remove(mine.id) is None
    assert mine.id.encode() not in redis_single.everything()
    assert await place.open((b"x" * 32,)).read() == {}
    await place.close()


async def test_keys_outlive_a_change_of_the_session_keys(redis_single: Servers) -> None:
    """Sealed anew under the first by whoever has that, they need the old one no more, and end when they did."""
    place = in_redis(redis_single)
    kept, ends = key(), key(lifetime=3600)
    both = {each.id: each for each in (kept, ends)}
    for each in both.values():
        await place.open().add(each)
    before = redis_single.do("", "PTTL", name(ends))
    assert await place.open(NEW_RING).read() == both
    assert await place.open((NEW_RING[0],)).read() == both
    assert 0 < int(redis_single.do("", "PTTL", name(ends))) <= int(before)
    assert int(redis_single.do("", "PTTL", name(kept))) == -1
    await place.close()


async def test_a_host_without_the_new_session_key_yet_goes_on_with_the_keys_it_knows(redis_single: Servers) -> None:
    """Until they are revoked; and hosts that have both keys in another order do not take turns at sealing."""
    place = in_redis(redis_single)
    behind, ahead, added = place.open(), place.open(NEW_RING), key()
    await seen(behind, ahead.add(key("there first")))
    await seen(ahead, behind.add(added))
    assert await behind.read() == {added.id: added}
    await seen(behind, ahead.read())
    assert await behind.read() == {added.id: added}
    turned = place.open(NEW_RING[::-1])
    await seen(ahead, turned.read())
    before = await turned.version()
    assert len(await ahead.read()) == 2
    await seen(turned, ahead.remove(added.id))
    assert before is not None
    assert await turned.version() == before + 1
    assert added.id not in await behind.read()
    await place.close()


async def test_while_redis_tells_nothing_the_keys_have_to_be_read(redis_single: Servers) -> None:
    """A cut is noticed at once; what changed meanwhile is known when Redis is back."""
    with FaultProxy(redis_single.port) as proxy:
        place, direct = in_redis(redis_single, proxy.port), in_redis(redis_single)
        store, added = place.open(), key()
        before = await store.version()
        assert before is not None
        await store.told(0)
        told = asyncio.create_task(store.told(60))
        proxy.vanish()
        async with asyncio.timeout(PATIENCE):
            await told
        assert await store.version() is None
        with pytest.raises(StoreUnavailable):
            await store.read()
        await direct.open().add(added)
        proxy.heal()

        async def told_again() -> bool:
            return await store.version() is not None

        await wait_until(told_again)
        assert await store.version() != before
        assert await store.read() == {added.id: added}
        await place.close()
        await direct.close()
