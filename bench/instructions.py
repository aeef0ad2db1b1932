"""Instructions of a program, where `perf` and the machine let us count them.

CPU time depends on what else the machine does: caches, a sibling thread, the host. The number of
instructions hardly does, so it tells a small change of cost from noise.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from bench import procfs

EVENT = "instructions"
START_TIME, END_TIME = 0.1, 10.0


def parse_count(output: str) -> int | None:
    """Return the count in the output of ``perf stat -x ,``; None where it was not counted."""
    for line in output.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2].startswith(EVENT) and fields[0].isdigit():
            return int(fields[0])
    return None


def can_count() -> bool:
    """Tell whether there is the tool; whether the machine lets it is known when it was tried."""
    return shutil.which("perf") is not None


class Instructions:
    """Counts while the block runs; ``count`` is None where that is not possible."""

    def __init__(self, *pids: int) -> None:
        self._pids = ",".join(str(one) for pid in pids for one in procfs.tree(pid))
        self._perf: subprocess.Popen[bytes] | None = None
        self.count: int | None = None

    def __enter__(self) -> Instructions:
        if can_count():
            self._output = tempfile.NamedTemporaryFile(suffix=".perf")
            command = ["perf", "stat", "-x", ",", "-e", EVENT, "-o", self._output.name, "-p", self._pids]
            self._perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(START_TIME)
        return self

    def __exit__(self, *_: object) -> None:
        if self._perf is None:
            return
        self._perf.send_signal(signal.SIGINT)
        try:
            self._perf.wait(END_TIME)
        except subprocess.TimeoutExpired:
            self._perf.kill()
            self._perf.wait(END_TIME)
        self.count = parse_count(Path(self._output.name).read_text(encoding="utf-8"))
        self._output.close()
