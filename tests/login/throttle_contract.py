"""What every login throttle promises, as a suite that each throttle's tests derive from. Time is moved, never slept.

A throttle's own test file has a class that derives from `ThrottleContract`, or from `SharedThrottleContract`
where processes share its counts, and says how one is started.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.errors import TooManyAttempts
from gateway.login.curve import ACCOUNT, HERE, NETWORK
from gateway.login.throttle import Attempt, LoginThrottle


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def at(network: str = "192.0.2.1/32", user: str = "alice", device: str = "") -> Attempt:
    return Attempt(user, network, device)


async def wait_of(throttle: LoginThrottle, attempt: Attempt) -> int:
    """Make an attempt that fails; return 0, or for how long it has to wait."""
    try:
        await throttle.begin(attempt)
    except TooManyAttempts as error:
        return error.retry_after
    return 0


async def fail(throttle: LoginThrottle, clock: Clock, attempt: Attempt, times: int) -> list[int]:
    """Fail as often as said, each time as soon as possible; return the waits before each."""
    waits = []
    for _ in range(times):
        wait = await wait_of(throttle, attempt)
        if wait:
            clock.now += wait
            assert await wait_of(throttle, attempt) == 0
        waits.append(wait)
    return waits


async def attack_from_everywhere(throttle: LoginThrottle) -> None:
    for number in range(200):
        await wait_of(throttle, at(f"198.51.100.{number}/32"))


class ThrottleContract(ABC):
    """Who has to wait, for how long, and who must not be locked out by whom."""

    @abstractmethod
    async def start(self, directory: Path, clock: Clock) -> LoginThrottle:
        """Return a throttle, by that clock, on whatever state there is of this test."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    async def throttle(self, tmp_path: Path, clock: Clock) -> AsyncIterator[LoginThrottle]:
        throttle = await self.start(tmp_path, clock)
        yield throttle
        await throttle.close()

    async def test_the_first_failures_are_free_then_waits_double_up_to_minutes(
        self, throttle: LoginThrottle, clock: Clock
    ) -> None:
        waits = await fail(throttle, clock, at(), 20)
        assert waits[:6] == [0] * 6
        assert waits[6:10] == [2, 4, 8, 16]
        # Somewhat less than double later on, for the waiting itself lets failures be forgotten.
        assert waits == sorted(waits)
        assert 200 < waits[-1] <= HERE.longest

    async def test_an_attempt_that_came_too_early_does_not_make_the_wait_longer(
        self, throttle: LoginThrottle, clock: Clock
    ) -> None:
        await fail(throttle, clock, at(), 9)
        first = await wait_of(throttle, at())
        assert first == 16
        for _ in range(100):
            assert await wait_of(throttle, at()) == first
        clock.now += first
        assert await wait_of(throttle, at()) == 0

    async def test_nobody_is_locked_out_for_good(self, throttle: LoginThrottle, clock: Clock) -> None:
        for _ in range(300):
            await fail(throttle, clock, at(), 1)
        assert 0 < await wait_of(throttle, at()) <= 300
        clock.now += 24 * 3600
        assert await fail(throttle, clock, at(), 6) == [0] * 6

    async def test_failures_are_forgotten_one_by_one(self, throttle: LoginThrottle, clock: Clock) -> None:
        await fail(throttle, clock, at(), 6)
        clock.now += 3 * HERE.forgiven_after
        assert await fail(throttle, clock, at(), 4) == [0, 0, 0, 2]

    async def test_a_success_forgets_the_failures_of_that_account_from_there(
        self, throttle: LoginThrottle, clock: Clock
    ) -> None:
        await fail(throttle, clock, at(), 5)
        await throttle.succeeded(await throttle.begin(at()))
        assert await fail(throttle, clock, at(), 6) == [0] * 6

    async def test_a_success_with_an_own_account_does_not_help_to_guess_others(
        self, throttle: LoginThrottle, clock: Clock
    ) -> None:
        waited = 0
        for number in range(NETWORK.free + 5):
            waited += sum(await fail(throttle, clock, at(user=f"user{number}"), 1))
            await throttle.succeeded(await throttle.begin(at(user="mallory", device="own browser")))
        assert waited > 0

    async def test_one_network_may_not_try_many_accounts(self, throttle: LoginThrottle, clock: Clock) -> None:
        waits = [(await fail(throttle, clock, at(user=f"user{number}"), 1))[0] for number in range(NETWORK.free + 4)]
        assert waits == [0] * (NETWORK.free + 1) + [1, 2, 4]

    async def test_one_account_may_not_be_tried_from_many_networks(self, throttle: LoginThrottle, clock: Clock) -> None:
        waits = [(await fail(throttle, clock, at(f"198.51.100.{n}/32"), 1))[0] for n in range(ACCOUNT.free + 12)]
        assert waits[: ACCOUNT.free + 1] == [0] * (ACCOUNT.free + 1)
        assert waits[ACCOUNT.free + 1 : ACCOUNT.free + 4] == [1, 2, 4]
        assert max(waits) == ACCOUNT.longest

    async def test_an_attack_from_elsewhere_does_not_lock_out_a_known_network(self, throttle: LoginThrottle) -> None:
        await throttle.succeeded(await throttle.begin(at("203.0.113.1/32")))
        await attack_from_everywhere(throttle)
        assert await wait_of(throttle, at("203.0.113.2/32")) > 0
        await throttle.succeeded(await throttle.begin(at("203.0.113.1/32")))

    async def test_an_attack_from_anywhere_does_not_lock_out_a_known_browser(
        self, throttle: LoginThrottle, clock: Clock
    ) -> None:
        await throttle.succeeded(await throttle.begin(at("203.0.113.1/32", device="own browser")))
        await attack_from_everywhere(throttle)
        for number in range(60):
            await wait_of(throttle, at("203.0.113.9/32", user=f"user{number}"))
        assert await wait_of(throttle, at("203.0.113.9/32", device="other browser")) > 0
        await throttle.succeeded(await throttle.begin(at("203.0.113.9/32", device="own browser")))

    async def test_a_known_browser_is_known_for_its_account_alone_and_has_waits_of_its_own(
        self, throttle: LoginThrottle, clock: Clock
    ) -> None:
        own = at(device="own browser")
        await throttle.succeeded(await throttle.begin(own))
        assert (await fail(throttle, clock, own, 8))[-2:] == [2, 4]
        await attack_from_everywhere(throttle)
        assert await wait_of(throttle, at("203.0.113.9/32", user="bob", device="own browser")) == 0
        for number in range(ACCOUNT.free + 2):
            await wait_of(throttle, at(f"198.51.100.{number}/32", user="bob"))
        assert await wait_of(throttle, at("203.0.113.9/32", user="bob", device="own browser")) > 0

    async def test_an_empty_device_is_nobodys(self, throttle: LoginThrottle) -> None:
        await throttle.succeeded(await throttle.begin(at("203.0.113.1/32", device="")))
        await attack_from_everywhere(throttle)
        assert await wait_of(throttle, at("203.0.113.2/32", device="")) > 0

    async def test_a_burst_of_parallel_attempts_counts_before_any_is_checked(self, throttle: LoginThrottle) -> None:
        outcomes = await asyncio.gather(*(wait_of(throttle, at()) for _ in range(100)))
        assert outcomes.count(0) == HERE.free + 1

    async def test_an_attempt_given_up_does_not_count(self, throttle: LoginThrottle, clock: Clock) -> None:
        for _ in range(100):
            await throttle.abandoned(await throttle.begin(at()))
        assert await fail(throttle, clock, at(), 6) == [0] * 6

    async def test_many_parallel_logins_that_succeed_leave_no_trace(
        self, throttle: LoginThrottle, clock: Clock
    ) -> None:
        for number in range(100):
            await throttle.succeeded(await throttle.begin(at(f"203.0.113.{number}/32")))
        assert await wait_of(throttle, at("198.51.100.1/32")) == 0

    async def test_free_failures_leave_no_time_that_a_clock_set_back_could_stretch(
        self, throttle: LoginThrottle, clock: Clock
    ) -> None:
        await fail(throttle, clock, at(), 5)
        clock.now -= 500
        assert await wait_of(throttle, at()) == 0


