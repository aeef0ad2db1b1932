"""Users files in directories of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.login.local import Local


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Local]:
    found = Local(tmp_path)
    yield found
    for login in found.logins:
        await login.close()
