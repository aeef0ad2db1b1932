"""The signed identity of the running program: who gets a token, what it says, which keys stand behind it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from gateway_verify import Identity, NotVerified, Verifier
from gateway_verify.token import parse

from tests.conftest import StartGateway
from tests.support.gateway import Config, GatewayProcess, gateway_config, new_key, route
from tests.support.messages import Answer
from tests.support.oidc_site import only_audited
from tests.support.redis_server import Servers, session_part
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB
from tests.support.visitor import Visitor, logged_in
from tests.support.waiting import wait_for

HEADER = "X-Identity-Token"
HALF = 2.5
"""Seconds, at least, of half the life of a token that is good for 6 s: its claims are whole seconds."""
ISSUER = "http://localhost"
SPELLINGS = ("X-Identity-Token", "x-identity-token", "X_Identity_Token", "X-Identity.Token", "X_IDENTITY_TOKEN")


def config_for(recorder: RecorderUpstream, *, token: dict[str, object] | None = None, **more: object) -> Config:
    """Return a configuration with signed identities and a few routes."""
    return gateway_config(
        route("wiki", "/wiki", recorder.url),
        route("shop", "/shop", recorder.url, token="https://shop.example.com"),
        route("plain", "/plain", recorder.url, token=False),
        route("open", "/open", recorder.url, public=True),
        **{"identity": {"token": token or {}}, **more},
    )


def verifier_of(gateway: GatewayProcess, audience: str = "wiki", leeway: float = 0.5) -> Verifier:
    url = f"http://127.0.0.1:{gateway.port}/_gateway/jwks.json"
    return Verifier(ISSUER, audience, jwks_url=url, leeway=leeway, cool_down=0.1)


def token_of(visitor: Visitor, recorder: RecorderUpstream, path: str = "/wiki/x") -> str:
    """Return what an app gets with a request."""
    assert visitor.get(path).status == 200
    token = recorder.last().get(HEADER)
    assert token
    return token


def jwks(gateway: GatewayProcess) -> list[dict[str, Any]]:
    answer = Visitor(gateway).get("/_gateway/jwks.json")
    assert answer.status == 200
    found: list[dict[str, Any]] = json.loads(answer.body)["keys"]
    return found


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_an_app_can_prove_who_asks(start_gateway: StartGateway, recorder: RecorderUpstream, algorithm: str) -> None:
    gateway = start_gateway(config_for(recorder, token={"algorithm": algorithm}))
    alice = logged_in(gateway, ALICE)
    identity = verifier_of(gateway).verify(token_of(alice, recorder))
    assert (identity.user, identity.name, identity.email) == (ALICE.user, ALICE.name, ALICE.email)
    assert identity.groups == ALICE.groups
    assert identity.session == only_audited(gateway, "login")["session"]
    assert recorder.last().get("X-Forwarded-User") == ALICE.user, "the other headers are there too"


def test_each_route_has_an_audience_of_its_own(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """What one app has got, as a leaked or curious one, is refused by all others."""
    gateway = start_gateway(config_for(recorder))
    alice = logged_in(gateway, ALICE)
    wiki, shop = token_of(alice, recorder), token_of(alice, recorder, "/shop/x")
    assert verifier_of(gateway, "https://shop.example.com").verify(shop).user == ALICE.user
    for token, audience in ((shop, "wiki"), (shop, "shop"), (wiki, "https://shop.example.com")):
        with pytest.raises(NotVerified, match="another audience"):
            verifier_of(gateway, audience).verify(token)
    assert alice.get("/plain/x").status == 200
    assert recorder.last().get(HEADER) is None


@pytest.mark.parametrize("path", ["/wiki/x", "/plain/x", "/open/x"])
@pytest.mark.parametrize("header", [HEADER, "X-Proof"])
def test_a_client_cannot_send_a_token(
    start_gateway: StartGateway, recorder: RecorderUpstream, path: str, header: str
) -> None:
    """Not even a good one of another session, in no spelling; with a header of another name neither."""
    gateway = start_gateway(config_for(recorder, token={"header": header}))
    bob, alice = logged_in(gateway, BOB), logged_in(gateway, ALICE)
    assert bob.get("/wiki/x").status == 200
    stolen = recorder.last().get(header)
    assert stolen
    for spelling in {*SPELLINGS, header, header.replace("-", "_"), header.lower()}:
        for visitor in (alice, Visitor(gateway)):
            visitor.get(path, {spelling: stolen, "Connection": f"{spelling}, {header}"})
            assert stolen.encode() not in recorder.last().head


def test_without_a_session_there_is_no_token(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_gateway(config_for(recorder))
    assert Visitor(gateway).get("/open/x").status == 200
    assert recorder.last().get(HEADER) is None
    assert token_of(logged_in(gateway, ALICE), recorder, "/open/x")


def test_a_token_is_not_made_for_each_request(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Once per session and route, and again when half of its life is over."""
    gateway = start_gateway(config_for(recorder, token={"lifetime": "6s"}))
    alice = logged_in(gateway, ALICE)
    first = token_of(alice, recorder)
    began = time.monotonic()
    made = {token_of(alice, recorder) for _ in range(20)}
    assert len(made) <= 2 + (time.monotonic() - began) / HALF
    assert token_of(alice, recorder, "/open/x") != first
    assert token_of(logged_in(gateway, ALICE), recorder) != first
    later = wait_for(lambda: (found := token_of(alice, recorder)) != first and found, what="another token")
    before, after = verify_payload(first), verify_payload(str(later))
    assert after["iat"] - before["iat"] >= int(HALF)
    assert verifier_of(gateway).verify(str(later)).user == ALICE.user


