"""The case of forward auth runs real programs: nginx by the block of the docs, the gateway, perhaps oauth2-proxy."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bench import forward_auth, upstream
from bench.contestants import nginx_asking, oauth2_proxy, ours
from bench.forward_auth import ASKED, ASKS_OURS, BARE, FORWARD_AUTH, OAUTH2_PROXY, PROXIED, VERIFY
from bench.load import Wrk
from bench.process import BenchError, free_port
from bench.rows import of
from bench.stage import BROWSER, PAGE, QUICK, Stage, cookies
from bench.tokens import renewed
from tests.support.tools import tool

CORE = max(os.sched_getaffinity(0))


def status(port: int, path: str, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage for one round on whatever core there is, with a gateway that need not be compiled and one login."""
    tool("wrk")
    tool("nginx", package="nginx-light")
    interpreted = partial(ours.Setup, compiled=False)
    monkeypatch.setattr(forward_auth, "Setup", interpreted)
    with upstream.running(tmp_path / "upstream", CORE) as behind:
        scene = ours.prepare(tmp_path / "ours", CORE, behind.port, behind.sink_port)
        with ours.running(scene, "ours-login", interpreted()) as gateway:
            token = renewed(scene.key, ours.session_token(gateway))
        headers = {**BROWSER, "Cookie": cookies(token)}
        plan = replace(QUICK, seconds=1, flat_rounds=1)
        yield Stage(tmp_path, CORE, CORE, plan, Wrk(CORE, headers), behind, scene, headers)


def test_nginx_asks_about_every_request_and_asking_alone_is_measured(stage: Stage) -> None:
    """Every request was let in, for the load generator counts what is refused as an error; each case has its rows."""
    forward_auth.forward_auth(stage, ("nginx", "ours"))
    for case, variant in ((FORWARD_AUTH, BARE), (FORWARD_AUTH, ASKS_OURS), (VERIFY, PROXIED), (VERIFY, ASKED)):
        (row,) = of(stage.rows, case, variant)
        assert row.load.requests > 0
        assert row.cpu.total > 0
    log = stage.scene.directory / "ours-forward-auth" / "access.log" if stage.scene else Path()
    lines = log.read_text(encoding="utf-8").splitlines()
    (row,) = of(stage.rows, FORWARD_AUTH, ASKS_OURS)
    asked = [line for line in lines if PAGE.partition("?")[0] in line]
    assert len(asked) >= row.load.requests
    assert all('"status":200' in line for line in asked)


def test_who_is_not_logged_in_does_not_get_through(stage: Stage) -> None:
    """Else the benchmark would measure an nginx that does not ask."""
    assert stage.scene
    port = free_port()
    with ours.running(stage.scene, "ours-asked", forward_auth.asked_by(port)) as gateway:
        servers = nginx_asking.by_the_docs(port, gateway.port)
        behind, process = stage.upstream.port, gateway.process
        with nginx_asking.running(
            stage.directory / "asking", CORE, port, behind, servers, process, "/_gateway/login"
        ) as both:
            assert both.pids()[1] == process.pid
            assert status(port, PAGE, BROWSER) == 401
            assert status(port, PAGE, stage.headers) == 200
            assert status(port, forward_auth.VERIFY_PATH, stage.headers) == 404


def test_oauth2_proxy_is_left_out_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    stage = Stage(tmp_path, CORE, CORE, QUICK, Wrk(CORE, BROWSER), upstream.Upstream(1, 1), None, BROWSER)
    forward_auth.forward_auth(stage, ("ours", OAUTH2_PROXY))
    assert stage.left_out == ["nginx asking oauth2-proxy: no oauth2-proxy on the path"]
    assert not stage.rows
    assert oauth2_proxy.versions() == {}


def test_a_block_of_the_docs_that_has_another_shape_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be measured with addresses that are not here."""
    docs = tmp_path / "forward-auth.md"
    docs.write_text(nginx_asking.DOCS.read_text(encoding="utf-8").replace("listen 443 ssl;", "listen 80;"))
    monkeypatch.setattr(nginx_asking, "DOCS", docs)
    with pytest.raises(BenchError, match="has no `listen 443 ssl;`"):
        nginx_asking.by_the_docs(1, 2)
