"""API keys: their form, and who vouches for them, wherever they lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.core.identity import Identity
from gateway.core.programs import Credential, Verified
from gateway.errors import BadCredentials, LoginDenied, StoreUnavailable
from gateway.login.programs.api_keys import make_api_key, split_key
from gateway.login.programs.key_source import ApiKeySource
from tests.login.programs.key_places import NOW, Place, in_redis, seen
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_server import Servers
from tests.support.waiting import wait_until

ALICE = Identity("alice", "Alice", "alice@example.com", ("staff", "wiki"))
GRACE = 60.0


class Desk:
    """Keys as two processes see them, the source over them, and its clocks."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.store, self.elsewhere = place.open(), place.open()
        self.users = {"alice": ALICE}
        self.graces = {"strict": 0.0}
        self.ticks = 100.0
        self.changes = 0
        self.source = ApiKeySource(
            self.store,
            self.users.get,
            self._changed,
            lambda route: self.graces.get(route, GRACE),
            lambda: place.now,
            lambda: self.ticks,
        )

    async def _changed(self) -> None:
        self.changes += 1

    async def make(self, **more: Any) -> str:
        """Make a key in the other process."""
        text, key = make_api_key("robot", "alice", self.place.now, **more)
        await seen(self.store, self.elsewhere.add(key))
        self.ticks += 1
        return text

    async def revoke(self, text: str) -> None:
        """Revoke a key in the other process."""
        assert await seen(self.store, self.elsewhere.remove(text[4:16])) is not None
        self.ticks += 1

    async def verify(self, text: str, route: str = "wiki") -> Verified:
        return await self.source.verify(Credential("bearer", text, ("api-key",), route))

    async def user(self, text: str, route: str = "wiki") -> Identity:
        return (await self.verify(text, route)).identity


@pytest.fixture
async def desk(place: Place) -> AsyncIterator[Desk]:
    running = Desk(place)
    await running.source.start()
    yield running
    await running.source.close()


def test_a_key_has_one_form() -> None:
    text, key = make_api_key("robot", "alice", NOW)
    parts = split_key(text)
    assert parts is not None
    assert parts[0] == key.id
    assert key.fits(parts[1])
    assert not key.fits(parts[1][:-1] + "g")
    assert parts[1] not in repr(key)
    assert len(parts[1]) == 64
    for odd in (text[:-1], text + "0", text.upper(), " " + text, text + "\n", text.replace("_", "-"), text[4:], ""):
        assert split_key(odd) is None


def test_no_two_keys_are_alike() -> None:
    assert len({make_api_key("x", "alice", NOW)[0] for _ in range(100)}) == 100


async def test_a_key_is_its_users(desk: Desk) -> None:
    """With what the user is now; a key that was made a moment ago works at once."""
    text = await desk.make()
    found = await desk.user(text)
    assert (found.user, found.email, found.groups, found.method) == ("alice", ALICE.email, ALICE.groups, "api-key")
    assert found.claims["api_key"] == "robot"
    desk.users["alice"] = Identity("alice", groups=("other",))
    assert (await desk.user(text)).groups == ("other",)
    del desk.users["alice"]
    with pytest.raises(BadCredentials):
        await desk.user(text)


async def test_a_key_that_is_made_right_after_a_look_works_at_once(desk: Desk) -> None:
    """The next look is not due yet."""
    await desk.source.look()
    text, key = make_api_key("robot", "alice", desk.place.now)
    await seen(desk.store, desk.elsewhere.add(key))
    assert (await desk.user(text)).user == "alice"


async def test_a_key_never_has_a_group_that_its_user_has_not(desk: Desk) -> None:
    text = await desk.make(groups=("wiki", "admins"))
    assert (await desk.user(text)).groups == ("wiki",)
    assert (await desk.user(await desk.make(groups=()))).groups == ()


async def test_a_key_opens_its_routes_only(desk: Desk) -> None:
    text = await desk.make(routes=("wiki",))
    assert (await desk.user(text)).user == "alice"
    with pytest.raises(LoginDenied):
        await desk.user(text, "other")


