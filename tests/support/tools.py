"""Programs that tests need beside Python: a test is skipped, and says so, where one is not on the machine.

`make test NO_SKIPS=1` counts that as a failure; `.ci/run` installs them all.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

SYSTEM = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def tool(*names: str, package: str = "") -> str:
    """Return the path of a program, by any of its names; skip the test where it is missing."""
    found = next((path for name in names if (path := shutil.which(name, path=SYSTEM))), None)
    return found or pytest.skip(f"{names[0]} is not on this machine (Debian: apt-get install {package or names[0]})")


def library(pattern: str, package: str) -> str:
    """Return the path of a library below ``/usr/lib``; skip the test where it is missing."""
    found = next(Path("/usr/lib").glob(pattern), None)
    return str(found) if found else pytest.skip(f"{pattern} is not here (Debian: apt-get install {package})")
