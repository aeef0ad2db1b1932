"""The load generator: wrk on its own core, and its results."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.process import BenchError

SCRIPT = Path(__file__).with_name("load.lua")
MARK = "RESULT "


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw in one run."""

    requests: int
    seconds: float
    bytes: int
    socket_errors: int
    status_errors: int
    """Answers of 400 and above."""
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds else 0.0


def parse_load(output: str) -> Load:
    """Return the result in wrk's output. Raises BenchError where there is none."""
    for line in output.splitlines():
        if line.startswith(MARK):
            return Load(**json.loads(line.removeprefix(MARK)))
    raise BenchError(f"wrk told no result:\n{output[-1000:]}")


@dataclass(frozen=True, slots=True)
class Wrk:
    """wrk with what stays the same over the runs."""

    core: int
    headers: Mapping[str, str]
    connections: int = 32

    def sending(self, headers: Mapping[str, str]) -> Wrk:
        """Return the same with other headers."""
        return replace(self, headers=headers)

    def run(self, url: str, seconds: int, arguments: Sequence[str] = (), connections: int | None = None) -> Load:
        """Send requests for whole seconds. Raises BenchError if one of them failed."""
        command = ["taskset", "--cpu-list", str(self.core), "wrk", "--threads", "1", "--timeout", "10s"]
        command += ["--connections", str(connections or self.connections), "--duration", f"{seconds}s"]
        command += ["--script", str(SCRIPT)]
        for name, value in self.headers.items():
            command += ["--header", f"{name}: {value}"]
        command += [url, "--", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
        if done.returncode:
            raise BenchError(f"wrk failed:\n{done.stderr or done.stdout}")
        load = parse_load(done.stdout)
        if not load.bytes or load.status_errors or load.socket_errors:
            raise BenchError(f"{url}: {load}")
        return load
