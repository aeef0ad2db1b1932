"""A control plane per test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.control.harness import ControlSite, Settings

StartSite = Callable[[Settings], Awaitable[ControlSite]]


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