class SharedThrottleContract(ThrottleContract):
    """What holds besides where processes share the counts, and a restart keeps them."""

    @pytest.fixture
    async def other(self, throttle: LoginThrottle, tmp_path: Path, clock: Clock) -> AsyncIterator[LoginThrottle]:
        """Return the throttle of another process."""
        async with AsyncExitStack() as stack:
            other = await self.start(tmp_path, clock)
            stack.push_async_callback(other.close)
            yield other

    async def test_processes_count_together(self, throttle: LoginThrottle, other: LoginThrottle) -> None:
        """Whoever is sent from one process to another guesses no more often."""
        outcomes = [await wait_of((throttle, other)[number % 2], at()) for number in range(HERE.free + 5)]
        assert outcomes == [0] * (HERE.free + 1) + [2] * 4

    async def test_a_burst_on_two_processes_counts(self, throttle: LoginThrottle, other: LoginThrottle) -> None:
        """Attempts at the same time are each counted once."""
        outcomes = await asyncio.gather(*(wait_of((throttle, other)[number % 2], at()) for number in range(40)))
        assert outcomes.count(0) == HERE.free + 1

    async def test_a_restart_forgives_nothing(self, tmp_path: Path, clock: Clock, throttle: LoginThrottle) -> None:
        """Waits and known places are there again."""
        await throttle.succeeded(await throttle.begin(at("203.0.113.1/32", device="own browser")))
        await fail(throttle, clock, at(), HERE.free + 3)
        await throttle.close()
        again = await self.start(tmp_path, clock)
        assert await wait_of(again, at()) > 0
        await attack_from_everywhere(again)
        assert await wait_of(again, at("203.0.113.7/32", device="own browser")) == 0
        assert await wait_of(again, at("203.0.113.7/32", device="other browser")) > 0
        await again.close()

    async def test_a_success_counts_everywhere(
        self, throttle: LoginThrottle, other: LoginThrottle, clock: Clock
    ) -> None:
        """What one process forgives, the others do."""
        await fail(throttle, clock, at(), HERE.free)
        await throttle.succeeded(await other.begin(at()))
        assert await fail(other, clock, at(), HERE.free + 1) == [0] * (HERE.free + 1)

    @pytest.mark.parametrize("hours", [1, 24 * 365 * 50])
    async def test_a_clock_set_back_makes_no_wait_longer(
        self, throttle: LoginThrottle, clock: Clock, hours: int
    ) -> None:
        """The wall clock jumps; what was left of a wait is left, and it ends."""
        await fail(throttle, clock, at(), HERE.free + 4)
        before = await wait_of(throttle, at())
        clock.now -= 3600 * hours
        left = await wait_of(throttle, at())
        assert 0 < left <= before + 1 <= HERE.longest
        clock.now += left
        assert await wait_of(throttle, at()) == 0

    async def test_odd_names_count_like_any(self, throttle: LoginThrottle, clock: Clock) -> None:
        """Whatever a form can hold."""
        for user in ("", "\0", "\ud800", "😀" * 300, "'; DROP TABLE x; --", "a:b", "*"):
            waits = await fail(throttle, clock, at(f"{len(user)}", user=user), HERE.free + 2)
            assert waits == [0] * (HERE.free + 1) + [2]
            clock.now += 3600
