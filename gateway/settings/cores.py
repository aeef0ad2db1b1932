"""How many processors this process may use: what ``workers: auto`` stands for."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cpu_max: Path = CGROUP_CPU) -> int:
    """Return the processors of the scheduler's mask, or fewer where a container's quota is less (cgroup v2)."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
        cores = min(cores, round(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no quota: the file is not there, or says "max"
    return max(1, cores)
