"""Two gateways on one Redis: what programs and providers rely on holds on both, and Redis failing lets nobody in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import pytest

from tests.conftest import StartGateway
from tests.e2e.test_redis import config_of
from tests.support.fault_proxy import FaultProxy
from tests.support.gateway import Config, GatewayProcess, new_key
from tests.support.messages import Answer
from tests.support.program_site import api_key
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, FakeProvider
from tests.support.redis_server import Servers, through
from tests.support.upstream import RecorderUpstream
from tests.support.visitor import Visitor
from tests.support.waiting import wait_for

SEVERAL = 12
"""Requests that reach both workers of a gateway."""


def config(servers: Servers, recorder: RecorderUpstream, key: str, *ports: int, **session: object) -> Config:
    """Return what an operator writes, with API keys on the routes that need a session."""
    address = through(servers.address, *ports) if ports else servers.address
    found = config_of(address, recorder.url, key, **session)
    for route in found["routes"]:
        if route["name"] != "open":
            route["programs"] = ["api-key", "basic"]
    return found | {"workers": 2}


def call(gateway: GatewayProcess, key: str, path: str = "/x") -> Answer:
    return Visitor(gateway).get(path, {"Authorization": f"Bearer {key}"})


def statuses(gateway: GatewayProcess, key: str) -> set[int]:
    return {call(gateway, key).status for _ in range(SEVERAL)}


def is_over(gateway: GatewayProcess, key: str) -> bool:
    return statuses(gateway, key) == {401}


def is_unknown_for_now(answer: Answer) -> bool:
    return answer.status == 503 and int(answer.get("Retry-After") or 0) > 0


def credentials(gateway: GatewayProcess, kind: str, outcome: str) -> float:
    """Return how many verdicts of a kind were counted."""
    labels = re.escape(f'gateway_credentials_total{{kind="{kind}",outcome="{outcome}"}} ')
    (line,) = re.findall(rf"^{labels}(.+)$", gateway.admin("/metrics"), re.MULTILINE)
    return float(line)


@pytest.mark.parametrize("kind", ["single", "cluster", "tls"])
def test_a_key_works_on_both_hosts_until_it_is_revoked(
    kind: str, request: pytest.FixtureRequest, start_gateway: StartGateway, recorder: RecorderUpstream
) -> None:
    """Made with the configuration of either, and revoked with the other's; known to all workers or not."""
    both = config(request.getfixturevalue(f"redis_{kind}"), recorder, new_key())
    one, two = start_gateway(both), start_gateway(both)
    for here, there in ((one, two), (two, one)):
        key, kept = (api_key(here, "new", "--user", "alice", name) for name in ("ends", "stays"))
        for gateway in (here, there):
            assert statuses(gateway, key) == statuses(gateway, kept) == {200}
        assert recorder.last().get("X-Forwarded-User") == "alice"
        assert {entry["name"] for entry in json.loads(api_key(there, "list", "--json"))} >= {"ends", "stays"}
        assert api_key(there, "revoke", key) == 'Revoked "ends" of alice.'
        for gateway in (here, there):
            wait_for(partial(is_over, gateway, key), what="the key to be over")
            assert statuses(gateway, kept) == {200}
    assert not list(one.directory.glob("var/api-keys*"))
    # Verdicts are counted, not requests: of two keys each, by two workers at most, again after a revocation.
    assert 4 <= credentials(one, "api_key", "accepted") < 8 * SEVERAL
    assert credentials(one, "api_key", "refused") >= 2
    assert credentials(one, "api_key", "unavailable") == credentials(one, "basic", "accepted") == 0


@dataclass
class Stage:
    """A gateway that reaches Redis through a proxy, and one beside it that needs none."""

    gateway: GatewayProcess
    beside: GatewayProcess
    proxy: FaultProxy


@pytest.fixture
def proxy(redis_single: Servers) -> Iterator[FaultProxy]:
    with FaultProxy(redis_single.port) as found:
        yield found


@pytest.fixture
def stage(start_gateway: StartGateway, recorder: RecorderUpstream, redis_single: Servers, proxy: FaultProxy) -> Stage:
    key = new_key()
    beside = start_gateway(config(redis_single, recorder, key))
    return Stage(start_gateway(config(redis_single, recorder, key, proxy.port)), beside, proxy)


