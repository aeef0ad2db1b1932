"""What was measured on: the machine and the versions, for the head of the results."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import gateway
from bench.contestants import apache, oauth2_proxy
from bench.contestants.caddy import caddy_binary


def _said(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return (done.stdout or done.stderr).strip().splitlines()[0] if done.stdout or done.stderr else ""


def _cpu_model() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def machine() -> dict[str, str]:
    """Return the facts about the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
    }


def interpreters() -> str:
    """Return what `tools/fastest_python.py` found when it chose the interpreter, if it did."""
    file = Path(sys.prefix, "interpreters")
    if not file.exists():
        return "not chosen: the one that this was run with"
    lines = file.read_text(encoding="utf-8").splitlines()
    return "the fastest of " + "; ".join(" ".join(line.split()) for line in lines)


def versions() -> dict[str, str]:
    """Return the versions of everything that takes part."""
    return {
        "gateway": gateway.__version__,
        "Python": f"{platform.python_version()}, built by {platform.python_compiler()}, {platform.python_build()[1]}",
        "interpreters, by a test of byte code": interpreters(),
        "uvloop": version("uvloop"),
        "aiohttp": version("aiohttp"),
        "nginx": _said(["nginx", "-v"]).rpartition("/")[2],
        "Caddy": _said([caddy_binary(), "version"]).split(maxsplit=1)[0],
        **apache.versions(),
        **oauth2_proxy.versions(),
        "wrk": _said(["wrk", "-v"]).removeprefix("wrk ").split(maxsplit=1)[0],
    }
