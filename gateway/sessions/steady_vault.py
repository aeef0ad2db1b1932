"""A vault that takes tokens even while the one behind it fails: they wait in memory, and are written when it is back.

A provider that rotates refresh tokens has made the one before worthless: to lose the new one is to lose the login.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.core.session import Session
from gateway.errors import StoreUnavailable
from gateway.sessions.token_vault import KeptLogin, TokenVault

MAX_WAITING = 10_000
"""Entries in memory; the oldest go first."""
TRY_AGAIN_EVERY = 0.5
LAST_TRY = 2.0
"""Seconds that a stop waits for what is to be written."""
_log = logging.getLogger("gateway.sessions")


@dataclass(slots=True)
class Waiting:
    """What is to be written for one session."""

    session: Session
    kept: KeptLogin
    again: bool = False
    """Whether something is there that it takes the place of."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever writes, so that nothing older comes after."""


class SteadyVault:
    """A `TokenVault` over another one, which it closes; only what it cannot do otherwise fails."""

    def __init__(self, vault: TokenVault, waiting: dict[str, Waiting], clock: Callable[[], float]) -> None:
        """Prepare; ``waiting`` is by handle, and shared with the vaults before and after a reload."""
        self._vault = vault
        self._waiting = waiting
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def put(self, session: Session, kept: KeptLogin) -> None:
        """Keep what belongs to a session; never raises StoreUnavailable."""
        await self._put(session, kept, again=False)

    async def renew(self, session: Session, kept: KeptLogin) -> bool:
        """Do the same if anything is there; tell whether it was, as far as is known. Never raises StoreUnavailable."""
        return await self._put(session, kept, again=True)

    async def _put(self, session: Session, kept: KeptLogin, *, again: bool) -> bool:
        if len(self._waiting) >= MAX_WAITING and session.handle not in self._waiting:
            del self._waiting[next(iter(self._waiting))]
        entry = self._waiting.setdefault(session.handle, Waiting(session, kept, again))
        # Where the first is not written yet, nothing can be there.
        entry.kept, entry.again = kept, entry.again and again
        try:
            return await self._write(entry)
        except StoreUnavailable as error:
            _log.error("the tokens of the session %s stay in memory for now: %s", session.handle, error)
            return True
        finally:
            self._go_on()

    async def _write(self, entry: Waiting) -> bool:
        """Write an entry; tell whether it is there then."""
        async with entry.writing:
            kept, handle, there = entry.kept, entry.session.handle, True
            if entry.again:
                there = await self._vault.renew(entry.session, kept)
            else:
                await self._vault.put(entry.session, kept)
            if entry.kept is kept and self._waiting.get(handle) is entry:
                del self._waiting[handle]
            return there

    def _go_on(self) -> None:
        """Write what waits, in the background."""
        if self._waiting and not self._closing and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._write_rest(), name="write tokens")

    async def _write_rest(self) -> None:
        while self._waiting:
            await asyncio.sleep(TRY_AGAIN_EVERY)
            with suppress(StoreUnavailable):
                await self._write_all()

    async def _write_all(self) -> None:
        now = self._clock()
        for handle, entry in list(self._waiting.items()):
            if entry.session.expires <= now:
                self._waiting.pop(handle, None)
            else:
                await self._write(entry)

    async def get(self, session: Session) -> KeptLogin | None:
        """Return what is kept for a session, or None."""
        entry = self._waiting.get(session.handle)
        if entry is None:
            return await self._vault.get(session)
        self._go_on()
        return entry.kept

    async def drop(self, session: Session) -> KeptLogin | None:
        """Forget what is kept for a session, and return it."""
        entry = self._waiting.pop(session.handle, None)
        kept = await self._vault.drop(session)
        return entry.kept if entry is not None else kept

    async def lease(self, handle: str, seconds: float) -> bool:
        """Tell whether nobody else is at a session's tokens."""
        return await self._vault.lease(handle, seconds)

    async def release(self, handle: str) -> None:
        """Let others at a session's tokens, but not before these are written: they would use the ones before."""
        if handle not in self._waiting:
            await self._vault.release(handle)

    async def close(self) -> None:
        """Write what waits, if that can be, and close."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(LAST_TRY):
                await self._write_all()
        await self._vault.close()
