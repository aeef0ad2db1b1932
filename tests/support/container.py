"""Containers of a local image, run by buildah with no engine: on the host's network, with its processes in sight."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bench import procfs
from tests.support.waiting import PATIENCE, START_TIME, wait_for


def buildah(*arguments: str) -> str:
    """Run buildah to its end and return what it prints."""
    return subprocess.run(["buildah", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def image_config(image: str) -> dict[str, Any]:
    """Return what an image says about itself: User, Entrypoint, Cmd, Env, Labels, Healthcheck and so on."""
    found = json.loads(buildah("inspect", "--type", "image", image))
    config: dict[str, Any] = found["Docker"]["config"]
    return config


def descendants(pid: int) -> list[int]:
    """Return the processes that came from a process, parents first."""
    return procfs.tree(pid)[1:]


def user_of(pid: int) -> int:
    """Return the effective user of a process; -1 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return -1
    return int(next(line for line in lines if line.startswith("Uid:")).split()[2])


class Container:
    """One container and the program in it; leaves nothing behind."""

    def __init__(self, image: str, *, mounts: Mapping[Path, str] | None = None, env: Mapping[str, str] | None = None):
        self.name = buildah("from", "--pull-never", image)
        self.root = Path(buildah("mount", self.name))
        self.errors: list[str] = []
        self._options = [f"--volume={source}:{target}:ro" for source, target in (mounts or {}).items()]
        self._options += [f"--env={name}={value}" for name, value in (env or {}).items()]
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            for pid in descendants(self._process.pid)[::-1]:
                _send(pid, signal.SIGKILL)
            self._process.wait(START_TIME)
        buildah("umount", self.name)
        buildah("rm", self.name)

    def command(self, *command: str) -> list[str]:
        """Return what runs a command in here, as the image's user."""
        return ["buildah", "run", "--isolation", "chroot", *self._options, self.name, "--", *command]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self, command: Sequence[str]) -> None:
        """Start the program; its standard error is collected."""
        self._process = subprocess.Popen(
            self.command(*command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process
        assert self._process.stderr
        with self._process.stderr as stream:
            for line in stream:
                self.errors.append(line.decode(errors="replace").rstrip("\n"))

    def wait_until(self, said: str) -> None:
        """Wait until the program has said something on standard error."""

        def has_said() -> bool:
            assert self._process
            assert self._process.poll() is None, self.text()
            return said in self.text()

        wait_for(has_said, START_TIME, f"{said!r} from the container")

    def text(self) -> str:
        """Return what it wrote to standard error so far."""
        return "\n".join(self.errors)

    def pids(self, user: int) -> list[int]:
        """Return the processes of a user in here, the program itself first; buildah's own are not in here."""
        assert self._process
        return [pid for pid in descendants(self._process.pid) if user_of(pid) == user and not _is_buildah(pid)]

    def stop(self, user: int) -> int:
        """Send SIGTERM to the program, which runs as ``user``, as an engine does; return its exit code."""
        assert self._process
        program = wait_for(lambda: self.pids(user), PATIENCE, "the program")[0]
        _send(program, signal.SIGTERM)
        code = self._process.wait(START_TIME)
        assert self._reader
        self._reader.join(PATIENCE)
        return code


def _is_buildah(pid: int) -> bool:
    try:
        return "buildah" in Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return True


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