async def test_a_key_ends(desk: Desk) -> None:
    text = await desk.make(lifetime=30.0)
    assert (await desk.verify(text)).until == NOW + 30
    desk.place.now = NOW + 30
    with pytest.raises(BadCredentials):
        await desk.user(text)


async def test_a_wrong_secret_is_refused(desk: Desk) -> None:
    text = await desk.make()
    other = await desk.make()
    for wrong in (text[:17] + other[17:], text[:-1] + ("0" if text[-1] != "0" else "1"), "gwk_", text[:-10]):
        with pytest.raises(BadCredentials):
            await desk.user(wrong)


async def test_others_learn_of_a_revoked_key_but_not_of_a_new_one(desk: Desk) -> None:
    """What is remembered elsewhere is forgotten when a key is gone, and only then: not when it has ended."""
    text, short = await desk.make(), await desk.make(lifetime=30.0)
    await desk.user(text)
    await desk.elsewhere.note_used({text[4:16]: NOW})
    await desk.source.look()
    desk.place.now = NOW + 30
    await desk.revoke(short)
    await desk.source.look()
    assert desk.changes == 0
    await desk.revoke(text)
    await desk.source.look()
    assert desk.changes == 1
    with pytest.raises(BadCredentials):
        await desk.user(text)


async def test_a_revoked_key_is_noticed_without_a_request(desk: Desk) -> None:
    text = await desk.make()
    await desk.user(text)
    await desk.revoke(text)

    async def told() -> bool:
        return desk.changes == 1

    await wait_until(told)


async def test_last_use_is_written_in_the_end(desk: Desk) -> None:
    text = await desk.make()
    await desk.user(text)
    assert (await desk.elsewhere.read())[text[4:16]].used is None
    await desk.source.close()
    assert (await desk.elsewhere.read())[text[4:16]].used == NOW


async def test_keys_are_not_believed_for_long_while_they_cannot_be_read(desk: Desk) -> None:
    """One may have been revoked meanwhile: nothing is known then. What was verified is asked about again."""
    text = await desk.make()
    await desk.user(text)
    await desk.store.close()
    desk.ticks += GRACE - 20
    found = await desk.verify(text)
    assert (found.identity.user, found.until) == ("alice", NOW + 20)
    assert desk.changes == 1
    for refused, route in ((text, "strict"), (make_api_key("x", "alice", NOW)[0], "wiki")):
        with pytest.raises(StoreUnavailable):
            await desk.user(refused, route)
    with pytest.raises(BadCredentials):
        await desk.user(text[:-1] + ("0" if text[-1] != "0" else "1"))
    desk.ticks += 20
    with pytest.raises(StoreUnavailable):
        await desk.user(text)
    assert desk.changes == 1


async def test_a_key_that_was_revoked_while_redis_was_away_is_over_when_it_is_back(redis_single: Servers) -> None:
    """Without Redis nobody is told that a key is bad, and nobody whose key is not known is let in."""
    with FaultProxy(redis_single.port) as proxy:
        place, direct = in_redis(redis_single, proxy.port), in_redis(redis_single)
        desk, beside = Desk(place), direct.open()
        await desk.source.start()
        text, kept = await desk.make(), await desk.make()
        await desk.user(text)
        proxy.vanish()

        async def cut() -> bool:
            return await desk.store.version() is None

        await wait_until(cut)
        assert await beside.remove(text[4:16]) is not None
        new, key = make_api_key("new", "alice", NOW)
        await beside.add(key)
        desk.ticks += 1
        with pytest.raises(StoreUnavailable):
            await desk.user(new)
        with pytest.raises(StoreUnavailable):
            await desk.user(kept, "strict")
        assert (await desk.user(kept)).user == "alice"
        proxy.heal()

        async def back() -> bool:
            desk.ticks += 1
            try:
                return (await desk.user(new)).user == "alice"
            except StoreUnavailable:
                return False

        await wait_until(back)
        with pytest.raises(BadCredentials):
            await desk.user(text)
        assert (await desk.user(kept, "strict")).user == "alice"
        await desk.source.close()
        await place.close()
        await direct.close()
