"""Vouching for API keys: the file in memory, looked at again every second, last uses written once a minute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.core.identity import Identity
from gateway.core.programs import API_KEY, KEY_PREFIX, Credential, Verified
from gateway.core.provider import ProviderSession
from gateway.errors import BadCredentials, LoginDenied, StoreUnavailable
from gateway.login.programs.api_keys import ApiKey, ApiKeyFile, split_key
from gateway.login.programs.source import LOCAL_SECONDS

LOOK_EVERY = 1.0
LOOK_AT_MOST_EVERY = 0.1
"""Seconds between two looks at the file because of a key that is not known."""
WRITE_EVERY = 60.0
"""Seconds between two notes of last uses."""
TRUSTED_FOR = 60.0
"""Seconds for which keys are good while the file cannot be read: one may have been revoked meanwhile."""
_NO_LOGIN = ProviderSession(API_KEY, "", "")
"""Nobody proves anew who they are by sending a key, so none is enough for a step-up."""
_log = logging.getLogger("gateway.login")


class ApiKeySource:
    """The keys of one host. A `Source`."""

    def __init__(
        self,
        file: ApiKeyFile,
        find: Callable[[str], Identity | None],
        changed: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """``find`` returns a user that may log in; ``changed`` is awaited when keys are gone or other ones."""
        self._file = file
        self._find = find
        self._changed = changed
        self._clock = clock
        self._monotonic = monotonic
        self._keys: dict[str, ApiKey] = {}
        self._version = -1
        self._looked = float("-inf")
        self._used: dict[str, float] = {}
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def takes(self, credential: Credential) -> bool:
        """Tell whether it looks like a key of ours."""
        return credential.scheme == "bearer" and credential.text.startswith(KEY_PREFIX)

    async def verify(self, credential: Credential) -> Verified:
        """Return whose a key is. Raises BadCredentials, LoginDenied for another route, or StoreUnavailable."""
        key = await self._key(credential.text)
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
        until = now + LOCAL_SECONDS
        until = until if key.expires is None else min(until, key.expires)
        return Verified(found, API_KEY, now, until, _NO_LOGIN)

    async def _key(self, text: str) -> ApiKey:
        parts = split_key(text)
        if parts is None:
            raise BadCredentials("an API key that is cut short, or misspelt")
        if parts[0] not in self._keys and self._monotonic() - self._looked >= LOOK_AT_MOST_EVERY:
            # Made a moment ago, perhaps.
            await self.look()
        if self._monotonic() - self._looked > TRUSTED_FOR:
            raise StoreUnavailable("the file of API keys cannot be read")
        key = self._keys.get(parts[0])
        if key is None or not key.fits(parts[1]):
            raise BadCredentials(f"no API key {parts[0]}, or not its secret")
        return key

    async def look(self) -> None:
        """Take over what others have written. Raises StoreUnavailable."""
        async with self._looking:
            version = await self._file.version()
            if version != self._version:
                before, self._keys = self._keys, await self._file.read()
                self._version = version
                # A new key is nothing that anybody remembers.
                if any(self._keys.get(key_id) != key for key_id, key in before.items()):
                    await self._changed()
            self._looked = self._monotonic()

    async def start(self) -> None:
        """Read the file, and look at it again and again; until that works, nothing is known about any key."""
        try:
            await self.look()
        except StoreUnavailable as error:
            _log.error("%s", error)
        self._task = asyncio.create_task(self._follow(), name="api-keys")

    async def _follow(self) -> None:
        works, written = True, self._monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.look()
                if self._monotonic() - written >= WRITE_EVERY:
                    written = self._monotonic()
                    await self._write()
            except StoreUnavailable as error:
                if works:
                    _log.error("%s", error)
            except Exception:  # noqa: BLE001 - whatever one look met, the next is to come
                _log.exception("the API keys could not be looked at")
            works = self._monotonic() - self._looked < 2 * LOOK_EVERY

    async def _write(self) -> None:
        used, self._used = self._used, {}
        if used:
            await self._file.note_used(used)

    async def close(self) -> None:
        """Write what is left, and close the file."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._write()
        except StoreUnavailable as error:
            _log.error("%s", error)
        await asyncio.to_thread(self._file.close)

    def forget(self) -> None:
        """Do nothing: the keys in memory are those of the file."""
