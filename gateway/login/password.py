"""Logging in local users by password: equal time for unknown ones, hashes renewed, the file watched.

Knows the users file only as a path and a callable that reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gateway.core.audit import AuditEvent
from gateway.core.identity import Identity
from gateway.core.local_user import LocalUser
from gateway.errors import BadCredentials, ConfigError, LoginBusy
from gateway.login.argon2 import TARGET, Cost, cost_of, hash_password, matches, spend, unmatched_hash, work_of
from gateway.login.hash_pool import HashPool
from gateway.login.rights import RightsWatch
from gateway.login.users_file import UsersFile

__all__ = ["PasswordLogin", "hash_password"]

POLL_SECONDS = 2.0
_log = logging.getLogger("gateway.login")

LoadUsers = Callable[[Path], dict[str, LocalUser]]


class PasswordLogin:
    """The local users. A `LoginMethod`.

    Made by reading the file: raises ConfigError where it cannot be used. `start` is called once the
    session store works, for it ends the sessions of accounts that changed meanwhile.
    """

    def __init__(
        self,
        path: Path,
        load_users: LoadUsers,
        *,
        rights: RightsWatch,
        end_sessions: Callable[[str], Awaitable[None]],
        audit: Callable[[AuditEvent], None],
        clock: Callable[[], float],
        cost: Cost = TARGET,
        changed: Callable[[], Awaitable[None]] | None = None,
        pool: HashPool | None = None,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._file = UsersFile(path)
        self._load = load_users
        self._audit = audit
        self._clock = clock
        self._cost = cost
        self._pool = pool or HashPool()
        self._poll = poll
        self._rights = rights
        self._end_sessions = end_sessions
        self._changed = changed
        self._users: Mapping[str, LocalUser] = {}
        self._nobody = ""
        """What is computed for an unknown user."""
        self._costs: tuple[Cost, ...] = ()
        """Those of all hashes in the file: one, unless some were made elsewhere or long ago."""
        self._file_in_use = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._weak: set[str] = set()
        """Hashes that are being renewed, or cannot be in the file as it is."""
        self._warned = False
        self._next: asyncio.Future[PasswordLogin | None] | None = None
        """Who verifies in place of this one, once that is decided."""
        self._file.mark_read()
        self._hold(load_users(path))

    def _hold(self, users: Mapping[str, LocalUser]) -> None:
        self._users = users
        costs = {cost for user in users.values() if (cost := cost_of(user.password_hash))}
        self._costs = tuple(sorted(costs or {self._cost}, key=Cost.work))
        self._nobody = unmatched_hash(self._costs[-1])

    async def start(self) -> None:
        """End the sessions of accounts that changed while the gateway was down, and watch the file from now on."""
        async with self._file_in_use:
            await self._settle_rights()
        self._spawn(self._watch(), "users-file")

    async def close(self) -> None:
        """Stop watching and hashing."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.close()

    # --- taking over ------------------------------------------------------------------------------

    def give_way(self) -> None:
        """Let nobody in any more by what is known here: another one is about to take over, maybe with other users.

        Whoever wants in waits for `hand_over`, or for `take_back`.
        """
        self._next = asyncio.get_running_loop().create_future()

    def hand_over(self, successor: PasswordLogin | None) -> None:
        """Let another one verify from now on; None where passwords are not a way in any more."""
        assert self._next is not None, "give_way comes first"  # noqa: S101 - for the type checker
        self._next.set_result(successor)

    async def take_back(self) -> None:
        """Go on as before: nobody took over. What that one took for the rights of accounts is none."""
        try:
            async with self._file_in_use:
                await self._settle_rights()
        finally:
            waiting, self._next = self._next, None
            if waiting is not None:
                waiting.set_result(self)

    def _taking_over(self) -> asyncio.Future[PasswordLogin | None] | None:
        return self._next

    # --- verifying --------------------------------------------------------------------------------

    async def verify(self, user: str, password: str) -> Identity:
        """Return the identity that user name and password prove.

        Raises BadCredentials (its text is for the log alone) or LoginBusy. An unknown or disabled
        user takes the time of a wrong password.
        """
        if successor := self._taking_over():
            return await _verify_there(successor, user, password)
        found = self._users.get(user)
        usable = found is not None and not found.disabled
        stored = found.password_hash if found and usable else self._nobody
        right = await self._pool.run(partial(_check, password, stored, self._costs))
        if successor := self._taking_over():
            # Whoever takes over may have other users, and has ended the sessions of those that changed.
            return await _verify_there(successor, user, password)
        if found is None:
            raise BadCredentials("unknown user")
        if found.disabled:
            raise BadCredentials("disabled user")
        if self._users.get(user) is not found:
            # The file was read again meanwhile: what was checked is no longer what counts.
            return await self.verify(user, password)
        if not right:
            raise BadCredentials("wrong password")
        if work_of(stored) < self._cost.work() and stored not in self._weak:
            self._weak.add(stored)
            self._spawn(self._renew(found, password), "password-hash")
        return found.identity()

    def find(self, user: str) -> Identity | None:
        """Return a user who may log in, without any proof; None where there is none of that name."""
        found = self._users.get(user)
        return found.identity() if found is not None and not found.disabled else None

    # --- renewing hashes --------------------------------------------------------------------------

    async def _renew(self, user: LocalUser, password: str) -> None:
        """Put a hash of today's cost into the file; whatever hinders that is no reason to fail a login."""
        try:
            renewed = await self._pool.run(partial(hash_password, password, self._cost))
        except LoginBusy:
            self._weak.discard(user.password_hash)  # the next login is another occasion
            return
        async with self._file_in_use, self._rights.renewing:
            await self._put_hash(user, renewed)

    async def _put_hash(self, user: LocalUser, renewed: str) -> None:
        if self._users.get(user.user) is not user:
            return
        new = replace(user, password_hash=renewed)
        if not await self._rights.expect(user, new):
            return
        try:
            replaced = await asyncio.to_thread(self._file.replace_text, user.password_hash, renewed)
        except OSError as error:
            if not self._warned:
                self._warned = True
                _log.warning("password hashes are weaker than today's, and cannot be renewed: %s", error)
            return
        if replaced:
            self._hold({**self._users, user.user: new})
            await self._rights.accept(new)
            _log.info("the password hash of %r was renewed", user.user)

    # --- reading the file again -------------------------------------------------------------------

    async def reload(self) -> None:
        """Read the file if it changed. A bad one is logged, and the users stay as they are."""
        async with self._file_in_use:
            if await asyncio.to_thread(self._file.changed):
                await self._read_again()
            elif self._rights.pending:
                await self._settle_rights()

    async def _read_again(self) -> None:
        try:
            users = await asyncio.to_thread(self._load, self._file.path)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("%s", problem)
            _log.error("%s is not used; the users stay as they were", self._file.path)
            return
        except OSError as error:
            _log.error("%s cannot be read; the users stay as they were: %s", self._file.path, error)
            return
        self._hold(users)
        self._weak.clear()
        _log.info("%s was read again: %d users", self._file.path, len(users))
        self._audit(AuditEvent("users_reloaded", reason=f"{len(users)} users", time=self._clock()))
        if self._changed is not None:
            await self._changed()
        await self._settle_rights()

    async def _settle_rights(self) -> None:
        for name in await self._rights.settle(self._users, self._end_sessions):
            _log.info("the account %r changed; its sessions were ended", name)
            self._audit(AuditEvent("rights_changed", user=name, time=self._clock()))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            try:
                await self.reload()
            except Exception:  # noqa: BLE001 - whatever one reading met, the next is to come
                _log.exception("%s could not be read again", self._file.path)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("%s failed", task.get_name(), exc_info=error)


async def _verify_there(successor: asyncio.Future[PasswordLogin | None], user: str, password: str) -> Identity:
    """Verify by whoever has taken over when that is decided; many may wait, and any of them may leave."""
    login = await asyncio.shield(successor)
    if login is None:
        raise BadCredentials("passwords are not a way in any more")
    return await login.verify(user, password)


def _check(password: str, stored: str, costs: tuple[Cost, ...]) -> bool:
    """Compare in a thread. A wrong password takes one hash of each cost that any user has, so it tells nothing.

    To fill up by a measure of the work does not do: the same work takes 42 or 62 ms, by how it is divided into
    memory and passes, and by what the allocator has at hand.
    """
    right = matches(password, stored)
    if not right:
        own = cost_of(stored)
        for cost in costs:
            if cost != own:
                spend(cost)
    return right
