"""Commands that make and print something, and the demo: what they print, where they cannot, and their exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator

from gateway import __version__
from gateway.login.argon2 import matches
from gateway.settings import new_key
from gateway.settings.secrets import session_key
from tests.support.command import ROOT, ok, refused, shell


def test_schema_prints_the_schema() -> None:
    schema = json.loads(ok("schema"))
    Draft202012Validator.check_schema(schema)
    assert "routes" in schema["properties"]


def test_new_key_prints_a_key_that_is_taken() -> None:
    first, second = ok("new-key"), ok("new-key")
    assert first != second
    assert len(session_key(first.rstrip("\n"))) == 32


def test_version_prints_the_version() -> None:
    assert re.fullmatch(rf"gateway {re.escape(__version__)} \(Python [\d.]+\S*\)\n", ok("version"))
    assert ok("--version") == f"gateway, version {__version__}\n"


@pytest.mark.parametrize("password", ["hunter2", " spaces kept ", "pässwörd €"])
def test_hash_password_reads_one_line(password: str) -> None:
    output = ok("hash-password", stdin=f"{password}\nnot this\n")
    assert output.startswith("$argon2id$v=19$")
    assert output.count("\n") == 1
    assert matches(password, output.rstrip("\n"))


@pytest.mark.parametrize(
    ("stdin", "reason"), [("", "1 to 1024"), ("\n", "1 to 1024"), ("a" * 1025, "1 to 1024"), (b"\xff\n", "not UTF-8")]
)
def test_hash_password_refuses_what_could_not_be_typed(stdin: str | bytes, reason: str) -> None:
    assert reason in refused("hash-password", stdin=stdin)


def at_a_terminal(*answers: str) -> tuple[int, str, str]:
    """Run hash-password at a terminal; return exit code, standard output, and what the terminal showed."""
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "hash-password"], cwd=ROOT, stdin=inner, stdout=subprocess.PIPE, stderr=inner
    )
    os.close(inner)
    shown = b""
    for number, answer in enumerate(answers, 1):
        while shown.count(b": ") < number:
            shown += os.read(terminal, 1000)
        os.write(terminal, answer.encode() + b"\n")
    output, _ = process.communicate(timeout=30)
    while True:
        try:
            piece = os.read(terminal, 1000)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    return process.returncode, output.decode(), shown.decode()


def test_hash_password_asks_twice_at_a_terminal_and_shows_nothing() -> None:
    code, output, shown = at_a_terminal("hunter2", "hunter2")
    assert code == 0
    assert matches("hunter2", output.rstrip("\n"))
    assert "hunter2" not in shown


@pytest.mark.parametrize("command", ["schema", "new-key", "version", "hash-password", "check -c config/gateway.yaml"])
def test_what_cannot_be_printed_is_told_and_not_done(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEY", new_key())
    for target, reason in ((">/dev/full", "cannot be written: No space left"), (">&-", "is closed")):
        code, said = shell(f"gateway {command} {target} <<end\nsecret\nend\n")
        assert code == 1
        (line,) = [line for line in said.splitlines() if not line.startswith("warning: ")]
        assert line.startswith(f"standard output {reason}")


def test_hash_password_without_an_input_says_so() -> None:
    assert shell("gateway hash-password <&-") == (1, "standard input is closed: the password is read from there\n")


def test_the_demo_names_no_address_that_it_refuses() -> None:
    for address in ("foo", "8080", "unix:/a"):
        said = refused("demo", "--listen", address, code=2)
        assert "write 127.0.0.1:8080 or [::1]:8080" in said
        assert "unix:/path" not in said


def test_the_demo_says_how_to_take_another_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = port + 1 if port < 65535 else port - 1
        assert shell(f"gateway demo --listen 127.0.0.1:{port}") == (
            1, f"gateway: 127.0.0.1:{port} is in use: gateway demo --listen 127.0.0.1:{other}\n"
        )  # fmt: skip
