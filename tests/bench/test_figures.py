"""The benchmark reads its instruments right, and its ratios are those of one round."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import procfs
from bench.bars import BARS, Bar
from bench.contestants.contestant import Contestant
from bench.contestants.login import cookie_pairs
from bench.forward_auth import ASKED, ASKS_OURS, BARE, FORWARD_AUTH, PROXIED, VERIFY
from bench.instructions import parse_count
from bench.load import Load, Wrk, parse_load
from bench.logged_in import (
    APACHE_COOKIE,
    APACHE_REDIS,
    BEARER,
    COOKIE,
    OIDC,
    OURS_COOKIE,
    OURS_REDIS,
    PROGRAMS,
    SIGNED,
)
from bench.process import BenchError, Process
from bench.process import free_port as given_port
from bench.report import number, page, table
from bench.rows import IdleRow, Row, ratio, spread
from bench.stage import QUICK, Stage
from bench.upstream import Upstream
from tests.support.ports import free_port

STAT = "4242 (a (b) c) S 17 4242 4242 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 100 200 300"


def row(variant: str, number: int, cpu_seconds: float, case: str = "proxying", requests: int = 1000) -> Row:
    load = Load(requests, 2.0, 4 * 1024**2, 0, 0, 1.5, 9.0)
    return Row(
        case,
        variant,
        number,
        load,
        procfs.CpuTime(cpu_seconds / 2, cpu_seconds / 2),
        2048,
        4 * 1024**2,
        0.01,
        2_000.0,
    )


def test_cpu_time_is_user_and_system_time_whatever_the_program_is_called() -> None:
    found = procfs.parse_cpu_time(STAT)
    assert (found.user, found.kernel) == (150 / procfs.TICKS, 50 / procfs.TICKS)
    assert found.total == 200 / procfs.TICKS
    assert procfs.parent(STAT) == 17


def test_resident_memory_is_read_in_kib() -> None:
    assert procfs.rss_kib("Name:\tx\nVmHWM:\t  9000 kB\nVmRSS:\t  1234 kB\n") == 1234
    assert procfs.rss_kib("Name:\tkernel thread\n") == 0


def test_the_time_of_a_core_leaves_out_idling_and_interrupts() -> None:
    ticks = procfs.TICKS
    text = f"cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 {ticks} {ticks} {ticks} 7 7 7 7 {2 * ticks} 0 0\n"
    assert procfs.parse_core(text, 1) == procfs.CoreTime(used=3.0, stolen=2.0)


def test_instructions_are_none_where_they_cannot_be_counted() -> None:
    assert parse_count("# started\n\n1178365,,instructions:u,135538990,100.00,0.31,insn per cycle\n") == 1178365
    assert parse_count("<not supported>,,instructions,0,100.00,,\n") is None
    assert parse_count("") is None


def test_the_cpu_time_of_this_process_grows_with_work() -> None:
    before = procfs.cpu_time(os.getpid())
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert (procfs.cpu_time(os.getpid()) - before).total >= 0.1


def test_the_children_of_a_process_belong_to_its_tree(tmp_path: Path) -> None:
    with Process("sleep", tmp_path, ["sleep", "30"], min(os.sched_getaffinity(0))) as process:
        pid = process.pid
        assert pid in procfs.tree(os.getpid())
    assert pid not in procfs.tree(os.getpid())


def test_the_work_of_children_is_counted_to_their_parent(tmp_path: Path) -> None:
    """As that of Apache's children, who do it all."""
    command = ["sh", "-c", "(while :; do :; done) & wait"]
    with Process("parent", tmp_path, command, min(os.sched_getaffinity(0))) as process:
        deadline = time.monotonic() + 30
        while process.cpu_time().total < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        alone = procfs.parse_cpu_time(Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8"))
        assert process.cpu_time().total >= 0.2 > alone.total
        os.killpg(process.pid, signal.SIGKILL)


def test_what_is_asked_about_each_request_counts_too(tmp_path: Path) -> None:
    """Of nginx and the gateway that it asks, one may idle while the other works."""
    core = min(os.sched_getaffinity(0))
    folders = [tmp_path / "front", tmp_path / "asked"]
    for folder in folders:
        folder.mkdir()
    busy = ["sh", "-c", "while :; do :; done"]
    with (
        Process("front", folders[0], ["sleep", "60"], core) as front,
        Process("asked", folders[1], busy, core) as asked,
    ):
        both = Contestant("both", 1, front, asked)
        deadline = time.monotonic() + 30
        while both.cpu_time().total < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert both.cpu_time().total >= 0.2 > Contestant("front", 1, front).cpu_time().total
        assert both.resident_kib() > front.resident_kib() > 0
        assert both.pids() == (front.pid, asked.pid)


def test_no_port_is_given_twice() -> None:
    """The system may name a port again that was not taken yet: a gateway would get it for both of its listeners."""
    ports = [given_port() for _ in range(2000)]
    assert len(set(ports)) == len(ports)


def test_a_program_that_ends_at_its_start_is_reported_with_what_it_said(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such luck >&2; exit 3"]
    with (
        Process("broken", tmp_path, command, min(os.sched_getaffinity(0))) as process,
        pytest.raises(BenchError, match="no such luck"),
    ):
        process.wait_until_ready(free_port())


def test_the_result_of_the_load_generator_is_one_line_among_others() -> None:
    load = parse_load(
        "Running 2s test\n"
        'RESULT {"requests": 10, "seconds": 2.0, "bytes": 5, "socket_errors": 0, "status_errors": 1, '
        '"p50_ms": 0.25, "p99_ms": 1.0}\n'
    )
    assert load == Load(10, 2.0, 5, 0, 1, 0.25, 1.0)
    assert load.per_second == 5.0


def test_a_load_without_result_is_an_error() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        parse_load("unable to connect to 127.0.0.1:1")


def test_a_ratio_is_taken_within_each_round() -> None:
    """Both slow down tenfold in the second round: a ratio of medians would not see that ours is twice nginx."""
    rows = [row("nginx", 0, 0.01), row("ours", 0, 0.02), row("ours", 1, 0.2), row("nginx", 1, 0.1)]
    found = ratio(rows, "proxying", "ours", "nginx", lambda one: one.cpu_us)
    assert found is not None
    assert (found.least, found.median, found.greatest) == pytest.approx((2.0, 2.0, 2.0))


def test_a_ratio_without_baseline_is_none() -> None:
    assert ratio([row("ours", 0, 0.02)], "proxying", "ours", "nginx", lambda one: one.cpu_us) is None


def test_figures_are_per_request_and_per_mib() -> None:
    one = row("ours", 0, 0.02)
    assert (one.cpu_us, one.cpu_us_per_mib, one.mib_per_second) == pytest.approx((20.0, 5000.0, 2.0))
    assert one.thousand_instructions == pytest.approx(2.0)
    assert one.cpu_share == pytest.approx(0.01)


def test_a_spread_is_the_median_and_the_bounds() -> None:
    found = spread([3.0, 1.0, 2.0])
    assert (found.least, found.median, found.greatest) == (1.0, 2.0, 3.0)


def test_a_bar_has_one_bound_or_two() -> None:
    flat = Bar("flat", lambda rows, idle_rows: None, at_most=1.1, at_least=0.9)
    assert [flat.holds(value) for value in (0.8, 1.0, 1.2)] == [False, True, False]
    assert flat.bound() == "0.9 to 1.1"
    assert Bar("low", lambda rows, idle_rows: None, at_most=2.0).bound() == "≤ 2"


@pytest.mark.parametrize(
    ("value", "text"), [(15544.3, "15 544"), (411.2, "411"), (54.21, "54.2"), (1.853, "1.85"), (0.0, "–")]
)
def test_figures_are_rounded_to_what_means_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_table_is_markdown() -> None:
    assert table(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |"


def test_a_cookie_that_is_removed_is_not_kept() -> None:
    lines = ["session=v1.abc; Path=/; HttpOnly", "csrf=; Max-Age=0; Path=/"]
    assert cookie_pairs(lines) == {"session": "v1.abc"}


def test_the_page_says_which_bars_were_met_and_which_were_missed(tmp_path: Path) -> None:
    rows = [row("nginx", 0, 0.01), row("ours", 0, 0.03), row("caddy", 0, 0.1)]
    headers = {"Cookie": "session=x"}
    stage = Stage(tmp_path, 0, 1, QUICK, Wrk(1, headers), Upstream(1, 2), None, headers, rows)
    stage.idle_rows.append(IdleRow("ours", 100, 3 * 1024.0))
    stage.leave_out("Some proxy", "not installed")
    text = page(stage, {"CPU": "two cores"}, {"gateway": "0.1.0"}, datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    assert "| small answer, CPU, ours / nginx | ≤ 2 | 3.00 | **missed** |" in text
    assert "| small answer, CPU, ours / Caddy | ≤ 0.4 | 0.30 | met |" in text
    assert "| an idle connection, KiB | ≤ 8 | 3.00 | met |" in text
    assert "Left out: Some proxy: not installed." in text
    assert "| **session-gateway** | 30.0 | 3.00 (3.00 – 3.00) | 15.0 | 1.50 | 2.00 |" in text


def test_each_promise_about_logins_and_tokens_is_held_against_its_own_rows() -> None:
    """Four figures of 0.1, 0.2, 0.3 and 0.4, each of two rows of one round; and what Redis costs beside the cookie."""
    pairs = [
        (OIDC, OURS_COOKIE, APACHE_COOKIE),
        (OIDC, OURS_REDIS, APACHE_REDIS),
        (PROGRAMS, BEARER, COOKIE),
        (PROGRAMS, SIGNED, COOKIE),
    ]
    rows = [row(one, 0, share / 10, case) for share, (case, one, _) in enumerate(pairs, 1)]
    rows += [row(base, 0, 1.0, case) for case, base in dict.fromkeys((case, base) for case, _, base in pairs)]
    figures = {bar.text: value for bar in BARS if (value := bar.figure(rows, [])) is not None}
    assert list(figures.values()) == pytest.approx([2.0, 0.1, 0.2, 0.3, 0.4])
    assert [bar.at_most for bar in BARS if bar.text in figures] == [1.1, 0.25, 0.12, 1.2, 1.1]


def test_forward_auth_is_held_against_bare_nginx_and_asking_against_proxying() -> None:
    rows = [
        row(BARE, 0, 0.01, FORWARD_AUTH),
        row(ASKS_OURS, 0, 0.04, FORWARD_AUTH),
        row(PROXIED, 0, 0.02, VERIFY),
        row(ASKED, 0, 0.01, VERIFY),
    ]
    found = [(bar, value) for bar in BARS if (value := bar.figure(rows, [])) is not None]
    assert [value for _, value in found] == pytest.approx([4.0, 0.5])
    assert [bar.holds(value) for bar, value in found] == [False, True]


def test_the_page_has_a_section_for_each_part_of_forward_auth(tmp_path: Path) -> None:
    rows = [
        row(BARE, 0, 0.01, FORWARD_AUTH),
        row(ASKS_OURS, 0, 0.03, FORWARD_AUTH),
        row(PROXIED, 0, 0.02, VERIFY),
        row(ASKED, 0, 0.01, VERIFY),
    ]
    stage = Stage(tmp_path, 0, 1, QUICK, Wrk(1, {"Cookie": "x"}), Upstream(1, 2), None, {"Cookie": "x"}, rows)
    text = page(stage, {}, {}, datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    assert "| forward auth, nginx and ours together / nginx, CPU | ≤ 3.5 | 3.00 | met |" in text
    assert "| nginx asking **session-gateway**, together | 30.0 | 3.00 (3.00 – 3.00) |" in text
    assert "| **session-gateway**, asked | 10.0 | 0.50 (0.50 – 0.50) |" in text
