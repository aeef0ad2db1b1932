"""`gateway explain` with claims and the way of logging in."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.settings import new_key

CLAIMED = """\
session: {{keys: [{key}]}}
login: {{local: {{users: users.yaml}}}}
routes:
  - name: wiki
    upstream: http://wiki:3000
    allow: {{claims: {{level: [3, true], team: blue}}}}
    rules: [{{path: /local, allow: {{providers: [password]}}}}]
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
    ],
)
def test_explain_takes_claims_and_the_way_of_logging_in(tmp_path: Path, arguments: list[str], verdict: str) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(CLAIMED.format(key=new_key()), encoding="utf-8")
    (tmp_path / "users.yaml").write_text("users: {}\n", encoding="utf-8")
    result = CliRunner().invoke(main, ["explain", "-c", str(config), "--user", "alice", *arguments])
    assert result.exit_code == 0, result.output
    assert f"\nverdict:     {verdict}" in result.stdout
