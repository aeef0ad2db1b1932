"""The tools of the benchmark find an interpreter on any machine that can run these tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_fastest_interpreter_is_one_that_can_run_the_gateway() -> None:
    """What is printed is one path, of a Python of 3.11 or newer; what it was chosen from is told beside it."""
    tool = ROOT / "tools" / "fastest_python.py"
    done = subprocess.run([sys.executable, str(tool)], check=True, capture_output=True, text=True, timeout=120)
    (path,) = done.stdout.splitlines()
    question = "import sys, venv; print(sys.version_info >= (3, 11))"
    asked = subprocess.run([path, "-c", question], check=True, capture_output=True, text=True, timeout=60)
    assert asked.stdout == "True\n"
    first = done.stderr.splitlines()[0]
    assert " ms " in first
    assert (" the system's 3." if path.startswith("/usr/bin/") else " another 3.") in first
    assert "/" not in done.stderr, "what is published names no folder"
