"""What every contestant has: a name, a port, a process, and perhaps a scrape of what it is."""

from __future__ import annotations

from dataclasses import dataclass

from bench.process import Process
from bench.procfs import CpuTime


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running proxy."""

    name: str
    port: int
    process: Process
    asked: Process | None = None
    """Another program that it asks about each request: what that one uses counts as its own."""

    def url(self, path: str) -> str:
        """Return the URL of a path behind this proxy."""
        return f"http://127.0.0.1:{self.port}{path}"

    def cpu_time(self) -> CpuTime:
        """Return the CPU time that all its processes have used so far."""
        return sum((process.cpu_time() for process in self._processes()), CpuTime(0.0, 0.0))

    def resident_kib(self) -> int:
        """Return the resident memory of all its processes."""
        return sum(process.resident_kib() for process in self._processes())

    def pids(self) -> tuple[int, ...]:
        """Return the ids of its programs, without those of their children."""
        return tuple(process.pid for process in self._processes())

    def _processes(self) -> tuple[Process, ...]:
        return (self.process, self.asked) if self.asked else (self.process,)
