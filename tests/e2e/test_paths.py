"""Paths that several servers read differently: each reading is judged, and what leads to one place passes untouched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.upstream import RecorderUpstream
from tests.support.visitor import Visitor


@pytest.fixture(scope="module")
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with an open app, all but whose `/admin` anybody may see."""
    rules = [{"path": "/admin", "public": False, "allow": {"groups": ["admins"]}}]
    config = gateway_config(
        route("app", "/", app.url, public=True, rules=rules),
    )
    with GatewayProcess(tmp_path_factory.mktemp("paths"), config) as process:
        yield process


CASELESS = ["/adm%C4%B1n", "/adm%C4%B0n", "/ADM%C4%B0N/x", "/admi%CC%87n", "/adm%F0%9D%9A%A4n", "/adm%CD%8Fin"]


@pytest.mark.parametrize("target", CASELESS)
def test_what_a_caseless_server_takes_for_a_guarded_path_is_refused(
    gateway: GatewayProcess, app: RecorderUpstream, target: str
) -> None:
    """Dotless and dotted i are i to patterns like Django's ``(?i)``, as long s is s."""
    before = len(app.requests)
    assert Visitor(gateway).get(target).status == 400
    assert len(app.requests) == before


@pytest.mark.parametrize("target", ["/%C4%B1l%C4%B1k", "/wiki/%C4%B0zmir", "/f/%E2%9D%A4%EF%B8%8F"])
def test_other_paths_with_such_letters_pass(gateway: GatewayProcess, app: RecorderUpstream, target: str) -> None:
    """Turkish names, and signs that have a variant, lead to one place."""
    assert Visitor(gateway).get(target).status == 200
    assert app.last().target == target
