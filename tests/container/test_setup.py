"""The script that makes the stack's secrets: whole or not at all, never twice, and for nobody else on the host."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.login.argon2 import matches
from gateway.settings import load_users

ROOT = Path(__file__).resolve().parents[2]
OURS = f"{sys.executable} -m gateway"


def setup(folder: Path, gateway: str = OURS) -> subprocess.CompletedProcess[str]:
    env = {"GATEWAY": gateway, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    command = [ROOT / "config/compose/setup", folder]
    return subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a folder of secrets, and what was said while they were made."""
    folder = tmp_path_factory.mktemp("setup") / "secrets"
    return folder, setup(folder).stdout


def test_what_it_makes_belongs_together(made_once: tuple[Path, str]) -> None:
    folder, said = made_once
    made = contents(folder)
    assert set(made) == {"session_key", "redis_password", "redis_acl", "users/users.yaml"}
    digest = hashlib.sha256(made["redis_password"].strip().encode()).hexdigest()
    assert f" #{digest} " in made["redis_acl"]
    users = load_users(folder / "users/users.yaml")
    logins = dict(re.findall(r"^  (\w+)  (\S{16})$", said, re.MULTILINE))
    assert set(logins) == set(users) == {"alice", "bob", "admin"}
    assert all(matches(password, users[name].password_hash) for name, password in logins.items())
    assert not [text for text in made.values() if any(password in text for password in logins.values())]


def test_nobody_else_on_the_host_gets_to_them_and_any_container_user_can_read_them(made_once: tuple[Path, str]) -> None:
    folder, _ = made_once
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o004 for path in folder.rglob("*"))
    assert not [path for path in folder.rglob("*") if path.stat().st_mode & 0o022]


def test_a_second_run_changes_nothing_and_says_nothing(made_once: tuple[Path, str]) -> None:
    folder, _ = made_once
    before = contents(folder)
    again = setup(folder, gateway="/bin/false")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert contents(folder) == before


@pytest.mark.parametrize("works", ["nothing", "new-key"])
def test_what_fails_halfway_leaves_no_file_that_counts_and_the_next_run_goes_on(tmp_path: Path, works: str) -> None:
    half = tmp_path / "half"
    half.write_text(f'#!/bin/sh\ntest "$1" = {works} && exec {OURS} "$@"\nexit 1\n')
    half.chmod(0o755)
    folder = tmp_path / "secrets"
    assert setup(folder, str(half)).returncode != 0
    assert "users/users.yaml" not in contents(folder)
    assert [text for name, text in contents(folder).items() if not text and not name.endswith(".new")] == []
    assert setup(folder).returncode == 0
    assert set(contents(folder)) >= {"session_key", "redis_password", "redis_acl", "users/users.yaml"}
    assert len(load_users(folder / "users/users.yaml")) == 3
