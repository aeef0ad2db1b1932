"""Session keys that change, or are wrong: nobody is logged out by a good one, nothing starts with a bad one."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.support.clock import SetClock
from tests.support.gateway import Config, GatewayProcess, gateway_config, new_key, route
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import PAGE, Visitor, form_fields, logged_in
from tests.support.waiting import wait_for


def with_keys(config: Config, *keys: str) -> Config:
    """Return the configuration with other session keys."""
    return {**config, "session": {**config["session"], "keys": list(keys)}}


def key_id(visitor: Visitor) -> bytes:
    """Return the id of the key that sealed a visitor's session (the first four bytes of the token)."""
    token = visitor.session_pair()[1].removeprefix("v1.")
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[:4]


def seals_with(gateway: GatewayProcess) -> bytes:
    """Return the id of the key that seals a new session."""
    return key_id(logged_in(gateway, ALICE))


def is_known(visitor: Visitor) -> bool:
    """Tell whether the gateway knows the visitor, who keeps the cookie that is there."""
    copy = Visitor(visitor.gateway)
    copy.cookies = dict(visitor.cookies)
    return copy.get("/_gateway/me", {"Accept": "application/json"}).status == 200


def test_12_key_rotation_by_reload(start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock) -> None:
    """A new first key seals from then on, old sessions go on and are sealed anew; a removed key means a login."""
    old, new = new_key(), new_key()
    config = with_keys(gateway_config(route("app", "/", recorder.url)), old)
    gateway = start_gateway(config, env=clock.env)
    alice, second = logged_in(gateway, ALICE), logged_in(gateway, ALICE)
    old_id = key_id(alice)

    gateway.reload(with_keys(config, new, old))
    wait_for(lambda: seals_with(gateway) != old_id, what="the reload")
    assert is_known(alice)
    assert is_known(second)

    clock.jump(gateway, timedelta(minutes=15))
    assert alice.get("/x").status == 200
    assert key_id(alice) != old_id, "sealed anew at the next renewal"

    gateway.reload(with_keys(config, new))
    wait_for(lambda: not is_known(second), what="the old key to be gone")
    answer = second.get("/x", PAGE)
    assert answer.status == 302
    assert "/_gateway/login" in (answer.get("Location") or "")
    assert is_known(alice)
    assert second.login(ALICE).status == 303


def test_12_open_login_form_survives_a_rotation(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A login form that was open when a new first key came still works while the old key is listed."""
    old, new = new_key(), new_key()
    config = with_keys(gateway_config(route("app", "/", recorder.url)), old)
    gateway = start_gateway(config)
    old_id = key_id(logged_in(gateway, ALICE))
    visitor = Visitor(gateway)
    token = form_fields(visitor.get("/_gateway/login", PAGE).text())["csrf_token"]
    gateway.reload(with_keys(config, new, old))
    wait_for(lambda: seals_with(gateway) != old_id, what="the reload")
    form = {"username": ALICE.user, "password": ALICE.password, "next": "/", "csrf_token": token}
    assert visitor.post("/_gateway/login", form).status == 303


BAD_KEYS = {
    "short": "c2hvcnQ",
    "not base64url": "!" * 43,
    "empty": "",
    "absent file": "${file:/nonexistent/key}",
    "absent variable": "${GATEWAY_KEY_THAT_IS_NOT_SET}",
    "too long": "A" * 100,
}


@pytest.mark.parametrize("fault", BAD_KEYS)
def test_13_bad_key_at_start(tmp_path: Path, fault: str) -> None:
    """A wrong, short or absent key refuses the start with exit code 1, the place, and the command that makes one."""
    config = with_keys(gateway_config(route("app", "/", "http://127.0.0.1:9")), BAD_KEYS[fault])
    gateway = GatewayProcess(tmp_path, config)
    gateway.launch()
    assert gateway.wait() == 1
    text = gateway.errors()
    assert "Traceback" not in text
    assert "session.keys" in text
    assert "gateway.yaml:" in text
    assert "new-key" in text
    assert BAD_KEYS[fault] not in text or fault not in ("short", "too long"), "a key is a secret even when it is bad"


def test_13_no_keys_at_start(tmp_path: Path) -> None:
    """Without any key the start is refused with the command that makes one."""
    config = gateway_config(route("app", "/", "http://127.0.0.1:9"))
    del config["session"]["keys"]
    gateway = GatewayProcess(tmp_path, config)
    gateway.launch()
    assert gateway.wait() == 1
    assert "new-key" in gateway.errors()
    assert "Traceback" not in gateway.errors()


@pytest.mark.parametrize("fault", ["short", "absent file"])
def test_13_bad_key_at_reload(start_gateway: StartGateway, recorder: RecorderUpstream, fault: str) -> None:
    """A reload with a bad key keeps what ran before, and says why."""
    config = gateway_config(route("app", "/", recorder.url))
    gateway = start_gateway(config)
    alice = logged_in(gateway, ALICE)
    lines = len(gateway.stderr)
    gateway.reload(with_keys(config, BAD_KEYS[fault]))
    wait_for(lambda: any("session.keys" in line for line in gateway.stderr[lines:]), what="the problem to be named")
    assert gateway.is_alive()
    assert is_known(alice)
    assert alice.get("/x").status == 200
    assert logged_in(gateway, ALICE).get("/x").status == 200


def test_13_broken_yaml_at_reload(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A reload of a file that is no YAML keeps what ran before, and says where it breaks."""
    gateway = start_gateway(gateway_config(route("app", "/", recorder.url)))
    alice = logged_in(gateway, ALICE)
    lines = len(gateway.stderr)
    good = gateway.config
    gateway.config_file.write_text("routes: [\n  - {")
    gateway.reload_as_it_is()
    wait_for(lambda: any("gateway.yaml:" in line for line in gateway.stderr[lines:]), what="the problem to be named")
    assert alice.get("/x").status == 200
    gateway.write_config(good)
