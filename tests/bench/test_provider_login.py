"""The benchmark's visitor logs in at a real provider, and comes back with the cookies of a session."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

from bench import issuer, provider
from bench.contestants import ours
from bench.contestants.login import COOKIE, Form
from bench.contestants.provider_login import Visitor, log_in_there, site
from bench.logged_in import accepting, signing
from bench.process import BenchError
from gateway.settings.load import load_settings
from tests.conftest import StartGateway
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.ports import free_port
from tests.support.upstream import RecorderUpstream


def gateway_at(start: StartGateway, app: RecorderUpstream, port: int, client: provider.Client) -> GatewayProcess:
    config = gateway_config(route("app", "/", app.url), **ours.login_at(client))
    return start({**config, "listen": f"127.0.0.1:{port}", "public_url": f"http://127.0.0.1:{port}"})


def test_a_login_yields_the_cookies_of_a_session(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    port = free_port()
    with provider.running([f"http://127.0.0.1:{port}{ours.CALLBACK}"]) as client:
        gateway_at(start_gateway, recorder, port, client)
        found = log_in_there(f"http://127.0.0.1:{port}{ours.START}")
        again = log_in_there(f"http://127.0.0.1:{port}{ours.START}")
    assert found[COOKIE] != again[COOKIE]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/_gateway/me", headers={"Cookie": "; ".join(f"{k}={v}" for k, v in found.items())})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert answer.status == 200
    assert said["email"] == "alice@example.com"


def test_a_login_that_ends_elsewhere_is_an_error_that_says_where(
    start_gateway: StartGateway, recorder: RecorderUpstream
) -> None:
    """The provider does not know this callback, and says so on a page of its own."""
    port = free_port()
    with provider.running(["http://127.0.0.1:1/elsewhere"]) as client:
        gateway_at(start_gateway, recorder, port, client)
        with pytest.raises(BenchError, match=f"ended at {client.issuer}.* with 400"):
            log_in_there(f"http://127.0.0.1:{port}{ours.START}")


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(BenchError, match="failed"):
        log_in_there(f"http://127.0.0.1:{free_port()}/")


def test_cookies_are_kept_by_site_and_given_back_without_a_value() -> None:
    visitor = Visitor()
    jar = visitor.cookies("http://127.0.0.1:1/a")
    visitor._keep(jar, ["a=1; Path=/", "b=2", "c=3"])
    visitor._keep(jar, ["a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "b=4; Max-Age=0"])
    assert visitor.cookies("http://127.0.0.1:1/b") == {"c": "3"}
    assert visitor.cookies("http://127.0.0.1:2/a") == {}
    assert site("http://127.0.0.1:1/a?b#c") == "http://127.0.0.1:1"


def test_a_form_knows_its_inputs_and_where_it_goes() -> None:
    form = Form('<form action="/there" method="post"><input name="login"><input name="prompt" value="login"></form>')
    assert form.action == "/there"
    assert form.fields == {"login": "", "prompt": "login"}


def test_the_settings_of_every_case_are_good_ones(tmp_path: Path) -> None:
    client = provider.Client("http://127.0.0.1:1234", "gateway", "a: secret", ("openid",))
    scene = ours.prepare(tmp_path / "scene", 0, 81, 82)
    setups = [ours.Setup(settings=ours.login_at(client), port=8090), accepting("http://127.0.0.1:1234"), signing()]
    for setup in setups:
        file = ours.write_config(scene, tmp_path, setup)
        assert load_settings(file, {"BENCH_KEY": scene.key}).routes


def test_the_published_key_is_public(tmp_path: Path) -> None:
    key = issuer.publish_key(tmp_path)
    (published,) = json.loads((tmp_path / issuer.FILE).read_text())["keys"]
    assert published["kid"] == key.kid
    assert not {"d", "p", "q"} & set(published)
    assert issuer.bearer_token(key, "http://127.0.0.1:1", "alice").count(".") == 2
