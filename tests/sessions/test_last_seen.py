"""The ledger of last use: what it tells, how much it holds, and what a restart leaves of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.sessions.last_seen import LastSeenLedger, Reports


async def test_the_latest_report_counts() -> None:
    ledger = LastSeenLedger()
    assert await ledger.ask("a") == 0.0
    for seen in (5.0, 9.0, 7.0):
        ledger.report("a", seen)
    assert await ledger.ask("a") == 9.0


async def test_the_ledger_is_bounded() -> None:
    """What was reported longest ago goes first."""
    ledger = LastSeenLedger(most=3)
    for number, handle in enumerate("abcad"):
        ledger.report(handle, float(number + 1))
    assert len(ledger) == 3
    assert [await ledger.ask(handle) for handle in "abcd"] == [4.0, 0.0, 3.0, 5.0]


async def test_a_restart_keeps_what_is_in_use(tmp_path: Path) -> None:
    """For this user alone; what is idle by then is left out."""
    file = tmp_path / "last-seen.json"
    ledger = LastSeenLedger()
    ledger.report("old", 10.0)
    ledger.report("new", 20.1234)
    ledger.save(file, after=15.0)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not file.with_name(file.name + ".new").exists()
    again = LastSeenLedger()
    again.load(file)
    assert (await again.ask("old"), await again.ask("new")) == (0.0, 20.123)


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": "x"}', b"{", b"\xff"])
async def test_a_broken_file_is_only_logged(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "last-seen.json"
    file.write_bytes(content)
    ledger = LastSeenLedger()
    with caplog.at_level(logging.WARNING):
        ledger.load(file)
    assert len(ledger) == 0
    assert str(file) in caplog.text


def test_a_file_that_cannot_be_written_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        LastSeenLedger().save(tmp_path / "missing" / "last-seen.json", 0.0)
    assert "last-seen.json" in caplog.text


def test_reports_are_put_together() -> None:
    calls: list[int] = []
    reports = Reports(lambda: calls.append(1))
    for handle, seen in (("a", 1.0), ("b", 2.0), ("a", 3.0), ("b", 1.0)):
        reports.add(handle, seen)
    assert calls == [1]
    assert reports.take() == {"a": 3.0, "b": 2.0}
    assert reports.take() == {}
    reports.add("a", 4.0)
    assert calls == [1, 1]
