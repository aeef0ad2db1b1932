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
        route("jenkins", "/job", app.url, public=True, encoded_slashes="pass"),
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


ESCAPED_AGAIN = [
    "/job/app/job/feature%252Flogin/",
    "/job/app/job/feature%252flogin%2Fx/",
    "/job/app%255Cb",
    "/f/100%2525.pdf",
    "/f/100%25252525.pdf",
    "/f/feature%252Flogin",
    "/f/a%255Cb",
    "/f/a%25252Fb",
    "/f/100%25usd",
    "/f/x?y=%252F..%252F",
]


@pytest.mark.parametrize("target", ESCAPED_AGAIN)
def test_what_is_escaped_again_passes_where_it_leads_to_one_place(
    gateway: GatewayProcess, app: RecorderUpstream, target: str
) -> None:
    """Jenkins' own links, and names with a percent sign: on any route, to the letter."""
    assert Visitor(gateway).get(target).status == 200
    assert app.last().target == target


LEADS_ELSEWHERE = [
    "/%252561dmin",
    "/x/..%252fadmin",
    "/job%252Fx",
    "/job%25252Fx",
    "/job%255Cx",
    "/admin%252Fx",
    "/admin%253Fx",
    "/%25u0061dmin",
    "/adm%25C4%25B1n",
    "/_gateway%252Flogin",
    "/job/%252e%252e/admin",
    "/job/a%252F..%252Fadmin",
    "/job/%25252e%25252e%252fadmin",
    "/f/%25c0%25ae%25c0%25ae/admin",
    "/f/a%250d%250aX:y",
    "/f/a%252500",
    "/f/%25u002e%25u002e/admin",
    "/f/" + "%25" + "25" * 60 + "2Fx",
]


@pytest.mark.parametrize("target", LEADS_ELSEWHERE)
def test_what_is_escaped_again_is_refused_where_it_leads_elsewhere(
    gateway: GatewayProcess, app: RecorderUpstream, target: str
) -> None:
    """So are dot segments and control characters at any depth, on any route."""
    before = len(app.requests)
    assert Visitor(gateway).get(target).status == 400
    assert len(app.requests) == before


@pytest.mark.parametrize("target", ["/f/a%2Fb", "/f/a%5Cb", "/f/a%2F%252Fb"])
def test_an_encoded_slash_itself_needs_a_route_that_passes_it(gateway: GatewayProcess, target: str) -> None:
    """What is escaped once is not what is escaped twice."""
    assert Visitor(gateway).get(target).status == 400
    assert Visitor(gateway).get(target.replace("/f/", "/job/")).status == 200