def verify_payload(token: str) -> dict[str, Any]:
    """Return what a token says, without a look at its signature."""
    found: dict[str, Any] = json.loads(parse(token).payload)
    return found


def test_tokens_run_out_with_the_session(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    config = config_for(recorder)
    config["session"]["lifetime"] = "20s"
    gateway = start_gateway(config)
    claims = verify_payload(token_of(logged_in(gateway, ALICE), recorder))
    assert claims["exp"] - claims["iat"] <= 20


def test_after_a_logout_no_more_tokens_are_given(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_gateway(config_for(recorder))
    alice = logged_in(gateway, ALICE)
    token_of(alice, recorder)
    cookies = dict(alice.cookies)
    alice.logout()
    alice.cookies = cookies
    seen = len(recorder.requests)
    assert alice.get("/wiki/x").status == 401
    assert alice.get("/open/x").status == 200
    assert [request.get(HEADER) for request in recorder.requests[seen:]] == [None]


def test_the_keys_are_public_and_may_be_cached(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_gateway(config_for(recorder))
    answer = Visitor(gateway).get("/_gateway/jwks.json")
    assert answer.status == 200
    assert answer.get("Content-Type") == "application/jwk-set+json"
    assert answer.get("Cache-Control") == "public, max-age=3600"
    assert answer.get_all("Set-Cookie") == []
    assert b'"d"' not in answer.body
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        refused = Visitor(gateway).request(method, "/_gateway/jwks.json")
        assert refused.status == 405, method


def test_there_are_no_keys_where_nothing_is_signed(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_gateway(gateway_config(route("wiki", "/wiki", recorder.url)))
    assert Visitor(gateway).get("/_gateway/jwks.json").status == 404
    assert logged_in(gateway, ALICE).get("/wiki/x").status == 200
    assert recorder.last().get(HEADER) is None


def test_nobody_goes_without_his_token(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """While there is no key, requests with a session get 503; the rest is served; it comes back by itself."""
    gateway = start_gateway(config_for(recorder))
    keys = gateway.directory / "var/signing-keys"
    alice = logged_in(gateway, ALICE)
    gateway.stop()
    keys.unlink()
    keys.mkdir()
    gateway.start()
    wait_for(lambda: "signing keys cannot be used" in gateway.errors(), what="the problem to be named")
    answer = alice.get("/wiki/x")
    assert (answer.status, answer.get("Retry-After")) == (503, "5")
    assert alice.get("/open/x").status == 503
    assert Visitor(gateway).get("/open/x").status == alice.get("/plain/x").status == 200
    assert Visitor(gateway).get("/_gateway/jwks.json").status == 503
    keys.rmdir()
    wait_for(lambda: alice.get("/wiki/x").status == 200, what="keys")
    assert verifier_of(gateway).verify(token_of(alice, recorder)).user == ALICE.user


def test_restart_and_reload_keep_the_keys(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_gateway(config_for(recorder))
    keys = jwks(gateway)
    token = token_of(logged_in(gateway, ALICE), recorder)
    gateway.restart()
    assert jwks(gateway) == keys
    assert verifier_of(gateway).verify(token).user == ALICE.user
    gateway.reload({**gateway.config, "identity": {"headers": {"X-User": "{user}"}, "token": {"lifetime": "1m"}}})
    wait_for(lambda: "configuration reloaded" in gateway.errors())
    assert jwks(gateway) == keys
    again = verifier_of(gateway).verify(token_of(logged_in(gateway, ALICE), recorder))
    assert again.expires - again.issued == 60


def test_another_algorithm_after_a_reload_does_not_surprise_verifiers(
    start_gateway: StartGateway, recorder: RecorderUpstream
) -> None:
    """Its key is published at once, and signs only when every cache has it."""
    gateway = start_gateway(config_for(recorder))
    verifier = verifier_of(gateway)
    alice = logged_in(gateway, ALICE)
    verifier.verify(token_of(alice, recorder))
    gateway.reload(config_for(recorder, token={"algorithm": "EdDSA"}, session=gateway.config["session"]))
    wait_for(lambda: "configuration reloaded" in gateway.errors())
    assert {key["alg"] for key in jwks(gateway)} == {"ES256", "EdDSA"}
    assert verifier.verify(token_of(alice, recorder)).user == ALICE.user


def test_keys_rotate_and_no_token_is_ever_refused(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """One verifier with its cache follows three keys; every token that an app gets is good when it comes."""
    gateway = start_gateway(config_for(recorder, token={"lifetime": "2s", "rotate": "4s"}, workers=2))
    verifier = verifier_of(gateway, leeway=10.0)
    alice = logged_in(gateway, ALICE)
    signed_by: set[str] = set()

    def three_keys() -> bool:
        token = token_of(alice, recorder)
        assert verifier.verify(token).user == ALICE.user
        signed_by.add(parse(token).kid)
        return len(signed_by) >= 3

    wait_for(three_keys, 60, "three keys")
    assert signed_by <= {key["kid"] for key in jwks(gateway)}


def test_all_workers_sign_with_the_same_keys(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_gateway(config_for(recorder, workers=2))
    alice = logged_in(gateway, ALICE)
    tokens: set[str] = set()

    def both() -> bool:
        tokens.add(token_of(alice, recorder))
        return len(tokens) >= 2

    wait_for(both, what="a token of each worker")
    assert len({parse(token).kid for token in tokens}) == len(jwks(gateway)) == 1
    assert len(tokens) == 2, "and each makes one"
    verifier = verifier_of(gateway)
    assert {verifier.verify(token).user for token in tokens} == {ALICE.user}


def test_a_worker_that_replaces_a_dead_one_has_the_keys(
    start_gateway: StartGateway, recorder: RecorderUpstream
) -> None:
    gateway = start_gateway(config_for(recorder))
    alice = logged_in(gateway, ALICE)
    before = parse(token_of(alice, recorder)).kid
    dead = gateway.pids()[1]
    os.kill(dead, signal.SIGKILL)

    def answered() -> Answer | None:
        try:
            return alice.get("/wiki/again")
        except (OSError, AssertionError):
            return None

    wait_for(lambda: dead not in gateway.pids() and len(gateway.pids()) == 2 and answered(), what="another worker")
    assert parse(token_of(alice, recorder)).kid == before


def test_forward_auth_carries_the_token(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_gateway(config_for(recorder, forward_auth={"from": ["127.0.0.1"]}))
    alice = logged_in(gateway, ALICE)
    original = {"X-Forwarded-Method": "GET", "X-Forwarded-Host": "localhost", "X-Forwarded-Uri": "/wiki/x"}
    answer = alice.get("/_gateway/verify", original)
    assert answer.status == 200
    token = answer.get(HEADER)
    assert token
    assert verifier_of(gateway).verify(token).user == ALICE.user
    assert alice.get("/_gateway/verify", {**original, "X-Forwarded-Uri": "/plain/x"}).get(HEADER) == ""


def test_upstreams_cannot_send_a_token_to_browsers(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    gateway = start_gateway(config_for(recorder))
    recorder.answer = lambda request: (
        b"HTTP/1.1 200 OK\r\nX-Identity-Token: %b\r\nContent-Length: 0\r\n\r\n" % (request.get(HEADER) or "").encode()
    )
    answer = logged_in(gateway, ALICE).get("/wiki/x")
    assert answer.status == 200
    assert answer.get(HEADER) is None


def test_hosts_that_share_a_redis_share_the_keys(
    start_gateway: StartGateway, recorder: RecorderUpstream, redis_single: Servers
) -> None:
    """Two hosts start at once, each with a folder of its own; a token of one is verified with the keys of the other."""
    config = config_for(recorder)
    config["session"] = session_part(redis_single.address, new_key())
    one, two = start_gateway(config), start_gateway(config)
    wait_for(lambda: len(jwks_or_none(one)) == 1 and jwks_or_none(one) == jwks_or_none(two), what="the same keys")
    token = token_of(logged_in(one, ALICE), recorder)
    verified: Callable[[str], Identity] = verifier_of(two).verify
    assert verified(token).user == ALICE.user


def jwks_or_none(gateway: GatewayProcess) -> list[dict[str, Any]]:
    answer = Visitor(gateway).get("/_gateway/jwks.json")
    return list(json.loads(answer.body)["keys"]) if answer.status == 200 else []
