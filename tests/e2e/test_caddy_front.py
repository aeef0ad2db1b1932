"""A real Caddy that asks the gateway about each request, by the block of the docs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.caddy import Caddy
from tests.support.gateway import ROOT, GatewayProcess, gateway_config, route
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB, User
from tests.support.visitor import PAGE, PROGRAM, Visitor


@dataclass
class Site:
    """Caddy, the gateway that it asks, and the app behind it."""

    caddy: Caddy
    gateway: GatewayProcess
    app: RecorderUpstream

    def visitor(self) -> Visitor:
        """Return somebody who comes through Caddy."""
        return Visitor(self.caddy, host=f"localhost:{self.caddy.port}")

    def logged_in(self, user: User) -> Visitor:
        """Return the same, logged in."""
        visitor = self.visitor()
        visitor.login(user)
        return visitor


def documented(gateway: GatewayProcess, app: RecorderUpstream) -> str:
    """Return the inside of the docs' Caddy block, with the addresses that are here."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("```caddyfile\nwiki.example.com {\n")
    block, end, _ = rest.partition("\n}\n```")
    assert end
    assert block.count("127.0.0.1:8080") == 2
    return block.replace("127.0.0.1:8080", gateway.authority).replace("127.0.0.1:3000", f"127.0.0.1:{app.port}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with RecorderUpstream() as app:
        config = gateway_config(
            route("wiki", "/", app.url, allow={"groups": ["staff"]}),
            route("open", "/open", app.url, public=True),
            trusted_proxies=["127.0.0.1/32"],
        )
        with (
            GatewayProcess(tmp_path_factory.mktemp("asked"), config) as gateway,
            Caddy(tmp_path_factory.mktemp("caddy"), documented(gateway, app)) as caddy,
        ):
            yield Site(caddy, gateway, app)


def test_identity(site: Site) -> None:
    """Caddy passes on the identity that the gateway names, and not the one that a client names."""
    forged = {"X-Forwarded-User": "admin", "X-Forwarded-Groups": "admins", **PROGRAM}
    assert site.logged_in(ALICE).get("/page?y", forged).status == 200
    request = site.app.last()
    assert request.target == "/page?y"
    assert (request.get("X-Forwarded-User"), request.get("X-Forwarded-Groups")) == ("alice", "staff,wiki")


def test_nobody_names_an_identity_where_there_is_none(site: Site) -> None:
    forged = {"X-Forwarded-User": "admin", "X-Forwarded-Groups": "admins", **PROGRAM}
    assert site.visitor().get("/open/x", forged).status == 200
    request = site.app.last()
    assert (request.get("X-Forwarded-User"), request.get("X-Forwarded-Groups")) == (None, None)


def test_login_and_back(site: Site) -> None:
    """A browser without a session is led to the login by a redirect, not shown JSON, and comes back."""
    before = len(site.app.requests)
    visitor = site.visitor()
    answer = visitor.get("/deep?a=b", PAGE)
    assert answer.status == 302
    location = urlsplit(answer.get("Location") or "")
    assert (location.netloc, location.path) == (visitor.host, "/_gateway/login")
    assert parse_qs(location.query)["next"] == ["/deep?a=b"]
    assert len(site.app.requests) == before
    assert visitor.login(ALICE, next_url="/deep?a=b").get("Location") == "/deep?a=b"
    assert visitor.get("/deep?a=b", PAGE).status == 200


def test_refused(site: Site) -> None:
    """Programs get a problem with 401, and whoever has not the right 403; the app sees neither."""
    before = len(site.app.requests)
    answer = site.visitor().get("/x", PROGRAM)
    assert (answer.status, answer.get("Content-Type")) == (401, "application/problem+json")
    assert answer.get("X-Gateway-Login")
    assert site.logged_in(BOB).get("/x", PAGE).status == 403
    assert len(site.app.requests) == before
