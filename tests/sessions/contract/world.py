"""What a store is tested in: its lasting state, the keys, the time, and the processes that share it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

from gateway.core.identity import Identity
from gateway.core.provider import ProviderSession
from gateway.core.session import Lifetimes, Session, start_session
from gateway.errors import BadToken
from gateway.sessions.seal import KEY_BYTES
from gateway.sessions.store import Opened, SessionStore

ALICE = Identity("alice", "Alice Ä 😀", "alice@example.com", ("staff", "wiki, all"), claims={"team": "x", "level": 3})
BOB = Identity("bob")
OLD_KEY, NEW_KEY = b"o" * KEY_BYTES, b"n" * KEY_BYTES
NEWS_TAKES = 10.0
"""Seconds within which what one process ends must be known to the others: one where the machine is free."""


@dataclass
class World:
    """Everything around a store: its lasting state, the keys, and the time."""

    directory: Path
    start: Callable[[World], Awaitable[SessionStore]]
    now: float = 1_700_000_000.0007
    keys: list[bytes] = field(default_factory=lambda: [OLD_KEY])
    lifetimes: Lifetimes = field(default_factory=lambda: Lifetimes(1800.0, 43_200.0, 2_592_000.0))
    store: SessionStore | None = None
    others: list[SessionStore] = field(default_factory=list)
    _ids: count[int] = field(default_factory=count)

    def clock(self) -> float:
        """Return the time, which only tests move."""
        return self.now

    def begin(
        self,
        identity: Identity = ALICE,
        *,
        remember: bool = False,
        address: str = "",
        device: str = "",
        login: ProviderSession | None = None,
    ) -> Session:
        """Return a session that begins now."""
        number = sha256(str(next(self._ids)).encode()).digest()[:16]
        return start_session(
            number,
            identity,
            self.lifetimes,
            remember=remember,
            now=self.now,
            address=address,
            device=device,
            login=login,
        )

    async def restart(self) -> SessionStore:
        """Return a store with an empty memory on the same state."""
        if self.store is not None:
            await self.store.close()
        self.store = await self.start(self)
        await self.store.start()
        return self.store

    async def another(self) -> SessionStore:
        """Return the store of another process on the same state."""
        store = await self.start(self)
        await store.start()
        self.others.append(store)
        return store

    async def close(self) -> None:
        """Close all stores."""
        for store in (*self.others, *([self.store] if self.store else [])):
            await store.close()

    async def knows(self, token: str, store: SessionStore | None = None) -> bool:
        """Tell whether a token opens, in memory or not, as a request finds out."""
        store = store or self.store
        assert store is not None
        peeked = store.peek(token)
        if peeked is not None and peeked.until > self.now:
            return True
        try:
            await store.load(token, self.now)
        except BadToken:
            return False
        return True

    async def knew(self, token: str) -> bool:
        """Tell whether a token opens after a restart."""
        await self.restart()
        return await self.knows(token)

    async def is_over(self, opened: Opened, store: SessionStore | None = None) -> bool:
        """Tell whether a session behind an open connection is over, as the sweep over these finds out."""
        store = store or self.store
        assert store is not None
        latest = opened.latest()
        if store.peek(latest.token) is latest and not store.is_over(latest, self.now):
            return False
        return not await self.knows(latest.token, store)

    async def listed(self, user: str = "alice") -> list[str]:
        """Return the handles in a user's list."""
        assert self.store is not None
        return [summary.handle for summary in await self.store.list(user)]


async def eventually(condition: Callable[[], Awaitable[bool]], *stores: SessionStore) -> bool:
    """Tell whether something becomes true in the time that news may take, with ``stores`` looking for some."""
    loop = asyncio.get_running_loop()
    end = loop.time() + NEWS_TAKES
    while True:
        for store in stores:
            await store.refresh()
        if await condition():
            return True
        if loop.time() > end:
            return False
        await asyncio.sleep(0.005)


def ways_to_end(store: SessionStore, opened: Opened, world: World) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return every call that ends alice's session."""
    session = opened.session
    return {
        "session": lambda: store.revoke(session),
        "summary": lambda: store.revoke(session.summary()),
        "user": lambda: store.revoke_user("alice", world.now),
        "everybody": lambda: store.revoke_all(world.now),
        "login": lambda: store.replace(session, world.begin(BOB)),
    }


WAYS_TO_END = ("session", "summary", "user", "everybody", "login")


def same(found: Session, session: Session) -> bool:
    """Compare sessions; a store may cut a time to the millisecond, but never move the beginning forward."""
    return (
        replace(found, created=session.created, seen=session.seen, expires=session.expires) == session
        and session.created - 0.002 < found.created <= session.created
        and session.seen - 0.002 < found.seen <= session.seen
        and abs(found.expires - session.expires) < 0.002
    )


class StoreTests(ABC):
    """What the parts of the suite stand on."""

    lists = True
    """Whether the store knows which sessions a user has."""

    @abstractmethod
    async def start(self, world: World) -> SessionStore:
        """Return a store on the world's state, with an empty memory, before its `start`."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        world = World(tmp_path, self.start)
        await world.restart()
        yield world
        await world.close()

    @pytest.fixture
    def store(self, world: World) -> SessionStore:
        assert world.store is not None
        return world.store
