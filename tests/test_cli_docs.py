"""Every command that the documentation shows is run, and what it says about commands is so."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
import pytest

from gateway.cli import main
from gateway.settings import new_key

ROOT = Path(__file__).resolve().parents[1]


def documents() -> list[Path]:
    return [path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")) if path.name != "CHANGELOG.md"]


def documented_commands() -> list[str]:
    """Return every command of ours in a console block of the documentation."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents())
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in dict.fromkeys(lines) if re.search(r"(^|\| )gateway ", line)]


@pytest.fixture
def shop(tmp_path: Path) -> Mapping[str, str]:
    """Set up a folder with the examples, and an environment in which `gateway` is our program."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    example = tmp_path / "config/gateway.yaml"
    # Only the ports differ, which a test must not fix.
    example.write_text(re.sub(r"^(\w*listen): .*", r"\1: 127.0.0.1:0", example.read_text(), flags=re.MULTILINE))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/gateway"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    secrets = {"GATEWAY_KEY": new_key(), "OIDC_CLIENT_SECRET": "secret"}
    return {"PATH": path, "PYTHONPATH": str(ROOT), "PWD": str(tmp_path), **secrets}


@pytest.mark.parametrize("command", documented_commands())
def test_every_command_of_the_documentation_works(shop: Mapping[str, str], command: str) -> None:
    serves = re.match(r"gateway (run|demo)\b", command)
    if command.startswith("gateway demo"):
        command = re.sub(r" --listen \S+", "", command) + " --listen 127.0.0.1:0"
    with serving(shop) if re.match(r"gateway (sessions|health)\b", command) else nullcontext():
        process = started(shop, f"exec {command}" if serves else command)
        assert process.stderr
        if serves:
            said = next((line for line in process.stderr if "listening on" in line), None)
            process.send_signal(signal.SIGTERM)
            assert said
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert output or serves or ">" in command


def started(shop: Mapping[str, str], command: str) -> subprocess.Popen[str]:
    """Start a command in the folder with the examples."""
    return subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=shop["PWD"],
        env=shop,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(shop: Mapping[str, str]) -> Iterator[None]:
    """Run the gateway on the example, for commands that ask it; a socket's name is known beforehand."""
    example = Path(shop["PWD"]) / "config/gateway.yaml"
    example.write_text(re.sub(r"^admin_listen: .*\n", "", example.read_text(), flags=re.MULTILINE))
    example.write_text(f"admin_listen: unix:admin.sock\n{example.read_text()}")
    process = started(shop, "exec gateway run")
    try:
        assert process.stderr
        assert any("admin on unix:" in line for line in process.stderr)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_the_documentation_speaks_of_every_command() -> None:
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^## `gateway (\S+)`$", text, re.MULTILINE)) == sorted(main.commands)
    assert {line.split()[1] for line in documented_commands() if line.startswith("gateway ")} | {
        "hash-password"
    } == set(main.commands)


def options(command: click.Command) -> set[str]:
    """Return the options of a command and of those under it."""
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return {name for option in command.params for name in option.opts}.union(*map(options, inner))


def test_the_documentation_names_no_option_that_is_not_there() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents())
    for command, rest in re.findall(r"\bgateway ([a-z]+(?:-[a-z]+)?)\b([^`\n|]*)", text):
        if command in main.commands:
            known = options(main.commands[command]) | {"--help", "-h"}
            assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known, f"gateway {command}{rest}"


def test_the_output_of_explain_in_the_documentation_is_real(shop: Mapping[str, str]) -> None:
    text = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(route:.*?)^```", text, re.MULTILINE | re.DOTALL)
    command = "gateway explain --user alice GET http://apps.localhost:8080/dashboard/today"
    assert command in documented_commands()
    result = subprocess.run(
        ["/bin/sh", "-c", command], cwd=shop["PWD"], env=shop, capture_output=True, text=True, check=True
    )
    assert result.stdout == shown
