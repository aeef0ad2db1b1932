"""API keys at the running gateway, and what stays open with one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest

from tests.conftest import StartGateway
from tests.support.clock import SetClock
from tests.support.oidc_site import audited
from tests.support.program_site import Programs, api_key, program_site
from tests.support.programs import basic
from tests.support.users import ALICE, BOB, EVERYBODY
from tests.support.visitor import PAGE
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with program_site(tmp_path_factory.mktemp("programs")) as site:
        yield site


def test_an_api_key_calls_as_its_user_until_it_is_revoked(programs: Programs) -> None:
    """It is shown once, works at once, is no more than a hash on disk, and is over a second after its revocation."""
    key = api_key(programs.gateway, "new", "--user", "alice", "--group", "wiki", "a robot")
    assert programs.user("/keys", f"Bearer {key}") == "alice"
    seen = programs.app.last()
    assert (seen.get("X-Forwarded-Groups"), seen.get_all("Authorization")) == ("wiki", [])
    state = programs.gateway.directory / "var"
    secret = key.rpartition("_")[2]
    assert all(secret.encode() not in file.read_bytes() for file in state.iterdir())
    (entry,) = [
        entry for entry in json.loads(api_key(programs.gateway, "list", "--json")) if entry["name"] == "a robot"
    ]
    assert entry["user"] == "alice"
    assert key not in api_key(programs.gateway, "list")
    assert api_key(programs.gateway, "revoke", key) == 'Revoked "a robot" of alice.'
    wait_for(lambda: programs.get("/keys", f"Bearer {key}").status == 401, what="the key to be over")
    for event in ("api_key_made", "api_key_revoked"):
        lines = wait_for(partial(audited, programs.gateway, event), what="the log")
        assert {line["user"] for line in lines} == {"alice"}


@pytest.mark.parametrize("target", [">/dev/full", ">&-", "| :"])
def test_a_key_that_nobody_has_seen_is_not_kept(programs: Programs, target: str) -> None:
    command = f"{sys.executable} -m gateway api-key new -c {programs.gateway.config_file} --user alice unseen"
    script = f"set -o pipefail; {{ sleep 0.5; {command}; }} {target}"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done
    assert "unseen" not in api_key(programs.gateway, "list")
    assert [line["reason"].endswith(" unseen") for line in audited(programs.gateway, "api_key_revoked")][-1]


def test_an_api_key_is_for_its_routes_and_its_time(
    programs: Programs, start_gateway: StartGateway, clock: SetClock
) -> None:
    site = programs.at(start_gateway(programs.gateway.config, env=clock.env))
    key = api_key(site.gateway, "new", "--user", "alice", "--route", "keys", "--expires", "1h", "short")
    assert site.user("/keys", f"Bearer {key}") == "alice"
    assert site.get("/app", f"Bearer {key}").status == 403
    assert site.get("/tokens", f"Bearer {key}").status == 401
    clock.jump(site.gateway, timedelta(minutes=55))
    assert site.user("/keys", f"Bearer {key}") == "alice"
    clock.jump(site.gateway, timedelta(minutes=65))
    wait_for(lambda: site.get("/keys", f"Bearer {key}").status == 401, what="the key to expire")


def test_a_key_that_could_never_work_is_not_made(programs: Programs) -> None:
    said = api_key(programs.gateway, "new", "--user", "nobody", "--route", "plain", "x", code=1)
    assert 'there is no local user "nobody"' in said
    assert '"plain" does not accept API keys' in said
    assert 'not in the group "admins"' in api_key(
        programs.gateway, "new", "--user", "alice", "--group", "admins", "x", code=1
    )
    assert api_key(programs.gateway, "revoke", "000000000000", code=1) == "there is no API key 000000000000"


def test_credentials_of_a_user_who_is_disabled_are_over(programs: Programs, start_gateway: StartGateway) -> None:
    """The password and the keys, when the users file is read again, remembered or not."""
    gateway = start_gateway(programs.gateway.config)
    key = api_key(gateway, "new", "--user", "bob", "--expires", "never", "bob's")
    site = programs.at(gateway)
    assert site.user("/app", basic(BOB)) == site.user("/keys", f"Bearer {key}") == "bob"
    gateway.write_users([user for user in EVERYBODY if user is not BOB])
    wait_for(lambda: site.get("/app", basic(BOB)).status == 401, what="the password to be over")
    assert site.get("/keys", f"Bearer {key}").status == 401
    assert site.user("/app", basic(ALICE)) == "alice"


def test_last_use_is_kept_across_a_restart(programs: Programs, start_gateway: StartGateway) -> None:
    gateway = start_gateway(programs.gateway.config)
    key = api_key(gateway, "new", "--user", "bob", "used")
    assert programs.at(gateway).user("/keys", f"Bearer {key}") == "bob"
    gateway.restart()
    (entry,) = json.loads(api_key(gateway, "list", "--json"))
    assert entry["last_used"] is not None
    assert programs.at(gateway).user("/keys", f"Bearer {key}") == "bob"


def test_a_stream_ends_when_its_key_is_revoked(programs: Programs) -> None:
    """Within 5 s, as it does for a session; another one goes on."""
    keys = [api_key(programs.gateway, "new", "--user", "alice", name) for name in ("ends", "stays")]
    upgrade = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    clients = []
    for key in keys:
        client = programs.gateway.connect()
        host = programs.gateway.authority
        client.send(f"GET /ws/echo HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n{upgrade}\r\n")
        assert client.answer().status == 101
        clients.append(client)
    api_key(programs.gateway, "revoke", keys[0])
    assert clients[0].is_closed()
    assert clients[1].is_quiet()
    for client in clients:
        client.close()


def test_navigations_with_a_refused_credential_get_a_page(programs: Programs) -> None:
    answer = programs.get("/app", basic(ALICE, "wrong"), Accept=PAGE["Accept"])
    assert answer.status == 401
    assert "text/html" in (answer.get("Content-Type") or "")
