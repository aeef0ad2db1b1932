"""The real program, started by its command line in a directory of its own, and watched from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from bench import procfs
from tests.support.raw import RawClient
from tests.support.users import EVERYBODY, User
from tests.support.waiting import PATIENCE, START_TIME, wait_for

ROOT = Path(__file__).resolve().parents[2]
_LISTENING = re.compile(r"listening on https?://127\.0\.0\.1:(\d+)")
_ADMIN = re.compile(r"admin on http://127\.0\.0\.1:(\d+)")

Config = dict[str, Any]


def new_key() -> str:
    """Return a session key as the configuration takes it."""
    return secrets.token_urlsafe(32)


def route(name: str, path: str, upstream: str | list[str], **more: object) -> dict[str, object]:
    """Return one route of a configuration."""
    return {"name": name, "path": path, "upstream": upstream, **more}


def gateway_config(*routes: Mapping[str, object], **more: object) -> Config:
    """Return a configuration for loopback on free ports; ``more`` replaces or adds top-level keys."""
    config: Config = {
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "public_url": "http://localhost",
        "state_dir": "./var",
        "session": {"keys": [new_key()]},
        "login": {"local": {"users": "users.yaml"}},
        "log": {"access": "access.log", "audit": "audit.log"},
        "routes": [dict(entry) for entry in routes],
    }
    config.update(more)
    return config


class GatewayProcess:
    """`python -m gateway run` on a configuration; ends by SIGTERM to its own pid."""

    def __init__(
        self,
        directory: Path,
        config: Config,
        *,
        users: Sequence[User] = EVERYBODY,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        open_files: int | None = None,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.config_file = directory / "gateway.yaml"
        self.port = 0
        self.admin_port = 0
        self.admin_socket = ""
        self.stderr: list[str] = []
        self._users = users
        self._stdout = stdout
        self._open_files = open_files
        self._env = dict(env or {})
        self._arguments = list(arguments) or ["run", "-c", str(self.config_file)]
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.write_config(config)
        self.write_users(users)

    def __enter__(self) -> GatewayProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        else:
            self.stop()

    # --- life -------------------------------------------------------------------------------------

    def write_config(self, config: Config) -> None:
        """Write the configuration; a running gateway sees it at `reload`."""
        self.config = config
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))

    def write_users(self, users: Sequence[User]) -> None:
        """Write the users file."""
        text = yaml.safe_dump({"users": {user.user: user.entry() for user in users}}, sort_keys=False)
        (self.directory / "users.yaml").write_text(text)

    def start(self) -> None:
        """Start and wait until both listeners are named."""
        self.launch()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until both listeners are named."""
        try:
            wait_for(self._is_ready, START_TIME, "the gateway to listen")
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Start without waiting, for tests of a start that fails."""
        self.stderr.clear()
        self.port = self.admin_port = 0
        self.admin_socket = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *self._arguments],
            cwd=self.directory,
            env={**_base_environment(), **self._env},
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=subprocess.PIPE,
        )
        if self._open_files:
            resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (self._open_files, self._open_files))
        self._reader = threading.Thread(target=self._read_stderr, args=(self._process,), daemon=True)
        self._reader.start()

    def _read_stderr(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr
        with process.stderr:
            for line in process.stderr:
                self.stderr.append(line.decode(errors="replace").rstrip("\n"))

    def _is_ready(self) -> bool:
        process = self._running()
        if process.poll() is not None:
            raise AssertionError(f"the gateway ended with {process.returncode}:\n" + self.errors())
        for line in list(self.stderr):
            if match := _ADMIN.search(line):
                self.admin_port = int(match[1])
            if match := _LISTENING.search(line):
                self.port = int(match[1])
            if "admin on unix:" in line:
                self.admin_socket = line.partition("admin on unix:")[2]
        return bool(self.port and (self.admin_port or self.admin_socket))

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def stop(self) -> None:
        """Stop by SIGTERM and require a clean end: exit code 0 and no traceback."""
        code = self.terminate()
        assert code == 0, f"exit code {code}:\n" + self.errors()
        self.assert_no_traceback()

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the exit code; kills and fails where the program does not end in time."""
        process = self._running()
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {timeout} s:\n" + self.errors()) from None
        assert self._reader
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        """End at once, whatever state it is in."""
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(PATIENCE)

    def restart(self) -> None:
        """Stop cleanly and start again on the same files; the port changes."""
        self.stop()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        process = self._running()
        if process.poll() is None:
            process.send_signal(number)

    def reload(self, config: Config) -> None:
        """Write a configuration and ask for a reload; the caller waits for its effect."""
        self.write_config(config)
        self.signal(signal.SIGHUP)

    def reload_as_it_is(self) -> None:
        """Ask for a reload of whatever the configuration file holds now."""
        self.signal(signal.SIGHUP)

    def is_alive(self) -> bool:
        """Tell whether the program still runs."""
        return self._running().poll() is None

    # --- what it says -----------------------------------------------------------------------------

    def errors(self) -> str:
        """Return what it wrote to standard error so far."""
        return "\n".join(self.stderr)

    def assert_no_traceback(self) -> None:
        """Fail where standard error holds a traceback or a warning of the interpreter."""
        text = self.errors()
        for mark in ("Traceback", "Exception ignored", "was never awaited", "never retrieved", "ResourceWarning"):
            assert mark not in text, text

    def access_log(self) -> list[dict[str, Any]]:
        """Return the access log's whole lines so far."""
        path = self.directory / str(self.config["log"]["access"])
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def audit_log(self) -> list[dict[str, Any]]:
        """Return the audit log's whole lines, once no more are on their way: a thread of the gateway's writes them."""
        path = self.directory / str(self.config["log"]["audit"])
        text, before = "", None
        while text != before:
            before = text
            time.sleep(0.05)
            text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for_log(self, matches: Callable[[dict[str, Any]], bool], timeout: float = PATIENCE) -> dict[str, Any]:
        """Return the first access-log record that matches, waiting for it."""

        def find() -> dict[str, Any] | None:
            return next((record for record in self.access_log() if matches(record)), None)

        found = wait_for(find, timeout, "an access-log record")
        assert found
        return found

    def log_text(self) -> str:
        """Return everything it logged anywhere."""
        files = [self.directory / str(self.config["log"][name]) for name in ("access", "audit")]
        return self.errors() + "".join(path.read_text() for path in files if path.is_file())

    # --- what it uses -----------------------------------------------------------------------------

    @property
    def authority(self) -> str:
        """Its host and port, as a client's Host field names them."""
        return f"127.0.0.1:{self.port}"

    def connect(self, timeout: float = PATIENCE, receive_buffer: int = 0) -> RawClient:
        """Return a new connection to the public listener."""
        return RawClient(self.port, timeout=timeout, receive_buffer=receive_buffer)

    def admin(self, path: str, timeout: float = PATIENCE) -> str:
        """Return the body of a GET on the admin listener; fails unless it is 200."""
        with RawClient(self.admin_port, timeout=timeout) as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.admin_port}\r\nConnection: close\r\n\r\n")
            answer = client.answer()
        assert answer.status == 200, answer
        return answer.text()

    def pids(self) -> list[int]:
        """Return the program's process and its descendants."""
        return procfs.tree(self._running().pid)

    def memory(self) -> int:
        """Return the resident memory of all its processes, bytes."""
        return procfs.resident_kib(self._running().pid) * 1024

    def cpu(self) -> float:
        """Return the seconds of processor time that its processes have used."""
        return procfs.cpu_time(self._running().pid).total

    def open_sockets(self) -> int:
        """Return how many sockets its processes hold open."""
        return sum(procfs.open_sockets(pid) for pid in self.pids())


def _base_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    # Where the tests have the compiled program, so have the processes that they start.
    found = {name: os.environ[name] for name in ("PYTHONPATH", "PYTHONSAFEPATH") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **found, "PYTHONUNBUFFERED": "1"}
