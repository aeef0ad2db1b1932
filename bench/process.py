"""A program under measurement or a part of the scene: started on one core, watched, ended by its id."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import procfs

READY_TIME = 30.0
STOP_TIME = 10.0
SPARE_FILES = 400


class BenchError(Exception):
    """Something the benchmark needs did not work; the text says what."""


_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now, and that was not returned before."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us, for all that is started."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_connections() -> int:
    """Return how many clients a proxy can hold within the limit, if each may need a connection behind it too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (soft - SPARE_FILES) // 2


class Process:
    """One program in a directory of its own, where its output and files lie."""

    def __init__(
        self, name: str, directory: Path, command: Sequence[str], core: int | str, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.directory = directory
        self._command = ["taskset", "--cpu-list", str(core), *command]
        self._env = {**os.environ, **(env or {})}
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with (self.directory / "stdout").open("wb") as out, (self.directory / "stderr").open("wb") as err:
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self._env,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The id; taskset replaces itself by the program, so it is the program's."""
        if self._popen is None:
            raise BenchError(f"{self.name} was not started")
        return self._popen.pid

    def stop(self) -> None:
        """End the program, and whatever it started in its session if it does not end by itself."""
        if self._popen is None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait(STOP_TIME)
        self._popen = None

    def wait_until_ready(self, port: int, path: str = "/") -> None:
        """Wait until the program answers 200 on ``path``. Raises BenchError."""
        deadline = time.monotonic() + READY_TIME
        while time.monotonic() < deadline:
            if self._popen is None or self._popen.poll() is not None:
                raise BenchError(f"{self.name} ended at its start:\n{self.complaint()}")
            if _status(port, path) == 200:
                return
            time.sleep(0.05)
        raise BenchError(f"{self.name} was not ready after {READY_TIME:.0f} s:\n{self.complaint()}")

    def complaint(self) -> str:
        """Return the end of what the program wrote to its standard error."""
        return (self.directory / "stderr").read_text(encoding="utf-8", errors="replace")[-2000:]

    def cpu_time(self) -> procfs.CpuTime:
        """Return the CPU time used so far, children included."""
        return procfs.cpu_time(self.pid)

    def resident_kib(self) -> int:
        """Return the resident memory, children included."""
        return procfs.resident_kib(self.pid)


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
