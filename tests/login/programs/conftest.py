"""Places of API keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.login.programs.key_places import Place, in_file, in_redis


@pytest.fixture(params=["file", "redis_single", "redis_cluster", "redis_sentinel", "redis_tls"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Every place where keys may lie, empty."""
    found = in_file(tmp_path) if request.param == "file" else in_redis(request.getfixturevalue(request.param))
    yield found
    await found.close()
