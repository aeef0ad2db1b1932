"""The demo's apps as programs of their own, as compose.yaml starts them."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.ports import free_port
from tests.support.raw import RawClient
from tests.support.waiting import wait_for


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway.demo", *arguments]


@pytest.fixture(params=["whoami", "live"])
def app(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    process = subprocess.Popen(command(request.param, "--listen", f"127.0.0.1:{port}"))
    try:
        wait_for(lambda: process.poll() is not None or answers(port), what="the app")
        yield process, port
    finally:
        process.kill()
        process.wait(10)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_it_answers_and_stops_by_sigterm(app: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = app
    assert answers(port)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize("app", ["live"], indirect=True)
def test_a_stream_of_events_does_not_keep_it_from_stopping(app: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = app
    with RawClient(port) as client:
        client.send(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
        wait_for(lambda: b"data:" in client.more(), what="an event")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize("arguments", [["nothing"], ["live", "--listen", "nowhere"], []])
def test_a_wrong_command_line_is_told(arguments: list[str]) -> None:
    result = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert "Usage: python -m gateway.demo" in result.stderr
