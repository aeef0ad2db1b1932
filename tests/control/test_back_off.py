"""Waits between two tries: they double up to a minute, one tries at a time, and what works again is not waited for."""

from __future__ import annotations

import pytest

from gateway.control import back_off
from gateway.control.back_off import FIRST, LAST, BackOff
from tests.control.harness import Clock


def test_waits_double_and_are_cut_at_random() -> None:
    clock = Clock(0.0)
    waits = BackOff(clock)
    assert waits.wait("a") == 0.0
    seen = set()
    for longest in (5, 10, 20, 40, 60, 60, 60):
        seconds = waits.failed("a")
        assert longest / 2 <= seconds <= longest
        assert waits.wait("a") == pytest.approx(seconds)
        assert waits.wait("b") == 0.0, "each name has its own"
        seen.add(seconds / longest)
        clock.move(seconds)
    assert len(seen) > 3
    for _ in range(2000):
        assert waits.failed("a") <= LAST


def test_after_a_wait_one_tries_and_the_others_wait_for_it() -> None:
    clock = Clock(0.0)
    waits = BackOff(clock)
    clock.move(waits.failed("a"))
    assert waits.wait("a") == 0.0
    assert waits.wait("a") == pytest.approx(FIRST)
    clock.move(FIRST)
    assert waits.wait("a") == 0.0, "it may have died over it"


def test_what_works_is_not_waited_for() -> None:
    waits = BackOff(Clock(0.0))
    for _ in range(10):
        waits.failed("a")
    waits.worked("a")
    waits.worked("never seen")
    assert waits.wait("a") == 0.0
    assert waits.failed("a") <= FIRST


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_off, "MAX_NAMES", 3)
    waits = BackOff(Clock(0.0))
    for name in "abcde":
        waits.failed(name)
    assert [bool(waits.wait(name)) for name in "abcde"] == [False, False, True, True, True]
