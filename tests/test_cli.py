"""The command line: what each command prints, where it looks, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli import main
from gateway.settings import Settings, new_key
from tests.support.command import ROOT, call, ok, refused
from tests.support.tools import tool
from tests.support.users import ALICE, BOB, CAROL

COMMANDS = (
    "run", "demo", "check", "explain", "schema", "hash-password", "new-key", "api-key", "sessions", "health", "version",
)  # fmt: skip
CONFIG = """\
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
public_url: https://localhost
trusted_proxies: [10.0.0.0/8]
session: {keys: ["${GATEWAY_KEY}"]}
login: {local: {users: users.yaml}}
routes:
  - name: wiki
    upstream: http://wiki:3000
    rules:
      - {path: /health, methods: [GET], public: true}
      - {path: /admin, allow: {groups: [admins]}}
      - {path: /lan, allow: {networks: [192.168.0.0/16]}}
      - {path: /mail, allow: {emails: ["*@example.org"]}}
  - {name: files, host: files.example.com, path: /files, upstream: http://files}
"""


def users_text() -> str:
    return json.dumps({"users": {user.user: user.entry() for user in (ALICE, BOB, CAROL)}})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a configuration and users; the environment holds the key."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/gateway.yaml").write_text(CONFIG)
    (tmp_path / "config/users.yaml").write_text(users_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_KEY", new_key())
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return tmp_path


# --- help and usage -----------------------------------------------------------------------------------


def test_the_help_names_every_command_in_a_whole_sentence() -> None:
    text = ok("--help")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +[A-Z].*\.$", text, re.MULTILINE), command
    assert set(main.commands) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert ok(command, "--help") == ok(command, "-h")
    assert f"gateway {command}" in ok(command, "--help").replace("main", "gateway")


@pytest.mark.parametrize(
    "arguments",
    [
        ["chek"],
        ["check", "--verbose"],
        ["check", "-c"],
        ["explain"],
        ["explain", "GET"],
        ["explain", "--group", "staff", "GET", "/"],
        ["explain", "--user", "alice", "--address", "here", "GET", "/"],
        ["explain", "--claim", "level=3", "GET", "/"],
        ["explain", "--user", "alice", "--claim", "level", "GET", "/"],
        ["demo", "--listen", "8080"],
        ["demo", "--listen", "unix:/a"],
        ["demo", "--listen", "127.0.0.1:70000"],
        ["version", "x"],
    ],
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str]) -> None:
    assert "Error: " in refused(*arguments, code=2)


def test_the_help_is_fast_for_it_imports_little() -> None:
    code = "import gateway.cli, sys; print([m for m in ('pydantic', 'yaml', 'aiohttp', 'asyncio') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_it_is_a_module_that_can_be_run() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith(f"gateway {__version__} (Python ")


# --- check --------------------------------------------------------------------------------------------


def test_check_counts_what_it_found_in_order(folder: Path) -> None:
    assert ok("check") == "OK: config/gateway.yaml: 2 routes, 4 rules, 2 hosts, 3 users, 1 key\n"
    assert sorted(path.name for path in folder.rglob("*")) == ["config", "gateway.yaml", "users.yaml"]


def test_check_tells_every_problem_on_its_line(folder: Path) -> None:
    (folder / "config/gateway.yaml").write_text(CONFIG.replace("upstream", "upstraem").replace("10.0.0.0/8", "x"))
    lines = refused("check").splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"config/gateway.yaml:{at}" for at in ("4:19", "8:5", "9:5", "15:5", "15:58")
    ]
    assert 'did you mean "upstream"?' in lines[2]


def test_check_tells_at_once_what_is_wrong_with_the_files_too(folder: Path) -> None:
    text = CONFIG.replace("10.0.0.0/8", "x").replace("upstream: http://files", "upstraem: http://files")
    text += (
        "  - {name: ca, path: /ca, upstream: {url: https://a, ca: no.pem}}\nstate_dir: 5\ntls: {certificate: no.pem}\n"
    )
    (folder / "config/gateway.yaml").write_text(text)
    (folder / "config/users.yaml").unlink()
    lines = refused("check").splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == [
        "trusted_proxies[0]", "login.local.users", "routes[1].upstream", "routes[1].upstraem", "routes[2].upstream.ca",
        "state_dir", "tls.key",
    ]  # fmt: skip
    assert lines[1].startswith("config/gateway.yaml:6:24: ")
    assert lines[4].startswith("config/gateway.yaml:16:58: ")
    (folder / "config/users.yaml").write_text("users:\n  alice: {}\n")
    assert refused("check").splitlines()[-1] == "config/users.yaml:2:10: users.alice.password: is missing"


def test_check_looks_into_the_users_file(folder: Path) -> None:
    (folder / "config/users.yaml").write_text("users: {alice: {password: hunter2}}")
    said = refused("check")
    assert said.startswith("config/users.yaml:1:27: users.alice.password: ")
    assert "hunter2" not in said


def test_check_tells_of_a_missing_users_file_where_it_is_named(folder: Path) -> None:
    (folder / "config/users.yaml").unlink()
    assert refused("check") == (
        "config/gateway.yaml:6:24: login.local.users: config/users.yaml: cannot be read: No such file or directory\n"
    )


def test_check_tells_warnings_and_still_succeeds(folder: Path) -> None:
    (folder / "config/gateway.yaml").write_text(CONFIG.replace("trusted_proxies: [10.0.0.0/8]\n", ""))
    result = call("check")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: config/gateway.yaml:3:13: public_url: ")
    assert result.stdout.endswith("1 key, 1 warning\n")


@pytest.mark.parametrize("users", ["{}", "{{a: {{password: '{hash}', disabled: true}}}}"])
def test_check_warns_where_nobody_can_log_in(folder: Path, users: str) -> None:
    text = users.format(hash=ALICE.entry()["password"]) if "hash" in users else users
    (folder / "config/users.yaml").write_text(f"users: {text}\n")
    result = call("check")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: config/gateway.yaml:6:24: login.local.users: config/users.yaml names no")
    assert result.stdout.endswith(", 1 warning\n")


def test_an_unset_key_is_told_with_the_command_that_makes_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_KEY")
    for command in (["check"], ["run"], ["explain", "GET", "/"]):
        said = refused(*command)
        assert said.startswith(
            "config/gateway.yaml:5:18: session.keys[0]: the environment variable GATEWAY_KEY is not set"
        )
        assert "`gateway new-key`" in said


def test_the_configuration_is_looked_for_in_three_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.yaml", "b.yaml"):
        shutil.copy(folder / "config/gateway.yaml", folder / "config" / name)
    assert "OK: config/gateway.yaml:" in ok("check")
    monkeypatch.setenv("GATEWAY_CONFIG", "config/a.yaml")
    assert "OK: config/a.yaml:" in ok("check")
    assert "OK: config/b.yaml:" in ok("check", "-c", "config/b.yaml")
    assert "OK: config/b.yaml:" in ok("check", "--config", "config/b.yaml")


def test_a_missing_configuration_is_told_with_what_to_do(folder: Path) -> None:
    said = refused("check", "-c", "none.yaml").splitlines()
    assert said[0] == "none.yaml: cannot be read: No such file or directory"
    assert "`gateway demo`" in said[1]


def test_a_configuration_that_may_not_be_read_is_told_as_a_missing_one_is(folder: Path) -> None:
    (folder / "config/gateway.yaml").chmod(0)
    # Root may read everything unless its capabilities are taken away.
    as_anybody = [tool("setpriv", package="util-linux"), "--bounding-set=-all"] if os.geteuid() == 0 else []
    for command in (["check"], ["health"], ["run"]):
        found = subprocess.run(
            [*as_anybody, sys.executable, "-m", "gateway", *command], capture_output=True, text=True, check=False
        )
        assert (found.returncode, found.stderr) == (1, "config/gateway.yaml: cannot be read: Permission denied\n")


# --- explain ------------------------------------------------------------------------------------------


def explain(*arguments: str) -> dict[str, list[str]]:
    lines = [line.partition(":") for line in ok("explain", *arguments).splitlines()]
    said: dict[str, list[str]] = {}
    for name, _, value in lines:
        said.setdefault(name, []).append(value.strip())
    return said


def test_explain_tells_route_verdict_line_and_headers(folder: Path) -> None:
    assert explain("--user", "alice", "GET", "/page?x=1") == {
        "route": ["wiki, every host, path /"],
        "verdict": ["forward (allowed)"],
        "decided by": ["config/gateway.yaml:8:5"],
        "upstream": ["http://wiki:3000"],
        "header": [
            "X-Forwarded-User: alice",
            "X-Forwarded-Email: alice@example.com",
            "X-Forwarded-Groups: staff,wiki",
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "verdict", "line"),
    [
        (["GET", "/"], "login", "8:5"),
        (["GET", "/health"], "forward (public)", "11:9"),
        (["get", "/health"], "forward (public)", "11:9"),
        (["POST", "/health"], "login", "8:5"),
        (["--user", "alice", "GET", "/admin"], "refuse with 403 (not allowed by groups)", "12:9"),
        (["--user", "alice", "--group", "admins", "GET", "/admin/x"], "forward (allowed)", "12:9"),
        (["--user", "dora", "--group", "admins", "GET", "/admin"], "forward (allowed)", "12:9"),
        (["--user", "bob", "GET", "/lan"], "refuse with 403 (not allowed by networks)", "13:9"),
        (["--user", "bob", "--address", "192.168.1.1", "GET", "/lan"], "forward (allowed)", "13:9"),
        (["--user", "bob", "GET", "/mail"], "refuse with 403 (not allowed by emails)", "14:9"),
        (["--user", "bob", "--email", "Bob@Example.ORG", "GET", "/mail"], "forward (allowed)", "14:9"),
        (["--user", "bob", "GET", "https://files.example.com/files/x"], "forward (allowed)", "15:5"),
        (["GET", "https://FILES.example.com:443/files"], "login", "15:5"),
    ],
)
def test_explain_judges_as_the_gateway_does(folder: Path, arguments: list[str], verdict: str, line: str) -> None:
    said = explain(*arguments)
    assert said["verdict"][0].startswith(verdict)
    assert said["decided by"] == [f"config/gateway.yaml:{line}"]


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("https://other.example.com/", "refused with 421: the host other.example.com"),
        ("/a/../admin", "refused with 400: a dot segment"),
        ("/a/%2e%2e/admin", "refused with 400"),
        ("/a%2Fb", "refused with 400: an encoded slash"),
        ("//admin", "refused with 400: read in another way"),
        ("ftp://localhost/", "refused with 400: a target that is neither"),
        ("nonsense", "refused with 400: a target that is neither"),
        ("https:///x", "refused with 400: a Host that is no host"),
    ],
)
def test_explain_tells_what_is_refused_before_any_rule(folder: Path, url: str, verdict: str) -> None:
    assert explain("GET", url)["verdict"][0].startswith(verdict)


def test_explain_tells_a_path_without_a_route(folder: Path) -> None:
    (folder / "config/gateway.yaml").write_text(
        CONFIG.replace("    rules:", "    path: /wiki\n    rules:").replace("path: /", "path: /wiki/", 5)
    )
    text = re.sub(r"/wiki/wiki", "/wiki", (folder / "config/gateway.yaml").read_text())
    (folder / "config/gateway.yaml").write_text(text)
    assert explain("GET", "/elsewhere")["verdict"] == ["refused with 404: no route for /elsewhere on localhost"]


def test_explain_knows_the_gateways_own_pages(folder: Path) -> None:
    said = explain("GET", "/_gateway/login")
    assert said["verdict"] == ["forward (public)"]
    assert said["decided by"] == ["built in"]


def test_explain_encodes_a_url_as_a_browser_does(folder: Path) -> None:
    assert explain("GET", "/gänge und flure#teil")["verdict"][0].startswith("login")


def test_explain_says_when_a_user_is_unknown_or_disabled(folder: Path) -> None:
    assert "carol is disabled (config/users.yaml:1:" in call("explain", "--user", "carol", "GET", "/").stderr
    assert "dora is not in the users file" in call("explain", "--user", "dora", "GET", "/").stderr
    assert call("explain", "--user", "alice", "GET", "/").stderr == ""


# --- run and demo -------------------------------------------------------------------------------------


def test_run_starts_the_gateway_with_the_settings_and_passes_on_its_exit_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[Settings, Path]] = []

    def run(settings: Settings, config_path: Path) -> int:
        started.append((settings, config_path))
        return 1

    module = types.ModuleType("gateway.supervisor")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gateway.supervisor", module)
    assert refused("run") == ""
    ((settings, path),) = started
    assert path == Path("config/gateway.yaml")
    assert [route.name for route in settings.routes] == ["wiki", "files"]


def test_run_does_not_start_on_files_that_cannot_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gateway.supervisor", types.ModuleType("gateway.supervisor"))
    (folder / "config/users.yaml").unlink()
    assert "login.local.users" in refused("run")
