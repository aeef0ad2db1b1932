"""Compile the data plane to C with mypyc, into build/compiled: the same code, less CPU per request.

Needs a C compiler and Python's headers; nothing else in the project does. The source tree is copied
first, so that no stale binary ever shadows a file that somebody edits. Run it by `make compile`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "build" / "compiled"
HOT = ("core", "wire", "proxy")
"""Packages on the way of a request; the rest is dominated by libraries that are compiled already."""
SESSIONS = ("cookie_store", "endings", "payload", "recent", "seal", "store", "terms")
"""Modules of `sessions` on the way of a token, known or not."""


def hot_modules(package: Path) -> list[str]:
    """Return the files to compile, relative to the target."""
    files = [file for name in HOT for file in sorted((package / name).glob("*.py"))]
    files += [package / "sessions" / f"{name}.py" for name in SESSIONS]
    return [str(file.relative_to(package.parent)) for file in files if file.name != "__init__.py"]


def borrowed_headers() -> list[str]:
    """Return nothing where the interpreter has its headers; else those of another one with the same binary interface.

    Debian's python3 comes without them, and another Python of that version often lies beside it.
    """
    if Path(sysconfig.get_path("include"), "Python.h").exists():
        return []
    question = "import sysconfig as s; print(s.get_config_var('SOABI'), s.get_path('include'))"
    others = [shutil.which("python3"), *sorted(map(str, Path("/usr/bin").glob("python3.?*")))]
    for command in filter(None, others):
        done = subprocess.run([command, "-c", question], check=False, capture_output=True, text=True)
        tag, _, folder = done.stdout.strip().partition(" ")
        if tag == sysconfig.get_config_var("SOABI") and Path(folder, "Python.h").exists():
            print(f"compiling with the headers of {folder}: this Python has none", file=sys.stderr)
            return [folder]
    sys.exit("Python.h is missing (Debian: apt-get install python3-dev)")


def main() -> None:
    """Copy the package and compile the hot modules in the copy."""
    headers = borrowed_headers()
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(ROOT / "gateway", TARGET / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    os.chdir(TARGET)
    modules = mypycify(["--ignore-missing-imports", *hot_modules(TARGET / "gateway")], opt_level="3", debug_level="0")
    for module in modules:
        module.include_dirs.extend(headers)
    setup(name="gateway-compiled", packages=[], ext_modules=modules, script_args=["-q", "build_ext", "--inplace"])
    shutil.rmtree(TARGET / "build", ignore_errors=True)
    print(
        f"compiled into {TARGET.relative_to(ROOT)}; run it with PYTHONPATH={TARGET.relative_to(ROOT)}", file=sys.stderr
    )


if __name__ == "__main__":
    main()
