"""Compile the data plane to C with mypyc, into build/compiled: the same code, less CPU per request.

Needs a C compiler and Python's headers; nothing else in the project does. The source tree is copied
first, so that no stale binary ever shadows a file that somebody edits. Run it by `make compile`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "build" / "compiled"
HOT = ("core", "wire", "proxy")
"""Packages on the way of a request; the rest is dominated by libraries that are compiled already."""


def hot_modules(package: Path) -> list[str]:
    """Return the files to compile, relative to the target."""
    files = (file for name in HOT for file in sorted((package / name).glob("*.py")))
    return [str(file.relative_to(package.parent)) for file in files if file.name != "__init__.py"]


def main() -> None:
    """Copy the package and compile the hot modules in the copy."""
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(ROOT / "gateway", TARGET / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    os.chdir(TARGET)
    modules = mypycify(["--ignore-missing-imports", *hot_modules(TARGET / "gateway")], opt_level="3", debug_level="0")
    setup(name="gateway-compiled", packages=[], ext_modules=modules, script_args=["-q", "build_ext", "--inplace"])
    shutil.rmtree(TARGET / "build", ignore_errors=True)
    print(
        f"compiled into {TARGET.relative_to(ROOT)}; run it with PYTHONPATH={TARGET.relative_to(ROOT)}", file=sys.stderr
    )


if __name__ == "__main__":
    main()
