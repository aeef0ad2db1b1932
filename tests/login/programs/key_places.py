"""Where API keys lie, as several processes of ours would open it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from gateway.login.programs.api_keys import ApiKeyStore
from gateway.login.programs.key_file import ApiKeyFile
from gateway.sessions.redis_api_keys import RedisApiKeys, api_keys_prefix
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.seal import KeyRing
from tests.support.redis_server import Servers, through
from tests.support.waiting import wait_until

NOW = 1_800_000_000.0
RING = (b"k" * 32,)
T = TypeVar("T")


@dataclass
class Place:
    """One place, and what was opened there."""

    make: Callable[[tuple[bytes, ...]], ApiKeyStore]
    everything: Callable[[], bytes]
    made: list[ApiKeyStore] = field(default_factory=list)
    now: float = NOW

    def open(self, ring: tuple[bytes, ...] = RING) -> ApiKeyStore:
        """Open it as another process does."""
        self.made.append(self.make(ring))
        return self.made[-1]

    async def close(self) -> None:
        for store in self.made:
            await store.close()


def in_file(folder: Path) -> Place:
    file = folder / "keys.sqlite"
    return Place(
        lambda ring: ApiKeyFile(file), lambda: b"".join(path.read_bytes() for path in folder.glob("keys.sqlite*"))
    )


def in_redis(servers: Servers, *ports: int) -> Place:
    address = through(servers.address, *ports) if ports else servers.address

    def make(ring: tuple[bytes, ...]) -> ApiKeyStore:
        client = RedisClient(address, follow=api_keys_prefix(address))
        return RedisApiKeys(client, KeyRing(ring, os.urandom), lambda: place.now)

    place = Place(make, servers.everything)
    return place


async def seen(store: ApiKeyStore, change: Awaitable[T]) -> T:
    """Await a change that another process makes, and that ``store`` knows of it."""
    before = await store.version()
    result = await change

    async def noticed() -> bool:
        return await store.version() != before

    await wait_until(noticed)
    return result
