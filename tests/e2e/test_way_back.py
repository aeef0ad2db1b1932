"""The way back from a login: what is served to somebody with a session is where a browser without one arrives."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import PAGE, Visitor, logged_in

OTHER = "wiki.example.com"


@pytest.fixture(scope="module")
def app() -> Iterator[RecorderUpstream]:
    with RecorderUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(app: RecorderUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = gateway_config(
        route("root", "/", app.url, rules=[{"path": "/admin", "allow": {"groups": ["admins"]}}]),
        route("slashes", "/j", app.url, encoded_slashes="pass"),
        route("strip", "/strip", app.url, strip_prefix=True),
        route("wiki", "/", app.url, host=OTHER, encoded_slashes="pass"),
    )
    with GatewayProcess(tmp_path_factory.mktemp("way"), config) as process:
        yield process


SERVED = [
    "/p/100%25",
    "/p/100%2525.pdf",
    "/x//y",
    "/x///y//",
    "/x/a%252Fb",
    "/j/%2Fpath",
    "/j/a%5Cb%2f",
    "/j//%2F//",
    "/strip//a",
    "/x//y?a=//b&c=%2F",
    "/x?re=%5Cd+",
    "/x?re=\\d+[^/]*",
    "/x?100%",
    "/x?q=%zz|{a}",
    "/x/%C3%BC//%25",
]


@pytest.mark.parametrize("target", SERVED)
def test_a_browser_comes_back_to_what_it_asked_for(gateway: GatewayProcess, app: RecorderUpstream, target: str) -> None:
    """From the address, through the login page and its form, to the letter."""
    visitor = Visitor(gateway)
    turned = visitor.get(target, PAGE)
    assert turned.status == 302
    login = turned.get("Location") or ""
    (next_url,) = parse_qs(urlsplit(login).query)["next"]
    assert next_url == target
    assert visitor.login(ALICE, next_url=next_url).get("Location") == target
    assert visitor.get(target, PAGE).status == 200
    assert logged_in(gateway, ALICE).get(f"/_gateway/login?next={quote(target, safe='')}").get("Location") == target


@pytest.mark.parametrize(
    "target", ["/%2Fpath", "/j%2Fpath", "/x/%2F", "/x%00", "//x", "/x/..//y", "/x//admin/..", "/%2561dmin"]
)
def test_what_is_refused_is_not_led_to(gateway: GatewayProcess, target: str) -> None:
    """A path that the request itself would be refused for, or that a browser takes for an address, becomes /."""
    alice = logged_in(gateway, ALICE)
    location = alice.get(f"/_gateway/login?next={quote(target, safe='')}").get("Location")
    assert location == "/" or (location == target and alice.get(target, PAGE).status == 400)


@pytest.mark.parametrize("path", ["/%2Fa", "/a//b", "/a%25"])
def test_an_address_is_judged_by_its_own_hosts_routes(gateway: GatewayProcess, path: str) -> None:
    """What one host passes another may refuse."""
    alice = logged_in(gateway, ALICE)
    for host, port in ((OTHER, ":80"), (OTHER, "")):
        value = f"http://{host}{port}{path}"
        assert alice.get(f"/_gateway/login?next={quote(value, safe='')}").get("Location") == value
    here = f"http://127.0.0.1:{gateway.port}{path}"
    kept = alice.get(f"/_gateway/login?next={quote(here, safe='')}").get("Location")
    assert kept == ("/" if "%2F" in path else here)


def test_the_form_of_the_login_page_carries_it_on(gateway: GatewayProcess) -> None:
    """What is put into the page is what was asked for."""
    page = Visitor(gateway).get("/_gateway/login?next=" + quote("/x//y/100%25", safe=""), PAGE)
    assert 'value="/x//y/100%25"' in page.text()
