"""A control plane per test, or an admin listener."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.control.admin_listener import Admin, admin_listener
from tests.control.harness import ControlSite, Settings, StartSite
from tests.control.oidc import Rig, start_rig
from tests.control.refreshing import Gateway, World
from tests.support.provider import FakeProvider

__all__ = ["StartSite"]


@pytest.fixture
async def start_site(tmp_path: Path) -> AsyncIterator[StartSite]:
    """Start control planes with settings of their own."""
    started: list[ControlSite] = []

    async def start(settings: Settings) -> ControlSite:
        directory = tmp_path / f"site-{len(started)}"
        directory.mkdir()
        site = ControlSite(directory, settings)
        started.append(site)
        await site.start()
        return site

    yield start
    for site in started:
        await site.close()


@pytest.fixture
async def site(start_site: StartSite) -> ControlSite:
    """A control plane on https with everybody's users and a few routes."""
    return await start_site(Settings())


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    """The API over a store that lists sessions."""
    async with admin_listener(tmp_path, Settings(sqlite=True)) as found:
        yield found


@pytest.fixture
async def of_cookies(tmp_path: Path) -> AsyncIterator[Admin]:
    """The API over sealed cookies."""
    async with admin_listener(tmp_path, Settings()) as found:
        yield found


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """An identity provider; whoever asks it must do so rightly."""
    with FakeProvider() as running:
        yield running
        assert running.violations == []


@pytest.fixture
async def rig(start_site: StartSite, provider: FakeProvider) -> Rig:
    """A control plane that knows the provider."""
    return await start_rig(start_site, provider)


@pytest.fixture
async def world(provider: FakeProvider, tmp_path: Path) -> AsyncIterator[World]:
    """Gateways without pages that refresh logins at the provider."""
    found = World(provider, tmp_path)
    yield found
    await found.close()


@pytest.fixture(params=["sqlite", "cookie", "redis"])
async def gateway(world: World, request: pytest.FixtureRequest) -> Gateway:
    """One with every kind of store."""
    if request.param == "redis":
        return await world.over_redis(request.getfixturevalue("redis_single"))
    return await world.gateway(sqlite=request.param == "sqlite")
