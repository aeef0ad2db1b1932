"""`gateway explain` with claims and the way of logging in."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.settings import new_key

CLAIMED = """\
session: {{keys: [{key}]}}
login: {{local: {{users: users.yaml}}}}
routes:
  - name: wiki
    upstream: http://wiki:3000
    allow: {{claims: {{level: [3, true], team: blue}}}}
    rules:
      - {{path: /local, allow: {{providers: [password]}}}}
      - {{path: /read, methods: [GET], allow: {{providers: [password]}}}}
"""


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["--claim", "level=3", "--claim", "team=blue", "GET", "/"], "forward"),
        (["--claim", "level=true", "--claim", "team=red", "--claim", "team=blue", "GET", "/"], "forward"),
        (["--claim", 'level="3"', "--claim", "team=blue", "GET", "/"], "refuse with 403 (not allowed by claims.level)"),
        (["--claim", "level=1", "GET", "/"], "refuse with 403 (not allowed by claims.level)"),
        (["--claim", "level=3", "GET", "/"], "refuse with 403 (not allowed by claims.team)"),
        (["GET", "/local"], "forward"),
        (["--provider", "sso", "GET", "/local"], "refuse with 403 (not allowed by providers)"),
        (["--provider", "sso", "HEAD", "/read"], "refuse with 403 (not allowed by providers)"),
        (["GET", "/Local"], "refused with 400: read in another way"),
    ],
)
def test_explain_takes_claims_and_the_way_of_logging_in(tmp_path: Path, arguments: list[str], verdict: str) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(CLAIMED.format(key=new_key()), encoding="utf-8")
    (tmp_path / "users.yaml").write_text("users: {}\n", encoding="utf-8")
    result = CliRunner().invoke(main, ["explain", "-c", str(config), "--user", "alice", *arguments])
    assert result.exit_code == 0, result.output
    assert f"\nverdict:     {verdict}" in result.stdout


STEPPED = """\
session: {{keys: [{key}]}}
login: {{local: {{users: users.yaml}}}}
programs: {{bearer: [{{id: ci, issuer: "https://ci.example.com", audience: a}}]}}
routes:
  - name: pay
    upstream: http://pay:3000
    allow: {{groups: [staff]}}
    step_up: {{acr_values: [mfa, key], max_age: 5m}}
    rules:
      - {{path: /new, step_up: {{max_age: 0s}}}}
      - {{path: /any, step_up: false}}
"""
STAFF = ["--user", "alice", "--group", "staff"]
SSO = [*STAFF, "--provider", "sso"]
AGAIN = "step-up: a browser is sent to sign in again, a program gets 401"


@pytest.mark.parametrize(
    ("arguments", "verdict", "needed"),
    [
        (["GET", "/"], "login: a browser", "acr mfa or key, a login at most 5m ago"),
        (["--user", "bob", "--group", "x", "GET", "/"], "refuse with 403 (not allowed by groups)", ""),
        ([*STAFF, "GET", "/"], f"{AGAIN} (not enough for step_up.acr_values)", "acr mfa or key, a login"),
        ([*SSO, "--acr", "pwd", "GET", "/"], f"{AGAIN} (not enough for step_up.acr_values)", "acr mfa or key"),
        ([*SSO, "--acr", "key", "GET", "/"], "forward (allowed)", "acr mfa or key"),
        ([*SSO, "--acr", "key", "--age", "5m", "GET", "/"], "forward (allowed)", "acr mfa or key"),
        ([*SSO, "--acr", "key", "--age", "10m", "GET", "/"], f"{AGAIN} (not enough for step_up.max_age)", "acr"),
        (
            [*STAFF, "--age", "10m", "GET", "/new"],
            f"{AGAIN} (not enough for step_up.max_age)",
            "a login at most 0s ago",
        ),
        ([*STAFF, "--age", "10m", "GET", "/any"], "forward (allowed)", ""),
    ],
)
def test_explain_tells_of_a_login_that_is_not_enough(
    tmp_path: Path, arguments: list[str], verdict: str, needed: str
) -> None:
    result = explained(tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    assert f"\nverdict:     {verdict}" in result.stdout
    assert (f"\nstep-up:     {needed}" if needed else "\nverdict:") in result.stdout
    assert bool(needed) is ("step-up:     " in result.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--age", "5m", "GET", "/"], "give --user too"),
        ([*STAFF, "--acr", "mfa", "GET", "/"], "give --provider too"),
        ([*STAFF, "--age", "5 minutes", "GET", "/"], "'5 minutes' is not a duration"),
    ],
)
def test_explain_says_what_is_wrong_with_a_login(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = explained(tmp_path, *arguments)
    assert (result.exit_code, said in result.output) == (2, True), result.output


def explained(folder: Path, *arguments: str) -> Result:
    config = folder / "gateway.yaml"
    config.write_text(STEPPED.format(key=new_key()), encoding="utf-8")
    (folder / "users.yaml").write_text("users: {}\n", encoding="utf-8")
    return CliRunner().invoke(main, ["explain", "-c", str(config), *arguments])


def test_explain_says_when_nobody_can_log_in_there(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(CLAIMED.format(key=new_key()), encoding="utf-8")
    (tmp_path / "users.yaml").write_text("users: {}\n", encoding="utf-8")
    for provider, noted in (("sso", True), ("password", False), ("api-key", False)):
        arguments = [
            "explain",
            "-c",
            str(config),
            "--user",
            "alice",
            "--group",
            "a",
            "--provider",
            provider,
            "GET",
            "/",
        ]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0
        assert (f"note: {provider} is no provider of the configuration" in result.stderr) is noted
