"""A users file, the login on it, and what it told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.core.audit import AuditEvent
from gateway.errors import BadCredentials, StoreUnavailable
from gateway.login.argon2 import CHEAPEST, Cost
from gateway.login.hash_pool import HashPool
from gateway.login.password import PasswordLogin
from gateway.login.rights import RightsWatch
from tests.control.harness import load_users, write_users
from tests.support.waiting import PATIENCE


class Local:
    """A users file, the login on it, and what it told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "users.yaml"
        self.stamps = directory / "users.stamps"
        self.changed: list[str] = []
        self.events: list[AuditEvent] = []
        self.failing: set[str] = set()
        self.logins: list[PasswordLogin] = []
        write_users(self.file)

    def open(
        self,
        *,
        cost: Cost = CHEAPEST,
        pool: HashPool | None = None,
        poll: float = 3600.0,
        rights: RightsWatch | None = None,
    ) -> PasswordLogin:
        """Read the file; without ``rights`` as another start of the program does, with them as its next one."""
        login = PasswordLogin(
            self.file,
            load_users,
            rights=rights or RightsWatch(self.stamps),
            end_sessions=self._note,
            audit=self.events.append,
            clock=lambda: 1_800_000_000.0,
            cost=cost,
            pool=pool,
            poll=poll,
        )
        self.logins.append(login)
        return login

    async def _note(self, user: str) -> None:
        if user in self.failing:
            raise StoreUnavailable("down")
        self.changed.append(user)

    def rewrite(self, old: str, new: str) -> None:
        """Edit the file as an editor does: a new file in the place of the old one."""
        copy = self.file.with_suffix(".tmp")
        copy.write_text(self.file.read_text().replace(old, new))
        copy.replace(self.file)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not in {PATIENCE} s: {what}"
        await asyncio.sleep(0.01)


async def reason(attempt: Awaitable[object]) -> str:
    with pytest.raises(BadCredentials) as caught:
        await attempt
    return str(caught.value)
