"""Signals in the first moments of the program: none is lost, none ends it without a word."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import procfs
from tests.support.gateway import ROOT, GatewayProcess, gateway_config, route
from tests.support.upstream import RecorderUpstream
from tests.support.visitor import Visitor
from tests.support.waiting import PATIENCE, START_TIME, wait_for

DELAYS = [0.0, 0.05, 0.2, 0.4, 0.6, 0.9]
"""Seconds from the program's first line on; a start takes about one."""


@pytest.fixture
def gateway(recorder: RecorderUpstream, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that was not started."""
    gateway = GatewayProcess(tmp_path, gateway_config(route("app", "/", recorder.url, public=True), workers=2))
    yield gateway
    with contextlib.suppress(AssertionError):
        gateway.kill()


def catches(pid: int) -> bool:
    """Tell whether a process takes SIGHUP itself; the interpreter's own first moments are not ours."""
    with contextlib.suppress(FileNotFoundError):
        (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in line]
        return bool(int(line.split()[1], 16) >> (signal.SIGHUP - 1) & 1)
    return False


def launch(gateway: GatewayProcess) -> int:
    """Start it; return its pid once it has come to its first line, and before it has loaded much."""
    for _ in range(5):
        gateway.launch()
        pid = gateway.pids()[0]
        wait_for(lambda: catches(gateway.pids()[0]), START_TIME, "the first line of the program")
        if "uvloop" not in Path(f"/proc/{pid}/maps").read_text():
            return pid
        gateway.kill()
    raise AssertionError("it takes signals only when it is loaded, or this machine is too slow to tell")


@pytest.mark.parametrize("delay", DELAYS)
def test_a_reload_while_it_starts_is_no_end(gateway: GatewayProcess, delay: float) -> None:
    """SIGHUP at any time after the program's first line: it serves, and by what the file held at the signal."""
    launch(gateway)
    time.sleep(delay)
    app = dict(gateway.config["routes"][0])
    later = {**app, "name": "later", "path": "/later", "public": False}
    # In one step, for it may be reading the file at this moment.
    new = GatewayProcess(gateway.directory / "new", {**gateway.config, "routes": [app, later]})
    new.config_file.replace(gateway.config_file)
    gateway.reload_as_it_is()
    gateway.wait_until_ready()
    assert Visitor(gateway).get("/x").status == 200
    wait_for(lambda: Visitor(gateway).get("/later").status == 401, what="what the file holds to be in force")
    gateway.stop()


@pytest.mark.parametrize(
    ("number", "delay"), [*((signal.SIGTERM, delay) for delay in DELAYS), (signal.SIGINT, 0.0), (signal.SIGINT, 0.5)]
)
def test_a_stop_while_it_starts_leaves_nothing_behind(
    gateway: GatewayProcess, tmp_path: Path, number: signal.Signals, delay: float
) -> None:
    """SIGTERM and Ctrl-C at any time: exit code 0, no process, no folder of its own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    gateway = GatewayProcess(gateway.directory, gateway.config, env={"TMPDIR": str(folder)})
    launch(gateway)
    time.sleep(delay)
    pids = gateway.pids()
    gateway.signal(number)
    assert gateway.wait() == 0, gateway.errors()
    gateway.assert_no_traceback()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="its processes to end")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_a_stop_while_it_reloads_is_a_clean_one(gateway: GatewayProcess, delay: float) -> None:
    """SIGTERM at any time of a reload: exit code 0, whatever of the new configuration had been started."""
    gateway.start()
    gateway.reload_as_it_is()
    time.sleep(delay)
    pids = gateway.pids()
    gateway.stop()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="its processes to end")


@pytest.mark.parametrize("delay", [0.4, 0.6, 0.8])
def test_a_reload_that_all_processes_are_sent_ends_none_of_them(gateway: GatewayProcess, delay: float) -> None:
    """A service manager may send SIGHUP to every process, those that are still being loaded too."""
    pid = launch(gateway)
    time.sleep(delay)
    for each in procfs.tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGHUP)
    gateway.wait_until_ready()
    assert Visitor(gateway).get("/x").status == 200
    gateway.stop()


def test_ctrl_c_reaches_the_parent_alone(gateway: GatewayProcess) -> None:
    """Workers are in no group with it: what a terminal sends to a program's group is for the parent."""
    gateway.start()
    own, *workers = gateway.pids()
    assert len(workers) == 2
    assert os.getpgid(own) not in map(os.getpgid, workers)
    gateway.stop()


def test_other_commands_end_at_once() -> None:
    """What does not serve is ended by signals, as programs are."""
    command = [sys.executable, "-m", "gateway", "hash-password"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        time.sleep(0.3)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == -signal.SIGHUP
