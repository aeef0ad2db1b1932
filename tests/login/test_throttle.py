"""The throttle in memory keeps the contract, also as what is left where a shared one fails."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.core.peer import parse_address
from gateway.errors import StoreUnavailable, TooManyAttempts
from gateway.login.curve import ACCOUNT, HERE
from gateway.login.throttle import Attempt, FallbackThrottle, LoginThrottle, MemoryThrottle, Ticket, client_network
from tests.login.throttle_contract import Clock, ThrottleContract, at, fail, wait_of


class TestMemoryThrottle(ThrottleContract):
    """The whole contract."""

    async def start(self, directory: Path, clock: Clock) -> LoginThrottle:
        return MemoryThrottle(clock)


class Breakable:
    """A shared throttle whose store can be down."""

    def __init__(self, clock: Clock) -> None:
        self.inner = MemoryThrottle(clock)
        self.works = True

    def _check(self) -> None:
        if not self.works:
            raise StoreUnavailable("the disk is full")

    async def begin(self, attempt: Attempt) -> Ticket:
        self._check()
        return await self.inner.begin(attempt)

    async def succeeded(self, ticket: Ticket) -> None:
        self._check()
        await self.inner.succeeded(ticket)

    async def abandoned(self, ticket: Ticket) -> None:
        self._check()
        await self.inner.abandoned(ticket)

    async def close(self) -> None:
        self.works = False


class TestFallbackThrottle(ThrottleContract):
    """The contract while the shared throttle works."""

    works = True

    async def start(self, directory: Path, clock: Clock) -> LoginThrottle:
        shared = Breakable(clock)
        shared.works = self.works
        return FallbackThrottle(shared, MemoryThrottle(clock))


class TestFallbackThrottleAlone(TestFallbackThrottle):
    """The contract while it does not."""

    works = False


async def test_a_store_that_fails_opens_no_door(caplog: pytest.LogCaptureFixture) -> None:
    """What was counted together before counts on in memory; the log says so, once, and when it is over."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    shared = Breakable(clock)
    throttle = FallbackThrottle(shared, MemoryThrottle(clock))
    assert await fail(throttle, clock, at(), HERE.free + 1) == [0] * (HERE.free + 1)
    shared.works = False
    assert [await wait_of(throttle, at()) for _ in range(3)] == [2, 2, 2]
    assert caplog.text.count("in this process alone") == 1
    shared.works = True
    assert await wait_of(throttle, at()) == 2
    clock.now += 2
    assert await wait_of(throttle, at()) == 0
    assert "together again" in caplog.text


async def test_a_login_during_which_the_store_fails() -> None:
    """It succeeds, or is given up, without an error."""
    clock = Clock()
    for method in ("succeeded", "abandoned"):
        shared = Breakable(clock)
        throttle = FallbackThrottle(shared, MemoryThrottle(clock))
        for _ in range(50):
            shared.works = True
            ticket = await throttle.begin(at(user=method))
            shared.works = False
            await getattr(throttle, method)(ticket)
            shared.works = True
            await shared.inner.abandoned(ticket)
        shared.works = False
        assert await fail(throttle, clock, at(user=method), HERE.free + 1) == [0] * (HERE.free + 1)


async def test_memory_does_not_lock_out_whom_the_store_knows() -> None:
    """A browser that was known before this process began is let in, though memory has not seen it."""
    clock = Clock()
    shared = Breakable(clock)
    known = at("203.0.113.1/32", device="own browser")
    await shared.succeeded(await shared.begin(known))
    throttle = FallbackThrottle(shared, MemoryThrottle(clock))
    for number in range(ACCOUNT.free + 5):
        await wait_of(throttle, at(f"198.51.100.{number}/32"))
    with pytest.raises(TooManyAttempts):
        await throttle.begin(at("203.0.113.2/32"))
    await throttle.succeeded(await throttle.begin(known))
    shared.works = False
    assert await wait_of(throttle, known) == 0


async def test_memory_is_bounded_whatever_names_and_networks_come() -> None:
    throttle = MemoryThrottle(Clock(), records=50, places=20)
    for number in range(500):
        ticket = await throttle.begin(at(f"198.51.{number // 250}.{number % 250}/32", user="u" * 300 + str(number)))
        await throttle.succeeded(ticket)
        await wait_of(throttle, at(f"203.0.{number // 250}.{number % 250}/32", user=f"user{number}"))
    assert len(throttle) <= 3 * 50 + 20


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
