"""Several sources for one credential, and a memory in which each question is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.core.identity import Identity
from gateway.core.programs import Credential, Refused, Verified
from gateway.errors import (
    BadCredentials,
    LoginBusy,
    LoginDenied,
    LoginRefused,
    ProviderDown,
    StoreUnavailable,
    TooManyAttempts,
)
from gateway.login.programs.source import Remembered, Vouched
from gateway.login.programs.verifier import CredentialVerifier

NOW = 1_800_000_000.0
ALICE = Identity("alice")


class FakeSource:
    """Says what the test wants."""

    kind = "bearer"

    def __init__(self, says: Exception | None = None, *, takes: bool = True) -> None:
        self.says = says
        self.taking = takes
        self.asked = 0

    def takes(self, _: Credential) -> bool:
        return self.taking

    async def verify(self, _: Credential) -> Verified:
        self.asked += 1
        if self.says is not None:
            raise self.says
        return Verified(ALICE, "x", NOW, NOW + 60)

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def forget(self) -> None:
        return


async def verdict(
    *sources: FakeSource, accepted: str = "abc", count: Callable[[str, str], None] = lambda kind, outcome: None
) -> Verified | Refused:
    verifier = CredentialVerifier(dict(zip("abc", sources, strict=False)), lambda: NOW, count)
    return await verifier.verify(Credential("bearer", "token", tuple(accepted), "route"))


@pytest.mark.parametrize(
    ("error", "status", "remembered"),
    [
        (BadCredentials("x"), 401, True),
        (LoginRefused("x"), 401, True),
        (LoginDenied("x"), 403, True),
        (TooManyAttempts(7), 429, False),
        (LoginBusy("x"), 503, False),
        (ProviderDown("x"), 503, False),
        (StoreUnavailable("x"), 503, False),
        (RuntimeError("x"), 503, False),
    ],
)
async def test_each_error_has_its_status(
    error: Exception, status: int, remembered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what will be the same in a moment is remembered; whatever fails, nobody is let in."""
    found = await verdict(FakeSource(error))
    assert isinstance(found, Refused)
    assert (found.status, bool(found.at)) == (status, remembered)
    assert (found.retry_after > 0) == (status in (429, 503))
    caplog.clear()


async def test_the_first_source_that_vouches_decides() -> None:
    first, second, third = FakeSource(LoginRefused("x")), FakeSource(), FakeSource()
    assert isinstance(await verdict(first, second, third), Verified)
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)


async def test_only_what_the_route_accepts_is_asked() -> None:
    """Neither another route's source, nor one that does not take such a credential."""
    first, second, third = FakeSource(), FakeSource(takes=False), FakeSource(LoginRefused("x"))
    found = await verdict(first, second, third, accepted="bcz")
    assert isinstance(found, Refused)
    assert (found.status, first.asked, second.asked) == (401, 0, 0)


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
async def test_a_token_is_not_called_bad_while_a_source_is_unheard(order: str) -> None:
    sources = FakeSource(LoginRefused("x")), FakeSource(ProviderDown("y")), FakeSource(LoginDenied("z"))
    found = await verdict(*sources, accepted=order)
    assert isinstance(found, Refused)
    assert found.status == 503


async def test_nobody_vouches_for_what_no_source_takes() -> None:
    found = await verdict(FakeSource(takes=False))
    assert isinstance(found, Refused)
    assert found.status == 401


@pytest.mark.parametrize(
    ("first", "second", "counted"),
    [
        (None, None, ("bearer", "accepted")),
        (LoginRefused("x"), None, ("introspection", "accepted")),
        (LoginRefused("x"), LoginDenied("x"), ("bearer", "refused")),
        (TooManyAttempts(7), LoginRefused("x"), ("bearer", "refused")),
        (LoginRefused("x"), ProviderDown("x"), ("bearer", "unavailable")),
        (RuntimeError("x"), None, ("bearer", "unavailable")),
    ],
)
async def test_each_verdict_is_counted_once(
    first: Exception | None, second: Exception | None, counted: tuple[str, str]
) -> None:
    """By who accepted it, else by who was asked first."""
    found: list[tuple[str, str]] = []
    other = FakeSource(second)
    other.kind = "introspection"
    await verdict(FakeSource(first), other, count=lambda kind, outcome: found.append((kind, outcome)))
    assert found == [counted]


async def test_what_no_source_takes_is_counted_by_its_looks() -> None:
    found: list[tuple[str, str]] = []
    verifier = CredentialVerifier({}, lambda: NOW, lambda kind, outcome: found.append((kind, outcome)))
    for scheme, text in (("basic", "x"), ("bearer", "gwk_x"), ("bearer", "x")):
        await verifier.verify(Credential(scheme, text, ("a",), "route"))
    assert found == [("basic", "refused"), ("api_key", "refused"), ("bearer", "refused")]


# --- the memory -------------------------------------------------------------------------------------


class Teller:
    """Answers when it is let, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def __call__(self) -> Vouched:
        self.asked += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return Vouched(ALICE, NOW + 60)


async def test_many_who_wait_ask_once() -> None:
    memory, teller = Remembered(lambda: NOW), Teller()
    teller.go.clear()
    waiting = [asyncio.create_task(memory.get("x", teller)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    teller.go.set()
    found = await asyncio.gather(*waiting[1:])
    assert teller.asked == 1
    assert found == [Vouched(ALICE, NOW + 60)] * 19


async def test_errors_are_not_remembered() -> None:
    memory, teller = Remembered(lambda: NOW), Teller()
    teller.error = LoginRefused("x")
    for _ in range(2):
        with pytest.raises(LoginRefused):
            await memory.get("x", teller)
    assert (teller.asked, len(memory)) == (2, 0)


async def test_what_is_over_is_asked_about_again() -> None:
    now = [NOW]
    memory, teller = Remembered(lambda: now[0]), Teller()
    await memory.get("x", teller)
    now[0] = NOW + 59.9
    await memory.get("x", teller)
    assert teller.asked == 1
    now[0] = NOW + 60
    await memory.get("x", teller)
    assert teller.asked == 2


async def test_the_memory_is_bounded_and_holds_no_secret() -> None:
    memory, teller = Remembered(lambda: NOW, capacity=3), Teller()
    for number in range(10):
        await memory.get(f"hunter{number}", teller)
    assert len(memory) == 3
    assert "hunter" not in repr(vars(memory))
    await memory.get("hunter9", teller)
    assert teller.asked == 10


async def test_what_was_asked_before_everything_was_forgotten_is_not_remembered() -> None:
    """Nor is it told to anybody who comes afterwards."""
    memory, teller = Remembered(lambda: NOW), Teller()
    teller.go.clear()
    early = asyncio.create_task(memory.get("x", teller))
    await asyncio.sleep(0)
    memory.forget()
    late = asyncio.create_task(memory.get("x", teller))
    await asyncio.sleep(0)
    teller.go.set()
    await asyncio.gather(early, late)
    assert teller.asked == 2
    assert len(memory) == 1
