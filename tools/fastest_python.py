"""Print the interpreter to measure with: of those installed, the one that runs byte code fastest.

The same version can differ by a third: distributions build with profile-guided optimisation, version
managers often do not, and Debian's interpreter does not even say so in its build variables. So they
are measured, side by side. Standard error tells what was found. Run it by `make bench`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROUNDS = 5
PROBE = r"""
import json, sys, sysconfig, time, venv

class Point:
    __slots__ = ("x", "y")
    def __init__(self, x, y):
        self.x = x
        self.y = y
    def moved(self, by):
        return Point(self.x + by, self.y)

def work():
    known = {}
    for number in range(4000):
        point = Point(number, 1).moved(2)
        name, _, value = (b"key%d: value" % (point.x & 63)).partition(b":")
        known[name] = value.strip(b" "), f"{point.y}"
    return known

def measure():
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

flags = " ".join(filter(None, map(sysconfig.get_config_var, ("CONFIG_ARGS", "PY_CORE_CFLAGS", "PY_CORE_LDFLAGS"))))
told = "--enable-optimizations" in flags or "-fprofile-use" in flags
where = getattr(sys, "_base_executable", sys.executable)
print(json.dumps([where, sys.version_info[:3], told, min(measure() for _ in range(9))]))
"""
NEEDED = (3, 11, 0)


def candidates() -> list[str]:
    """Return the commands to try: ``python3`` as the shell finds it, and what the system brings."""
    found = [shutil.which("python3"), *sorted(map(str, Path("/usr/bin").glob("python3*"))), sys.executable]
    return list(dict.fromkeys(path for path in found if path and re.fullmatch(r"python3(\.\d+)?", Path(path).name)))


def probe(command: str) -> tuple[str, tuple[int, ...], bool, float] | None:
    """Return path, version, whether it says that it was built with profiles, and seconds; None if it cannot be used."""
    done = subprocess.run([command, "-c", PROBE], check=False, capture_output=True, text=True, timeout=60)
    if done.returncode:
        return None
    path, version, told, seconds = json.loads(done.stdout)
    return str(Path(path).resolve()), tuple(version), told, seconds


def main() -> None:
    """Print the path of the fastest."""
    best: dict[str, tuple[float, str]] = {}
    usable = candidates()
    for _ in range(ROUNDS):
        for command in usable:
            found = probe(command)
            if found and found[1] >= NEEDED:
                path, version, told, seconds = found
                # What is told is published with the results, so it names no folder of this machine but the system's.
                place = "the system's" if path.startswith("/usr/bin/") else "another"
                text = f"{place} {'.'.join(map(str, version))}{', built with profiles as it says' if told else ''}"
                best[path] = min(best.get(path, (seconds, text)), (seconds, text))
    if not best:
        sys.exit("no Python 3.11 or newer was found")
    ranked = sorted(best.values())
    for seconds, text in ranked:
        print(f"{seconds * 1e3:6.2f} ms  {text}", file=sys.stderr)
    print(min(best, key=best.__getitem__))


if __name__ == "__main__":
    main()
