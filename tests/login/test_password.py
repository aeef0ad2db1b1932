"""Local users: who gets in, in what time, and how many at once."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from gateway.errors import LoginBusy
from gateway.login.argon2 import TARGET, Cost, cost_of
from gateway.login.hash_pool import HashPool
from tests.control.harness import write_users
from tests.login.local import Local, reason
from tests.support.users import ALICE, BOB, CAROL, User


async def test_the_right_password_tells_who_it_is(local: Local) -> None:
    identity = await local.open().verify("alice", ALICE.password)
    assert (identity.user, identity.name, identity.email) == ("alice", "Alice Liddell", "alice@example.com")
    assert (identity.groups, identity.method) == (("staff", "wiki"), "password")


async def test_everything_else_is_refused(local: Local) -> None:
    login = local.open()
    assert await reason(login.verify("alice", BOB.password)) == "wrong password"
    assert await reason(login.verify("alice", "")) == "wrong password"
    assert await reason(login.verify("Alice", ALICE.password)) == "unknown user"
    assert await reason(login.verify("carol", CAROL.password)) == "disabled user"
    assert await reason(login.verify("", "")) == "unknown user"


async def test_a_wrong_password_costs_the_same_whoever_it_is_of(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash of each kind that any user has, for a user who is not there, too."""
    dear, odd = (User(name, "a password", "D", memory=512, rounds=rounds) for name, rounds in (("dear", 2), ("odd", 5)))
    write_users(local.file, (ALICE, BOB, dear, odd, CAROL))
    spent: list[Cost | None] = []
    monkeypatch.setattr("gateway.login.password.matches", lambda _, phc: spent.append(cost_of(phc)))
    monkeypatch.setattr("gateway.login.password.spend", spent.append)
    login = local.open()
    for user in ("nobody", "dear", "odd", "alice", "bob", "carol"):
        spent.clear()
        await reason(login.verify(user, "wrong"))
        assert sorted(map(str, spent)) == sorted(map(str, {Cost(64), Cost(512, 2), Cost(512, 5)}))


async def test_a_wrong_password_takes_as_long_for_an_unknown_user(local: Local) -> None:
    dear = User("dear", "dear password", "D", memory=32 * 1024, rounds=2)
    write_users(local.file, (ALICE, dear))
    login = local.open()
    times: dict[str, float] = {}
    for user in ("alice", "dear", "nobody"):
        taken = []
        for _ in range(3):
            start = time.process_time()
            await reason(login.verify(user, "wrong"))
            taken.append(time.process_time() - start)
        times[user] = min(taken)
    # A cheap hash alone takes a hundredth of the dear one's time.
    assert min(times.values()) > max(times.values()) / 5, times


async def test_a_password_changed_while_it_is_checked_no_longer_counts(local: Local) -> None:
    pool, gate = HashPool(threads=1), threading.Event()
    login = local.open(pool=pool)
    other_job = asyncio.create_task(pool.run(gate.wait))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(login.verify("alice", ALICE.password))
    write_users(local.file, (User("alice", "another one", "Alice"),))
    await login.reload()
    gate.set()
    assert await reason(waiting) == "wrong password"
    assert await other_job


async def test_more_attempts_than_places_are_refused_at_once(local: Local) -> None:
    pool, gate = HashPool(threads=1, waiting=2), threading.Event()
    login = local.open(pool=pool)
    other_job = asyncio.create_task(pool.run(gate.wait))
    await asyncio.sleep(0)
    attempts = [asyncio.create_task(login.verify("alice", ALICE.password)) for _ in range(10)]
    await asyncio.sleep(0)
    refused = [attempt for attempt in attempts if attempt.done()]
    assert [type(attempt.exception()) for attempt in refused] == [LoginBusy] * 8
    gate.set()
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(not isinstance(outcome, LoginBusy) for outcome in outcomes) == 2
    assert await other_job
    assert (await login.verify("alice", ALICE.password)).user == "alice"


async def test_an_attempt_whose_caller_went_away_keeps_its_place_until_it_is_done(local: Local) -> None:
    pool, gate = HashPool(threads=1, waiting=0), threading.Event()
    job = asyncio.create_task(pool.run(gate.wait))
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    with pytest.raises(LoginBusy):
        await pool.run(int)
    gate.set()
    pool.close()


async def test_two_hundred_parallel_logins_are_bounded_and_leave_the_loop_free(local: Local) -> None:
    user = User("alice", ALICE.password, "Alice", memory=TARGET.memory)
    write_users(local.file, (user,))
    login = local.open(pool=HashPool(threads=2, waiting=14))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.002)
            ticks += 1

    ticker = asyncio.create_task(tick())
    attempts = (login.verify("alice", ALICE.password) for _ in range(200))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    ticker.cancel()
    busy = sum(isinstance(outcome, LoginBusy) for outcome in outcomes)
    assert 100 <= busy <= 200 - 16
    # On the loop itself, 16 hashes would have left room for some 16 ticks.
    assert ticks > 60, ticks
