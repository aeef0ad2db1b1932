"""What `make test-compiled` tests is the compiled program; elsewhere these would fail."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tools.compile_hot_path import hot_modules

ROOT = Path(__file__).resolve().parents[2]
HOT = ["core.policy", "proxy.exchange", "sessions.recent", "wire.cookies"]


COMPILED = [file.removesuffix(".py").replace("/", ".") for file in hot_modules(ROOT / "gateway")]


def test_all_of_the_data_plane_is_among_them() -> None:
    assert {f"gateway.{name}" for name in HOT} <= set(COMPILED)


@pytest.mark.parametrize("name", COMPILED)
def test_a_module_is_compiled(name: str) -> None:
    assert str(importlib.import_module(name).__file__).endswith(".so")


def test_programs_that_tests_start_are_compiled() -> None:
    program = "import gateway.proxy.exchange as found; print(found.__file__)"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout
    assert found.endswith(".so\n")
