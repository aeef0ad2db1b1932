"""One gateway with one recording upstream for all the tests that need nothing special, and browsers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.browser_fixtures import browser, new_context
from tests.support.clock import SetClock
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.hostile import HostileUpstream
from tests.support.messages import Request
from tests.support.users import ALICE
from tests.support.visitor import Visitor, logged_in

__all__ = ["browser", "new_context"]


@dataclass
class Site:
    """A gateway whose route ``/`` is open and whose routes ``/app`` and ``/ws`` need a session."""

    gateway: GatewayProcess
    upstream: HostileUpstream
    alice: Visitor

    def cookie(self) -> str:
        """Return alice's Cookie line."""
        return f"Cookie: {self.alice.cookie_header()}\r\n"

    def host(self) -> str:
        """Return the Host line."""
        return f"Host: {self.gateway.authority}\r\n"

    def ask(self, request: str, method: str = "GET") -> tuple[int, bytes]:
        """Send a whole request on a connection of its own; return status and body."""
        with self.gateway.connect() as client:
            client.send(request)
            answer = client.answer(method)
            return answer.status, answer.body

    def seen(self, path: str) -> Request:
        """Return the newest request to a path."""
        return self.upstream.seen(path)[-1]


@pytest.fixture(scope="session")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with HostileUpstream() as upstream:
        config = gateway_config(
            route("open", "/", upstream.url, public=True),
            route("app", "/app", upstream.url),
            route("ws", "/ws", upstream.url),
        )
        with GatewayProcess(tmp_path_factory.mktemp("site"), config) as gateway:
            yield Site(gateway, upstream, logged_in(gateway, ALICE))


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """The site, which must be sound after each test."""
    yield shared_site
    assert not shared_site.upstream.violations, shared_site.upstream.violations
    shared_site.gateway.assert_no_traceback()


@pytest.fixture
def clock(tmp_path: Path) -> SetClock:
    """A clock for a gateway that is started with its ``env``."""
    return SetClock(tmp_path / "clock")
