"""The verifier is a package of its own: it builds, it is typed, and it needs neither the gateway nor much else."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "verifier"


def test_it_builds_a_wheel_that_works_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert "gateway_verify/py.typed" in zipfile.ZipFile(wheel).namelist()
    code = "import gateway_verify.asgi, gateway_verify.wsgi; print(gateway_verify.__file__)"
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(wheel)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert wheel.name in result.stdout


def test_it_imports_what_it_says_it_needs_and_nothing_else() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    allowed = {"gateway_verify", *(name.partition(">")[0] for name in needed), *sys.stdlib_module_names}
    found = set()
    for file in (ROOT / "gateway_verify").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.partition(".")[0] for name in names}
    assert found - allowed == set()
    assert "cryptography" in found
