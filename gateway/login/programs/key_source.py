"""Vouching for API keys: all in memory, looked at again every second, last uses written once a minute.

Where the store tells of changes itself, as Redis does, it is looked at then too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from gateway.core.api_key import ApiKey
from gateway.core.identity import Identity
from gateway.core.programs import API_KEY, KEY_PREFIX, Credential, Verified
from gateway.core.provider import ProviderSession
from gateway.errors import BadCredentials, LoginDenied, StoreUnavailable
from gateway.login.programs.api_keys import ApiKeyStore, split_key
from gateway.login.programs.source import LOCAL_SECONDS

LOOK_EVERY = 1.0
LOOK_AT_MOST_EVERY = 0.1
"""Seconds between two looks because of a credential."""
WRITE_EVERY = 60.0
"""Seconds between two notes of last uses."""
_NO_LOGIN = ProviderSession(API_KEY, "", "")
"""Nobody proves anew who they are by sending a key, so none is enough for a step-up."""
_log = logging.getLogger("gateway.login")


class ApiKeySource:
    """The keys in one store. A `Source`."""

    kind = "api_key"

    def __init__(
        self,
        store: ApiKeyStore,
        find: Callable[[str], Identity | None],
        changed: Callable[[], Awaitable[None]],
        grace: Callable[[str], float],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Prepare.

        ``find`` returns a user that may log in. ``changed`` is awaited when what was verified is to be asked about
        again. ``grace`` tells for how many seconds keys are good on a route while the store cannot be read: one may
        have been revoked meanwhile.
        """
        self._store = store
        self._find = find
        self._changed = changed
        self._grace = grace
        self._clock = clock
        self._monotonic = monotonic
        self._keys: dict[str, ApiKey] = {}
        self._version: int | None = None
        self._looked = self._tried = float("-inf")
        self._begun = 0
        """Looks so far."""
        self._failed: StoreUnavailable | None = None
        """Why the store cannot be read; None where it can."""
        self._used: dict[str, float] = {}
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def takes(self, credential: Credential) -> bool:
        """Tell whether it looks like a key of ours."""
        return credential.scheme == "bearer" and credential.text.startswith(KEY_PREFIX)

    async def verify(self, credential: Credential) -> Verified:
        """Return whose a key is. Raises BadCredentials, LoginDenied for another route, or StoreUnavailable."""
        key, left = await self._key(credential)
        now = self._clock()
        if key.is_over(now):
            raise BadCredentials(f"the API key {key.id} has expired")
        identity = self._find(key.user)
        if identity is None:
            raise BadCredentials(f"the user of the API key {key.id} is gone, or disabled")
        if key.routes and credential.route not in key.routes:
            raise LoginDenied(f"the API key {key.id} is for other routes")
        groups = identity.groups if key.groups is None else tuple(set(key.groups).intersection(identity.groups))
        claims = {**identity.claims, "api_key": key.name}
        found = replace(identity, groups=tuple(sorted(groups)), method=API_KEY, claims=claims)
        self._used[key.id] = now
        until = now + min(LOCAL_SECONDS, left)
        until = until if key.expires is None else min(until, key.expires)
        return Verified(found, API_KEY, now, until, _NO_LOGIN)

    async def _key(self, credential: Credential) -> tuple[ApiKey, float]:
        """Return the key, and for how many seconds that may be relied on."""
        parts = split_key(credential.text)
        if parts is None:
            raise BadCredentials("an API key that is cut short, or misspelt")
        begun = self._begun
        failed = await self._look_again()
        key = self._keys.get(parts[0])
        if key is None and failed is None and self._begun == begun:
            # It may have been made since the last look.
            failed = await self._look_after(begun)
            key = self._keys.get(parts[0])
        left = float("inf")
        if failed is not None:
            left = self._grace(credential.route) - (self._monotonic() - self._looked)
            if key is None or left <= 0:
                raise failed
        if key is None or not key.fits(parts[1]):
            raise BadCredentials(f"no API key {parts[0]}, or not its secret")
        return key, left

    async def _look_again(self) -> StoreUnavailable | None:
        """Look at the store unless that was done just now; return why it cannot be read."""
        async with self._looking:
            if self._monotonic() - self._tried >= LOOK_AT_MOST_EVERY:
                with suppress(StoreUnavailable):
                    await self._look()
            return self._failed

    async def _look_after(self, begun: int) -> StoreUnavailable | None:
        """Look at the store as soon as that may be, unless a look began meanwhile; return why it cannot be read."""
        await asyncio.sleep(self._tried + LOOK_AT_MOST_EVERY - self._monotonic())
        async with self._looking:
            if self._begun == begun:
                with suppress(StoreUnavailable):
                    await self._look()
            return self._failed

    async def look(self) -> None:
        """Take over what others have written. Raises StoreUnavailable."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        self._tried = self._monotonic()
        self._begun += 1
        try:
            await self._take_over()
        except StoreUnavailable as error:
            first, self._failed = self._failed is None, error
            if first:
                _log.error("%s", error)
                if self._keys:
                    # What was verified before is good no longer than the grace time.
                    await self._changed()
            raise
        self._failed = None
        self._looked = self._monotonic()

    async def _take_over(self) -> None:
        version = await self._store.version()
        if version is not None and version == self._version:
            return
        before, self._keys = self._keys, await self._store.read()
        self._version = version
        # A new key is nothing that anybody remembers; one that has ended is remembered by nobody.
        now = self._clock()
        if any(self._keys.get(key_id) != key and not key.is_over(now) for key_id, key in before.items()):
            await self._changed()

    async def start(self) -> None:
        """Read the keys, and look at them again and again; until that works, nothing is known about any key."""
        with suppress(StoreUnavailable):
            await self.look()
        self._task = asyncio.create_task(self._follow(), name="api-keys")

    async def _follow(self) -> None:
        written = self._monotonic()
        while True:
            await self._store.told(LOOK_EVERY)
            now = self._monotonic()
            try:
                await self.look()
                if now - written >= WRITE_EVERY:
                    written = now
                    await self._write()
            except StoreUnavailable as error:
                _log.debug("%s", error)
            except Exception:  # noqa: BLE001 - whatever one look met, the next is to come
                _log.exception("the API keys could not be looked at")

    async def _write(self) -> None:
        used, self._used = self._used, {}
        if used:
            try:
                await self._store.note_used(used)
            except StoreUnavailable:
                self._used = used | self._used
                raise

    async def close(self) -> None:
        """Write what is left, and close the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._write()
        except StoreUnavailable as error:
            _log.error("%s", error)
        await self._store.close()

    def forget(self) -> None:
        """Do nothing: the keys in memory are those of the store."""
