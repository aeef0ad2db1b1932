"""Noticing that an account lost rights or changed its password, so that its sessions end.

What the accounts were when that was last acted upon is kept in a file, for an account may also be
removed while the gateway is down, and sealed cookies outlive a restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path

from gateway.core.local_user import LocalUser
from gateway.errors import GatewayError

_log = logging.getLogger("gateway.login")

UNKNOWN = "?"


def rights_stamp(user: LocalUser) -> str:
    """Return a digest of what sessions rest upon: password, address and groups.

    It tells nothing about the password: the hash in it has a random salt.
    """
    facts = [user.password_hash, user.email, sorted(user.groups)]
    return sha256(json.dumps(facts).encode()).hexdigest()[:32]


class RightsWatch:
    """What each account that may log in was when its sessions were last ended or left alone.

    While one configuration takes over from another, both hold the same watch: a hash that the one
    renews is no change of rights to the other.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.renewing = asyncio.Lock()
        """Held by whoever puts a new hash into the users file, from `expect` to `accept`: of two at once, both might
        find the old hash there, and the one be accepted while the other is in the file."""
        self._lock = asyncio.Lock()
        self._stamps: dict[str, str] | None = None
        self._in_file = True
        self.pending = True
        """Whether sessions remain to be ended: nothing was settled yet, or ending some failed."""

    async def settle(self, users: Mapping[str, LocalUser], end_sessions: Callable[[str], Awaitable[None]]) -> list[str]:
        """End the sessions of accounts that changed, were disabled or removed; return their names.

        Where that fails, the old stamp stays, so that the next call tries again.
        """
        async with self._lock:
            return await self._settle(users, end_sessions)

    async def _settle(
        self, users: Mapping[str, LocalUser], end_sessions: Callable[[str], Awaitable[None]]
    ) -> list[str]:
        now = {name: rights_stamp(user) for name, user in users.items() if not user.disabled}
        before = await self._known(now)
        settled: list[str] = []
        kept: dict[str, str] = {}
        for name in sorted(name for name, stamps in before.items() if now.get(name) not in stamps.split()):
            try:
                await end_sessions(name)
                settled.append(name)
            except GatewayError as error:
                _log.error("the sessions of %r could not be ended, will try again: %s", name, error)
                kept[name] = before[name]
        await self._keep({**now, **kept})
        self.pending = bool(kept)
        return settled

    async def expect(self, user: LocalUser, renewed: LocalUser) -> bool:
        """Take an account for unchanged with a new hash too, which we are about to put into the users file.

        Another reader may see the file before we go on. Returns False where ``user`` is not what the
        account is any more: somebody else has changed it.
        """
        async with self._lock:
            before = await self._known(self._stamps or {})
            stamps = before.get(user.user, rights_stamp(user)).split()
            if rights_stamp(user) not in stamps:
                return False
            await self._keep({**before, user.user: " ".join([*stamps, rights_stamp(renewed)])})
            return True

    async def accept(self, user: LocalUser) -> None:
        """Take an account as it is now, and in no other state: the file holds what was expected."""
        async with self._lock:
            before = await self._known(self._stamps or {})
            await self._keep({**before, user.user: rights_stamp(user)})

    async def _known(self, now: Mapping[str, str]) -> dict[str, str]:
        """Return the stamps of before; at the very first start those of now.

        The file is asked each time, for another process may have written it.
        """
        if self._file is not None and self._in_file:
            found = await asyncio.to_thread(_read, self._file, now)
            self._stamps = self._stamps if found is None else found
        return dict(now) if self._stamps is None else self._stamps

    async def _keep(self, stamps: dict[str, str]) -> None:
        changed = stamps != self._stamps
        self._stamps = stamps
        if self._file is None or not changed:
            return
        try:
            await asyncio.to_thread(_write, self._file, stamps)
            self._in_file = True
        except OSError as error:
            self._in_file = False
            _log.error("what the accounts are cannot be kept for the next start: %s", error)


def _read(file: Path, now: Mapping[str, str]) -> dict[str, str] | None:
    """Return the stamps in a file, None where there is none yet. A broken one makes every account a changed one."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.error("%s cannot be read, so all local users have to log in again: %s", file, error)
        return dict.fromkeys(now, UNKNOWN)
    if not isinstance(found, dict):
        return dict.fromkeys(now, UNKNOWN)
    return {str(name): str(stamp) for name, stamp in found.items()}


def _write(file: Path, stamps: Mapping[str, str]) -> None:
    copy = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(stamps, out, indent=0, sort_keys=True)
            out.flush()
            os.fsync(out.fileno())
        copy.replace(file)
    finally:
        copy.unlink(missing_ok=True)
