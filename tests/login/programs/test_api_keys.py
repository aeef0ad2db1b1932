"""API keys: their form, the file, and who vouches for them."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.identity import Identity
from gateway.core.programs import Credential
from gateway.errors import BadCredentials, LoginDenied, StoreUnavailable
from gateway.login.programs.api_keys import ApiKeyFile, make_api_key, split_key
from gateway.login.programs.key_source import TRUSTED_FOR, ApiKeySource

NOW = 1_800_000_000.0
ALICE = Identity("alice", "Alice", "alice@example.com", ("staff", "wiki"))


class Desk:
    """A file of keys as two processes see it, the source over it, and its clocks."""

    def __init__(self, file: Path) -> None:
        self.file = ApiKeyFile(file)
        self.elsewhere = ApiKeyFile(file)
        self.users = {"alice": ALICE}
        self.now = NOW
        self.ticks = 100.0
        self.changes = 0
        self.source = ApiKeySource(self.file, self.users.get, self._changed, lambda: self.now, lambda: self.ticks)

    async def _changed(self) -> None:
        self.changes += 1

    async def make(self, **more: Any) -> str:
        """Make a key in the other process."""
        text, key = make_api_key("robot", "alice", self.now, **more)
        await self.elsewhere.add(key)
        self.ticks += 1
        return text

    async def user(self, text: str, route: str = "wiki") -> Identity:
        return (await self.source.verify(Credential("bearer", text, ("api-key",), route))).identity


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    running = Desk(tmp_path / "keys.sqlite")
    await running.source.start()
    yield running
    await running.source.close()
    running.elsewhere.close()


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
    verified = await desk.source.verify(Credential("bearer", text, ("api-key",), "wiki"))
    assert verified.until == NOW + 30
    desk.now = NOW + 30
    with pytest.raises(BadCredentials):
        await desk.user(text)


async def test_a_wrong_secret_is_refused(desk: Desk) -> None:
    text = await desk.make()
    other = await desk.make()
    for wrong in (text[:17] + other[17:], text[:-1] + ("0" if text[-1] != "0" else "1"), "gwk_", text[:-10]):
        with pytest.raises(BadCredentials):
            await desk.user(wrong)


async def test_others_learn_of_a_revoked_key_but_not_of_a_new_one(desk: Desk) -> None:
    """What is remembered elsewhere is forgotten when a key is gone, and only then."""
    text = await desk.make()
    await desk.user(text)
    assert desk.changes == 0
    await desk.file.note_used({"x": NOW})
    await desk.source.look()
    assert desk.changes == 0
    gone = await desk.elsewhere.remove(text[4:16])
    assert gone is not None
    await desk.source.look()
    assert desk.changes == 1
    with pytest.raises(BadCredentials):
        await desk.user(text)
    assert await desk.elsewhere.remove(text[4:16]) is None


async def test_last_use_is_written_in_the_end(desk: Desk, tmp_path: Path) -> None:
    text = await desk.make()
    await desk.user(text)
    assert (await desk.elsewhere.read())[text[4:16]].used is None
    await desk.source.close()
    assert (await desk.elsewhere.read())[text[4:16]].used == NOW
    desk.file = ApiKeyFile(tmp_path / "keys.sqlite")
    desk.source = ApiKeySource(desk.file, desk.users.get, desk._changed, lambda: desk.now, lambda: desk.ticks)
    await desk.source.start()


async def test_keys_are_not_believed_for_long_while_the_file_cannot_be_read(desk: Desk) -> None:
    """One may have been revoked meanwhile: nothing is known then."""
    text = await desk.make()
    await desk.user(text)
    desk.file.close()
    desk.ticks += TRUSTED_FOR
    assert (await desk.user(text)).user == "alice"
    desk.ticks += 1
    with pytest.raises(StoreUnavailable):
        await desk.user(text)


async def test_the_file_is_for_its_owner_and_holds_no_secret(desk: Desk, tmp_path: Path) -> None:
    text = await desk.make()
    for file in tmp_path.iterdir():  # noqa: ASYNC240 - nothing else waits
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
        assert text[17:].encode() not in file.read_bytes()
        assert bytes.fromhex(text[17:]) not in file.read_bytes()
