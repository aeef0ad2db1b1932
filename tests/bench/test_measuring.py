"""The benchmark measures real programs: nginx before nginx, for a second, on whatever cores there are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import idle, upstream
from bench.contestants import nginx
from bench.contestants.contestant import Contestant
from bench.load import Wrk
from bench.process import BenchError
from bench.stage import BROWSER, QUICK, Stage
from bench.tokens import write_cycle
from tests.support.tools import tool

CORE = max(os.sched_getaffinity(0))
HEADERS = {**BROWSER, "Cookie": "a=b"}


def test_a_run_counts_requests_cpu_time_and_bodies(tmp_path: Path) -> None:
    tool("wrk")
    tool("nginx", package="nginx-light")
    with upstream.running(tmp_path / "upstream", CORE) as behind:
        stage = Stage(tmp_path, CORE, CORE, QUICK, Wrk(CORE, HEADERS), behind, None, HEADERS)
        with nginx.running(tmp_path / "nginx", CORE, behind.port, behind.sink_port) as contestant:
            check_get(stage, contestant)
            check_upload(stage, contestant)
            check_cycle(stage, contestant, tmp_path / "cycle")
            check_idle(stage, contestant)


def check_get(stage: Stage, contestant: Contestant) -> None:
    row = stage.measure("answer 100k", "nginx", 0, contestant, "/files/100k")
    assert row.load.requests > 0
    assert row.cpu.total > 0
    assert row.moved >= row.load.requests * 100 * 1024
    with pytest.raises(BenchError, match="status_errors"):
        stage.measure("missing", "nginx", 0, contestant, "/files/no-such-file")


def check_upload(stage: Stage, contestant: Contestant) -> None:
    """The upstream answers at the end of a body only, so each answer stands for a whole one."""
    row = stage.measure("upload 1m", "nginx", 0, contestant, "/upload", upload=1024 * 1024)
    assert row.moved == row.load.requests * 1024 * 1024 > 0


def check_cycle(stage: Stage, contestant: Contestant, file: Path) -> None:
    """Of two lines one names a missing file: it is asked for as well, so the run fails."""
    write_cycle(file, [("/files/100k", "a=b"), ("/files/1m", "a=b")])
    assert stage.wrk.run(contestant.url("/"), 1, ("cycle", str(file))).requests > 1
    write_cycle(file, [("/files/100k", "a=b"), ("/files/no-such-file", "a=b")])
    with pytest.raises(BenchError, match="status_errors"):
        stage.wrk.run(contestant.url("/"), 1, ("cycle", str(file)))


def check_idle(stage: Stage, contestant: Contestant) -> None:
    assert idle.bytes_per_connection(contestant, 200, stage.load_core, stage.headers) < 64 * 1024
    request = idle.request_bytes({"Host": "x", "Transfer-Encoding": "nonsense"})
    with pytest.raises(BenchError, match="holding 0"), idle.held_connections(contestant.port, 5, CORE, request):
        pass
