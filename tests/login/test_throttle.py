"""Throttling: who has to wait, for how long, and who must not be locked out by whom."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.peer import parse_address
from gateway.errors import TooManyAttempts
from gateway.login.throttle import ACCOUNT, HERE, NETWORK, Attempt, MemoryThrottle, client_network


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> MemoryThrottle:
    return MemoryThrottle(clock)


def at(network: str = "192.0.2.1/32", user: str = "alice", device: str = "") -> Attempt:
    return Attempt(user, network, device)


async def wait_of(throttle: MemoryThrottle, attempt: Attempt) -> int:
    """Make an attempt that fails; return 0, or for how long it has to wait."""
    try:
        await throttle.begin(attempt)
    except TooManyAttempts as error:
        return error.retry_after
    return 0


async def fail(throttle: MemoryThrottle, clock: Clock, attempt: Attempt, times: int) -> list[int]:
    """Fail as often as said, each time as soon as possible; return the waits before each."""
    waits = []
    for _ in range(times):
        wait = await wait_of(throttle, attempt)
        if wait:
            clock.now += wait
            assert await wait_of(throttle, attempt) == 0
        waits.append(wait)
    return waits


async def test_the_first_failures_are_free_then_waits_double_up_to_minutes(
    throttle: MemoryThrottle, clock: Clock
) -> None:
    waits = await fail(throttle, clock, at(), 20)
    assert waits[:6] == [0] * 6
    assert waits[6:10] == [2, 4, 8, 16]
    # Somewhat less than double later on, for the waiting itself lets failures be forgotten.
    assert waits == sorted(waits)
    assert 200 < waits[-1] <= HERE.longest


async def test_an_attempt_that_came_too_early_does_not_make_the_wait_longer(
    throttle: MemoryThrottle, clock: Clock
) -> None:
    await fail(throttle, clock, at(), 9)
    first = await wait_of(throttle, at())
    assert first == 16
    for _ in range(100):
        assert await wait_of(throttle, at()) == first
    clock.now += first
    assert await wait_of(throttle, at()) == 0


async def test_nobody_is_locked_out_for_good(throttle: MemoryThrottle, clock: Clock) -> None:
    for _ in range(300):
        await fail(throttle, clock, at(), 1)
    assert 0 < await wait_of(throttle, at()) <= 300
    clock.now += 24 * 3600
    assert await fail(throttle, clock, at(), 6) == [0] * 6


async def test_failures_are_forgotten_one_by_one(throttle: MemoryThrottle, clock: Clock) -> None:
    await fail(throttle, clock, at(), 6)
    clock.now += 3 * HERE.forgiven_after
    assert await fail(throttle, clock, at(), 4) == [0, 0, 0, 2]


async def test_a_success_forgets_the_failures_of_that_account_from_there(
    throttle: MemoryThrottle, clock: Clock
) -> None:
    await fail(throttle, clock, at(), 5)
    await throttle.succeeded(await throttle.begin(at()))
    assert await fail(throttle, clock, at(), 6) == [0] * 6


async def test_a_success_with_an_own_account_does_not_help_to_guess_others(
    throttle: MemoryThrottle, clock: Clock
) -> None:
    waited = 0
    for number in range(NETWORK.free + 5):
        waited += sum(await fail(throttle, clock, at(user=f"user{number}"), 1))
        await throttle.succeeded(await throttle.begin(at(user="mallory", device="own browser")))
    assert waited > 0


async def test_one_network_may_not_try_many_accounts(throttle: MemoryThrottle, clock: Clock) -> None:
    waits = [(await fail(throttle, clock, at(user=f"user{number}"), 1))[0] for number in range(NETWORK.free + 4)]
    assert waits == [0] * (NETWORK.free + 1) + [1, 2, 4]


async def test_one_account_may_not_be_tried_from_many_networks(throttle: MemoryThrottle, clock: Clock) -> None:
    waits = [(await fail(throttle, clock, at(f"198.51.100.{n}/32"), 1))[0] for n in range(ACCOUNT.free + 12)]
    assert waits[: ACCOUNT.free + 1] == [0] * (ACCOUNT.free + 1)
    assert waits[ACCOUNT.free + 1 : ACCOUNT.free + 4] == [1, 2, 4]
    assert max(waits) == ACCOUNT.longest


async def attack_from_everywhere(throttle: MemoryThrottle) -> None:
    for number in range(200):
        await wait_of(throttle, at(f"198.51.100.{number}/32"))


async def test_an_attack_from_elsewhere_does_not_lock_out_a_known_network(throttle: MemoryThrottle) -> None:
    await throttle.succeeded(await throttle.begin(at("203.0.113.1/32")))
    await attack_from_everywhere(throttle)
    assert await wait_of(throttle, at("203.0.113.2/32")) > 0
    await throttle.succeeded(await throttle.begin(at("203.0.113.1/32")))


async def test_an_attack_from_anywhere_does_not_lock_out_a_known_browser(
    throttle: MemoryThrottle, clock: Clock
) -> None:
    await throttle.succeeded(await throttle.begin(at("203.0.113.1/32", device="own browser")))
    await attack_from_everywhere(throttle)
    for number in range(60):
        await wait_of(throttle, at("203.0.113.9/32", user=f"user{number}"))
    assert await wait_of(throttle, at("203.0.113.9/32", device="other browser")) > 0
    await throttle.succeeded(await throttle.begin(at("203.0.113.9/32", device="own browser")))


async def test_a_known_browser_is_known_for_its_account_alone_and_has_waits_of_its_own(
    throttle: MemoryThrottle, clock: Clock
) -> None:
    own = at(device="own browser")
    await throttle.succeeded(await throttle.begin(own))
    assert (await fail(throttle, clock, own, 8))[-2:] == [2, 4]
    await attack_from_everywhere(throttle)
    assert await wait_of(throttle, at("203.0.113.9/32", user="bob", device="own browser")) == 0
    for number in range(ACCOUNT.free + 2):
        await wait_of(throttle, at(f"198.51.100.{number}/32", user="bob"))
    assert await wait_of(throttle, at("203.0.113.9/32", user="bob", device="own browser")) > 0


async def test_an_empty_device_is_nobodys(throttle: MemoryThrottle) -> None:
    await throttle.succeeded(await throttle.begin(at("203.0.113.1/32", device="")))
    await attack_from_everywhere(throttle)
    assert await wait_of(throttle, at("203.0.113.2/32", device="")) > 0


async def test_a_burst_of_parallel_attempts_counts_before_any_is_checked(throttle: MemoryThrottle) -> None:
    outcomes = await asyncio.gather(*(wait_of(throttle, at()) for _ in range(100)))
    assert outcomes.count(0) == HERE.free + 1


async def test_an_attempt_given_up_does_not_count(throttle: MemoryThrottle, clock: Clock) -> None:
    for _ in range(100):
        await throttle.abandoned(await throttle.begin(at()))
    assert await fail(throttle, clock, at(), 6) == [0] * 6


async def test_many_parallel_logins_that_succeed_leave_no_trace(throttle: MemoryThrottle, clock: Clock) -> None:
    for number in range(100):
        await throttle.succeeded(await throttle.begin(at(f"203.0.113.{number}/32")))
    assert await wait_of(throttle, at("198.51.100.1/32")) == 0


async def test_memory_is_bounded_whatever_names_and_networks_come(clock: Clock) -> None:
    throttle = MemoryThrottle(clock, records=50, places=20)
    for number in range(500):
        ticket = await throttle.begin(at(f"198.51.{number // 250}.{number % 250}/32", user="u" * 300 + str(number)))
        await throttle.succeeded(ticket)
        await wait_of(throttle, at(f"203.0.{number // 250}.{number % 250}/32", user=f"user{number}"))
    assert len(throttle) <= 3 * 50 + 20


async def test_free_failures_leave_no_time_that_a_clock_set_back_could_stretch(
    throttle: MemoryThrottle, clock: Clock
) -> None:
    await fail(throttle, clock, at(), 5)
    clock.now -= 500
    assert await wait_of(throttle, at()) == 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("nonsense", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_client_owns_an_address_in_ipv4_and_a_network_in_ipv6(address: str, network: str) -> None:
    assert client_network(parse_address(address)) == network
