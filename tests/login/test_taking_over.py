"""One login takes over from another, as at a reload: who wants in meanwhile waits, and is verified by the next."""

from __future__ import annotations

import asyncio

from gateway.login.rights import RightsWatch
from tests.control.harness import write_users
from tests.login.local import Local, reason
from tests.support.users import ALICE, BOB, User

ALICE_NOW = User("alice", "another horse 9", "Alice Now")


async def begun(*attempts: asyncio.Task[object]) -> None:
    """Let attempts begin, and see that none has ended."""
    await asyncio.sleep(0.05)
    assert not any(attempt.done() for attempt in attempts)


async def test_who_logs_in_meanwhile_is_verified_by_the_next_one(local: Local) -> None:
    before = local.open()
    await before.start()
    before.give_way()
    old: asyncio.Task[object] = asyncio.create_task(before.verify("alice", ALICE.password))
    new: asyncio.Task[object] = asyncio.create_task(before.verify("alice", ALICE_NOW.password))
    await begun(old, new)
    write_users(local.file, (ALICE_NOW,))
    after = local.open()
    await after.start()
    before.hand_over(after)
    assert await reason(old) == "wrong password"
    assert getattr(await new, "name", "") == "Alice Now"
    assert await reason(before.verify("bob", BOB.password)) == "unknown user"
    assert (await before.verify("alice", ALICE_NOW.password)).name == "Alice Now"


async def test_what_was_checked_by_the_one_before_is_checked_again(local: Local) -> None:
    """A right password is none any more where the next one knows another."""
    before = local.open()
    await before.start()
    attempt: asyncio.Task[object] = asyncio.create_task(before.verify("alice", ALICE.password))
    await asyncio.sleep(0)
    before.give_way()
    await begun(attempt)
    write_users(local.file, (ALICE_NOW,))
    before.hand_over(local.open())
    assert await reason(attempt) == "wrong password"


async def test_where_nobody_takes_over_all_is_as_before(local: Local) -> None:
    before = local.open()
    await before.start()
    await before.take_back()
    before.give_way()
    waiting: asyncio.Task[object] = asyncio.create_task(before.verify("alice", ALICE.password))
    await begun(waiting)
    await before.take_back()
    assert getattr(await waiting, "user", "") == "alice"
    assert (await before.verify("bob", BOB.password)).user == "bob"


async def test_what_was_refused_changes_no_rights_for_later(local: Local) -> None:
    """Who had no place in a configuration that was refused is in the one that stays, and ends with it."""
    rights = RightsWatch(local.stamps)
    before = local.open(rights=rights)
    await before.start()
    everybody = local.file.read_text()
    before.give_way()
    write_users(local.file, (ALICE,))
    refused = local.open(rights=rights)
    await refused.start()
    assert "bob" in local.changed
    local.changed.clear()
    local.file.write_text(everybody)
    await before.take_back()
    assert local.changed == []
    write_users(local.file, (ALICE,))
    await before.reload()
    assert "bob" in local.changed


async def test_a_chain_leads_to_the_newest(local: Local) -> None:
    first, second, third = local.open(), local.open(), local.open()
    first.give_way()
    first.hand_over(second)
    second.give_way()
    waiting: asyncio.Task[object] = asyncio.create_task(first.verify("alice", ALICE.password))
    await begun(waiting)
    second.hand_over(third)
    await second.close()
    assert getattr(await waiting, "user", "") == "alice"


async def test_without_a_next_one_no_password_opens(local: Local) -> None:
    before = local.open()
    before.give_way()
    before.hand_over(None)
    assert await reason(before.verify("alice", ALICE.password)) == "passwords are not a way in any more"


async def test_who_leaves_takes_nobody_along(local: Local) -> None:
    before = local.open()
    before.give_way()
    one, two = (asyncio.create_task(before.verify("alice", ALICE.password)) for _ in range(2))
    await begun(one, two)
    one.cancel()
    await asyncio.wait((one,))
    before.hand_over(local.open())
    assert (await two).user == "alice"
