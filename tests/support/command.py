"""Running a command of ours, in this process or in a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli import main

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str, stdin: str | bytes | None = None) -> Result:
    """Run a command; anything but an exit is an error of ours."""
    result = CliRunner().invoke(main, arguments, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def ok(*arguments: str, stdin: str | None = None) -> str:
    result = call(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str, code: int = 1, stdin: str | bytes | None = None) -> str:
    """Return what a command says on stderr as it ends with ``code`` and prints nothing else."""
    result = call(*arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def shell(command: str) -> tuple[int, str]:
    """Run a command of the gateway in a shell; return exit code and what it says on stderr."""
    found = subprocess.run(
        ["sh", "-c", command.replace("gateway", f"{sys.executable} -m gateway", 1)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
    )  # fmt: skip
    return found.returncode, found.stderr
