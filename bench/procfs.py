"""What the kernel counts about processes: CPU time, resident memory, children (proc(5))."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds that a program has used."""

    user: float
    kernel: float
    """System calls, and on loopback the network's work for them."""

    @property
    def total(self) -> float:
        """Both together."""
        return self.user + self.kernel

    def __add__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.user + other.user, self.kernel + other.kernel)

    def __sub__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.user - other.user, self.kernel - other.kernel)


def parse_cpu_time(stat: str) -> CpuTime:
    """Return utime and stime out of the text of ``/proc/PID/stat``.

    The second field is the program's name in parentheses, which may hold spaces and parentheses.
    """
    fields = stat.rpartition(")")[2].split()
    return CpuTime(int(fields[11]) / TICKS, int(fields[12]) / TICKS)


def parent(stat: str) -> int:
    """Return the parent's id out of the text of ``/proc/PID/stat``."""
    return int(stat.rpartition(")")[2].split()[1])


def rss_kib(status: str) -> int:
    """Return the resident memory in KiB out of the text of ``/proc/PID/status``."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants, as they are now."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        stat = _read(int(entry.name), "stat") if entry.name.isdigit() else ""
        if stat:
            children.setdefault(parent(stat), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, ()))
    return found


def cpu_time(pid: int) -> CpuTime:
    """Return the CPU time that a process and its living descendants have used."""
    return sum((parse_cpu_time(stat) for one in tree(pid) if (stat := _read(one, "stat"))), CpuTime(0.0, 0.0))


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Seconds of one core since the start of the machine."""

    used: float
    """By programs: user, nice and system; interrupts are nobody's."""
    stolen: float
    """By the host, where the machine is a virtual one."""


def parse_core(stat: str, core: int) -> CoreTime:
    """Return one core's times out of the text of ``/proc/stat``."""
    for line in stat.splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            ticks = list(map(int, fields))
            return CoreTime(sum(ticks[:3]) / TICKS, ticks[7] / TICKS)
    raise ValueError(f"no core {core}")


def core_time(core: int) -> CoreTime:
    """Return one core's times up to now."""
    return parse_core((PROC / "stat").read_text(encoding="utf-8"), core)


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process and its descendants."""
    return sum(rss_kib(_read(one, "status")) for one in tree(pid))


def open_sockets(pid: int) -> int:
    """Return how many sockets a process holds open; 0 where it is gone."""
    count = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += str(entry.readlink()).startswith("socket:")
    return count
