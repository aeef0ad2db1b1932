"""A real app as a process, out of the environment that `make test-apps` installs into build/apps."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pytest

from tests.support.gateway import ROOT
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE, START_TIME, wait_for

APPS = ROOT / "build/apps"
SERVED = ROOT / "tests/apps/served"


def python() -> str:
    """Return the interpreter that has the apps; skip the test where they are not installed."""
    if not (APPS / ".installed").exists():
        pytest.skip("the apps are not in build/apps (make test-apps)")
    return str(APPS / "bin/python")


class AppProcess:
    """A program with one HTTP port of loopback; ends by SIGTERM to its own pid.

    Its arguments name the port as ``{port}``, or the listening socket that it inherits as ``{fd}``.
    """

    def __init__(self, directory: Path, arguments: Sequence[str]) -> None:
        self._program = python()
        self._listener = socket.create_server(("127.0.0.1", 0)) if "{fd}" in arguments else None
        self.port: int = self._listener.getsockname()[1] if self._listener else free_port()
        self._directory = directory
        self._arguments = [argument.replace("{port}", str(self.port)) for argument in arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address as a route's ``upstream`` names it."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> AppProcess:
        number = self._listener.fileno() if self._listener else -1
        arguments = [argument.replace("{fd}", str(number)) for argument in self._arguments]
        with (self._directory / "app.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, *arguments],
                cwd=self._directory,
                env={"PATH": os.environ["PATH"], "HOME": str(self._directory), "LANG": "C.UTF-8"},
                pass_fds=[number] if self._listener else [],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if self._listener:
            self._listener.close()
        try:
            wait_for(self._answers, START_TIME, "the app to answer")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def output(self) -> str:
        """Return what it has printed."""
        return (self._directory / "app.log").read_text(errors="replace")

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.output()
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as client:
                client.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return client.recv(5) == b"HTTP/"
        except OSError:
            return False

    def _stop(self) -> None:
        assert self._process
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)


def flask(directory: Path) -> AppProcess:
    """Return the Flask app, on a socket that it inherits."""
    return AppProcess(directory, [str(SERVED / "flask_app.py"), "{fd}"])


def streamlit(directory: Path) -> AppProcess:
    """Return the Streamlit app."""
    options = {
        "server.address": "127.0.0.1", "server.port": "{port}", "server.headless": "true",
        "server.fileWatcherType": "none", "browser.gatherUsageStats": "false",
    }  # fmt: skip
    arguments = ["-m", "streamlit", "run", str(SERVED / "streamlit_app.py")]
    return AppProcess(directory, [*arguments, *(f"--{key}={value}" for key, value in options.items())])


def jupyterlab(directory: Path, token: str) -> AppProcess:
    """Return JupyterLab on the files in a directory; its own login takes the token."""
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": "{port}", "ServerApp.port_retries": "0",
        "ServerApp.open_browser": "False", "ServerApp.root_dir": str(directory), "ServerApp.allow_root": "True",
        "IdentityProvider.token": token,
    }  # fmt: skip
    arguments = ["-m", "jupyterlab", *(f"--{key}={value}" for key, value in options.items())]
    return AppProcess(directory, arguments)
