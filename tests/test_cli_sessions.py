"""`gateway sessions` and `gateway health`, asking the running program."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tests.conftest import StartGateway
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.oidc_site import audited, only_audited
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB
from tests.support.visitor import PROGRAM, Visitor, logged_in
from tests.support.waiting import PATIENCE, wait_for

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "x0Rk2-nB7qLw.4vT_9aZ"
ME = "/_gateway/me"


def call(*arguments: str) -> Result:
    """Run a command; anything but an exit is an error of ours."""
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def ok(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def refused(*arguments: str, code: int = 1) -> str:
    """Return what a command says on stderr as it ends with ``code`` and prints nothing else."""
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert TOKEN not in result.stderr
    return result.stderr


def config_for(folder: Path, admin_listen: str | None, token: str = "") -> str:
    """Write a configuration of which only the admin listener counts; the rest need not even be right."""
    file = folder / "asked.yaml"
    lines = [f"admin_listen: {'null' if admin_listen is None else json.dumps(admin_listen)}", "nonsense: 1"]
    if token:
        lines.append(f"admin_token: {token}")
    file.write_text("\n".join([*lines, "session: {keys: ['${NOT_SET_ANYWHERE}']}", ""]))
    return str(file)


@pytest.fixture
def running(start_gateway: StartGateway, recorder: RecorderUpstream) -> GatewayProcess:
    """A gateway whose sessions lie in a file."""
    config = gateway_config(route("app", "/", recorder.url))
    config["session"]["store"] = "sqlite"
    return start_gateway(config)


@pytest.fixture
def asked(running: GatewayProcess, tmp_path: Path) -> str:
    """The configuration with which the running gateway is asked."""
    return config_for(tmp_path, f"127.0.0.1:{running.admin_port}")


def is_logged_in(visitor: Visitor) -> bool:
    return visitor.get(ME, PROGRAM).status == 200


def listed(asked: str, user: str) -> list[dict[str, Any]]:
    answer: dict[str, Any] = json.loads(ok("sessions", "list", "-c", asked, "--json", user))
    found: list[dict[str, Any]] = answer["sessions"]
    return found


# --- sessions -----------------------------------------------------------------------------------------


def test_sessions_are_listed_as_a_table_and_as_json(running: GatewayProcess, asked: str) -> None:
    assert ok("sessions", "list", "-c", asked, "alice") == "alice has no session.\n"
    logged_in(running, ALICE)
    head, row = ok("sessions", "list", "-c", asked, "alice").splitlines()
    assert re.split(r"  +", head) == ["handle", "signed in", "last seen", "ends", "address", "device"]
    handle, created, seen, ends, address, device = re.split(r"  +", row)
    assert (address, device) == ("127.0.0.1", "unknown browser")
    (entry,) = listed(asked, "alice")
    assert [entry[name] for name in ("handle", "created", "last_seen", "expires")] == [handle, created, seen, ends]
    assert listed(asked, "bob") == []


def test_one_session_is_ended(running: GatewayProcess, asked: str) -> None:
    first = logged_in(running, ALICE)
    (entry,) = listed(asked, "alice")
    second = logged_in(running, ALICE)
    arguments = ("sessions", "revoke", "-c", asked, "--handle", entry["handle"], "--user", "alice")
    assert ok(*arguments) == "Ended 1 session of alice.\n"
    assert (is_logged_in(first), is_logged_in(second)) == (False, True)
    assert refused(*arguments) == "This user has no such session.\n"
    (event, *_) = wait_for(lambda: audited(running, "session_ended"), what="the log")
    assert (event["by"], event["user"], event["session"]) == ("admin API", "alice", entry["handle"])


def test_all_sessions_of_a_user_are_ended(running: GatewayProcess, asked: str) -> None:
    alices = [logged_in(running, ALICE) for _ in range(2)]
    bob = logged_in(running, BOB)
    assert ok("sessions", "revoke", "-c", asked, "--user", "alice") == "Ended 2 sessions of alice.\n"
    assert [is_logged_in(alice) for alice in alices] == [False, False]
    assert is_logged_in(bob)
    assert json.loads(ok("sessions", "revoke", "-c", asked, "--user", "alice", "--json")) == {"ended": 0}


def test_the_sessions_of_everybody_are_ended(running: GatewayProcess, asked: str) -> None:
    visitors = [logged_in(running, user) for user in (ALICE, BOB)]
    assert ok("sessions", "revoke", "-c", asked, "--everybody") == "Ended the sessions of everybody.\n"
    assert [is_logged_in(visitor) for visitor in visitors] == [False, False]
    logged_in(running, ALICE)


def test_sessions_in_cookies_are_not_listed_but_ended_all_the_same(
    start_gateway: StartGateway, recorder: RecorderUpstream, tmp_path: Path
) -> None:
    gateway = start_gateway(gateway_config(route("app", "/", recorder.url)))
    asked = config_for(tmp_path, f"127.0.0.1:{gateway.admin_port}")
    alice, bob = logged_in(gateway, ALICE), logged_in(gateway, BOB)
    assert "known to the browsers only" in ok("sessions", "list", "-c", asked, "alice")
    assert ok("sessions", "revoke", "-c", asked, "--user", "alice") == "Ended the sessions of alice.\n"
    assert (is_logged_in(alice), is_logged_in(bob)) == (False, True)
    assert "one by one" in refused("sessions", "revoke", "-c", asked, "--user", "bob", "--handle", "0" * 32)
    assert ok("sessions", "revoke", "-c", asked, "--everybody") == "Ended the sessions of everybody.\n"
    assert not is_logged_in(bob)


def test_the_token_comes_from_the_configuration_and_is_needed(
    start_gateway: StartGateway, recorder: RecorderUpstream, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    gateway = start_gateway(gateway_config(route("app", "/", recorder.url), admin_token="${file:../token}"))
    address = f"127.0.0.1:{gateway.admin_port}"
    command = ("sessions", "list", "alice", "-c")
    assert "known to the browsers only" in ok(*command, config_for(tmp_path, address, "${file:token}"))
    assert "no token" in refused(*command, config_for(tmp_path, address))
    assert "not the token" in refused(*command, config_for(tmp_path, address, TOKEN[::-1]))
    assert ok("health", "-c", config_for(tmp_path, address)) == "ok\n", "health asks for no token"
    wait_for(lambda: len(audited(gateway, "admin_refused")) == 2, what="the log")
    assert TOKEN not in gateway.log_text()


def test_a_unix_socket_is_asked_as_well(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    config = gateway_config(route("app", "/", recorder.url), admin_listen="unix:admin.sock")
    gateway = start_gateway(config)
    asked = str(gateway.config_file)
    alice = logged_in(gateway, ALICE)
    assert ok("health", "-c", asked) == "ok\n"
    assert ok("sessions", "revoke", "-c", asked, "--user", "alice") == "Ended the sessions of alice.\n"
    assert not is_logged_in(alice)
    assert only_audited(gateway, "sessions_ended")["client"] == "unix socket"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "alice", "bob"],
        ["revoke"],
        ["revoke", "alice"],
        ["revoke", "--handle", "0" * 32],
        ["revoke", "--user", "alice", "--everybody"],
        ["revoke", "--handle", "0" * 32, "--everybody"],
        ["end"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert "Error: " in refused("sessions", *arguments, code=2)


# --- health -------------------------------------------------------------------------------------------


def test_health_is_a_line_and_an_exit_code(running: GatewayProcess, asked: str) -> None:
    assert ok("health", "-c", asked) == "ok\n"
    assert ok("health", "--ready", "-c", asked) == "ready\n"
    running.stop()
    assert "is the gateway running?" in refused("health", "-c", asked)


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]", "localhost"])
def test_a_listener_on_all_addresses_is_asked_on_loopback(
    running: GatewayProcess, tmp_path: Path, address: str
) -> None:
    asked = config_for(tmp_path, f"{address}:{running.admin_port}")
    assert ok("health", "-c", asked) == "ok\n"
    assert ok("sessions", "list", "-c", asked, "alice") == "alice has no session.\n"


@pytest.fixture
def fake() -> Iterator[tuple[int, list[bytes]]]:
    """Something else that listens: it answers each connection with what the list holds then."""
    answers: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.sendall(answers[0])

    thread = Thread(target=serve)
    thread.start()
    yield server.getsockname()[1], answers
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(PATIENCE)


def test_health_says_why_it_is_not_ready(fake: tuple[int, list[bytes]], tmp_path: Path) -> None:
    port, answers = fake
    answers.append(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\ndraining\n")
    assert refused("health", "--ready", "-c", config_for(tmp_path, f"127.0.0.1:{port}")) == "not ready: draining\n"


def test_health_shows_one_printable_line_of_what_something_says(fake: tuple[int, list[bytes]], tmp_path: Path) -> None:
    port, answers = fake
    answers.append(b"HTTP/1.1 500 Oops\r\n\r\n\x1b[2Jgone " + b"x" * 500 + b"\nmore\n")
    said = refused("health", "-c", config_for(tmp_path, f"127.0.0.1:{port}"))
    assert said.startswith("not well: \N{REPLACEMENT CHARACTER}[2Jgone xx")
    assert said.count("\n") == 1
    assert len(said) < 80


@pytest.mark.parametrize("body", [b"", b"ready\n", b"okay\n", b"<html>ok</html>", b"ok\nbut\n"])
def test_health_takes_only_the_gateways_own_answer_for_well(
    fake: tuple[int, list[bytes]], tmp_path: Path, body: bytes
) -> None:
    port, answers = fake
    answers.append(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert "does not answer as a gateway" in refused("health", "-c", config_for(tmp_path, f"127.0.0.1:{port}"))


def test_without_a_configuration_it_is_told_how_to_name_one(tmp_path: Path) -> None:
    for command in (["health"], ["sessions", "list", "alice"]):
        assert "name another with -c FILE" in refused(*command, "-c", str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nHos", b"\xff" * 99]
)
def test_something_else_that_listens_is_no_gateway(
    fake: tuple[int, list[bytes]], tmp_path: Path, answer: bytes
) -> None:
    port, answers = fake
    answers.append(answer)
    for command in (["health"], ["sessions", "list", "alice"], ["sessions", "revoke", "--everybody"]):
        assert "does not answer as a gateway" in refused(*command, "-c", config_for(tmp_path, f"127.0.0.1:{port}"))


def test_an_answer_that_is_no_json_is_no_gateway(fake: tuple[int, list[bytes]], tmp_path: Path) -> None:
    port, answers = fake
    answers.append(b"HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n404: Not Found")
    asked = config_for(tmp_path, f"127.0.0.1:{port}")
    assert "of this version" in refused("sessions", "list", "alice", "-c", asked)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (None, "admin_listen is null"),
        ("127.0.0.1:0", "has port 0"),
        ("unix:none.sock", "no such socket"),
        ("127.0.0.1", 'admin_listen: "127.0.0.1" is not an address to listen on'),
    ],
)
def test_where_nobody_can_be_asked_it_says_why(tmp_path: Path, address: str | None, reason: str) -> None:
    asked = config_for(tmp_path, address)
    for command in (["health"], ["sessions", "list", "alice"], ["sessions", "revoke", "--user", "alice"]):
        assert reason in refused(*command, "-c", asked)


def test_a_token_that_could_be_guessed_is_refused_unseen(tmp_path: Path) -> None:
    said = refused("sessions", "list", "alice", "-c", config_for(tmp_path, "127.0.0.1:1", "hunter2"))
    assert "admin_token: not a token" in said
    assert "hunter2" not in said


def test_a_health_check_imports_little_for_it_runs_every_few_seconds(tmp_path: Path) -> None:
    asked = config_for(tmp_path, "127.0.0.1:0", TOKEN)
    code = (
        "import sys; from gateway.cli import main\n"
        f"try: main(['health', '-c', {asked!r}])\n"
        "except SystemExit: print([m for m in ('pydantic', 'aiohttp', 'asyncio', 'http.client') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
    assert "port 0" in result.stderr