def test_without_redis_known_keys_go_on_for_the_grace_time_and_nothing_else_is_known(stage: Stage) -> None:
    """Neither let in nor called bad, with `Retry-After`; what was revoked meanwhile is over when Redis is back."""
    known, revoked = (api_key(stage.beside, "new", "--user", "alice", name) for name in ("known", "revoked"))
    for key in (known, revoked):
        assert call(stage.gateway, key).status == call(stage.gateway, key, "/strict").status == 200
    stage.proxy.vanish()
    wait_for(lambda: is_unknown_for_now(call(stage.gateway, known, "/strict")), what="the loss to be noticed")
    assert statuses(stage.gateway, known) == {200}
    new = api_key(stage.beside, "new", "--user", "alice", "new")
    assert call(stage.beside, new).status == 200
    assert all(is_unknown_for_now(call(stage.gateway, new)) for _ in range(SEVERAL))
    assert credentials(stage.gateway, "api_key", "unavailable") > 0
    api_key(stage.beside, "revoke", revoked)
    stage.proxy.heal()
    wait_for(lambda: statuses(stage.gateway, new) == {200}, what="Redis to be back")
    assert statuses(stage.gateway, revoked) == {401}
    assert call(stage.gateway, known, "/strict").status == 200


def test_without_a_grace_time_no_key_is_known_without_redis(
    start_gateway: StartGateway, recorder: RecorderUpstream, redis_single: Servers, proxy: FaultProxy
) -> None:
    """However well the workers knew it; the command says that Redis does not answer."""
    gateway = start_gateway(config(redis_single, recorder, new_key(), proxy.port, grace="0s"))
    key = api_key(gateway, "new", "--user", "alice", "x")
    assert statuses(gateway, key) == {200}
    proxy.vanish()
    wait_for(lambda: call(gateway, key).status != 200, what="the loss to be noticed")
    assert all(is_unknown_for_now(call(gateway, key)) for _ in range(SEVERAL))
    assert "Redis" in api_key(gateway, "list", code=1)
    proxy.heal()
    wait_for(lambda: statuses(gateway, key) == {200}, what="Redis to be back")


def test_keys_of_before_are_taken_over_into_redis(
    start_gateway: StartGateway, recorder: RecorderUpstream, redis_single: Servers
) -> None:
    """Until then they open nothing, and `list` says so; what was revoked never comes back."""
    in_redis = config(redis_single, recorder, new_key())
    gateway = start_gateway(in_redis | {"session": {"keys": in_redis["session"]["keys"]}})
    key, revoked = (api_key(gateway, "new", "--user", "alice", name) for name in ("kept", "revoked"))
    assert call(gateway, key).status == 200
    gateway.stop()
    gateway.write_config(in_redis)
    gateway.start()
    assert any("api-keys.sqlite open nothing" in line for line in gateway.stderr)
    assert call(gateway, key).status == 401
    assert api_key(gateway, "list") == "There are no API keys."
    assert api_key(gateway, "revoke", revoked) == 'Revoked "revoked" of alice.'
    assert api_key(gateway, "import") == "Took over 1 API key."
    wait_for(lambda: statuses(gateway, key) == {200}, what="the key to be known")
    (entry,) = json.loads(api_key(gateway, "list", "--json"))
    assert (entry["name"], entry["last_used"] is None) == ("kept", False)
    assert not list(gateway.directory.glob("var/api-keys*"))
    assert api_key(gateway, "import", code=1) == "there is nothing to take over"


def test_a_logout_token_is_good_once_on_all_hosts(
    start_gateway: StartGateway, recorder: RecorderUpstream, redis_single: Servers
) -> None:
    with FakeProvider() as provider:
        both = config(redis_single, recorder, new_key())
        entry = {"id": "sso", "issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        both["login"] = {**both["login"], "oidc": [entry]}
        one, two = start_gateway(both), start_gateway(both)
        for first, second in ((one, two), (two, one)):
            token = provider.logout_token()
            assert [tell(gateway, token) for gateway in (first, second, first)] == [200, 400, 400]


def tell(gateway: GatewayProcess, token: str) -> int:
    body = urlencode({"logout_token": token}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    path = "/_gateway/oidc/sso/backchannel-logout"
    return Visitor(gateway, host="localhost").request("POST", path, headers, body).status
