"""Which sessions a user has, or a login at a provider: a hash for each, so that it works in a Cluster too.

Its fields are the handles of the user's sessions with sealed summaries, and one that says up to when his
sessions were ended. A login writes its entry first, then the record, and then looks whether an ending
came between: so an ending either finds the entry, or the login finds the ending.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field

from gateway.core.session import Session, SessionSummary
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.records import Records
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.terms import CLOCK_LEEWAY

ENDED = "ended"
CROWD = 50
"""Entries under a key beyond which a login clears away those that are gone."""


@dataclass(slots=True)
class Entries:
    """What the index has under one key."""

    key: str
    summaries: list[SessionSummary] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Handles whose summary does not open, as under a key that is gone."""


class UserIndex:
    """The index; times are milliseconds there, seconds here."""

    def __init__(self, client: RedisClient, records: Records, lifetime: float) -> None:
        """``lifetime`` is the longest a session can last, in seconds."""
        self._client = client
        self._records = records
        self._prefix = f"{client.address.prefix}u:"
        self._logins = f"{client.address.prefix}l:"
        self._everybody = f"{client.address.prefix}ended"
        self._lifetime_ms = max(1, int(lifetime * 1000))

    @property
    def pattern(self) -> str:
        """Return what fits the keys of all users."""
        return f"{self._prefix}*"

    def key_of(self, user: str) -> str:
        """Return the key of a user."""
        return self._prefix + hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()

    def key_of_login(self, mark: str) -> str:
        """Return the key of a mark of a login."""
        return self._logins + mark

    def _keys_of(self, session: Session) -> list[str]:
        marks = session.login.marks() if session.login is not None else ()
        return [self.key_of(session.user), *map(self.key_of_login, marks)]

    async def enter(self, session: Session, until: float) -> list[str]:
        """Write a session's entries; return the keys under which there are many. Raises StoreUnavailable."""
        sealed, keys = self._records.seal_summary(session), self._keys_of(session)

        async def enter(key: str) -> int:
            call = self._client.call
            _, _, count = await asyncio.gather(
                call(key, "HSET", key, session.handle, sealed, until=until),
                # No session outlives this, so neither does the entry of one go before it.
                call(key, "PEXPIRE", key, self._lifetime_ms, until=until),
                call(key, "HLEN", key, until=until),
            )
            return int(count)

        counts = await asyncio.gather(*map(enter, keys))
        return [key for key, count in zip(keys, counts, strict=True) if count > CROWD]

    async def ended_since(self, session: Session, until: float) -> bool:
        """Tell whether an ending covers a session that was entered.

        Raises StoreUnavailable, also where the entry is gone, as after a failover: no ending would find it.
        """
        call = self._client.call
        everybody, *found = await asyncio.gather(
            call(self._everybody, "GET", self._everybody, until=until),
            *(call(key, "HMGET", key, session.handle, ENDED, until=until) for key in self._keys_of(session)),
        )
        if int(session.created * 1000) <= max(_milliseconds(everybody), *(_milliseconds(ended) for _, ended in found)):
            return True
        if any(entry is None for entry, _ in found):
            raise StoreUnavailable("Redis: what was written is there no more")
        return False

    async def leave(self, user: str, handles: list[str], until: float) -> None:
        """Take entries out. Raises StoreUnavailable."""
        await self.leave_key(self.key_of(user), handles, until)

    async def leave_key(self, key: str, handles: list[str], until: float) -> None:
        """Take entries out from under one key. Raises StoreUnavailable."""
        if handles:
            await self._client.call(key, "HDEL", key, *handles, until=until)

    async def read(self, key: str, until: float) -> Entries:
        """Return what is under a key of the index. Raises StoreUnavailable."""
        entries = Entries(key)
        for name, sealed in (await self._client.call(key, "HGETALL", key, until=until)).items():
            handle = name.decode("ascii", "replace")
            if handle == ENDED:
                continue
            try:
                entries.summaries.append(self._records.open_summary(sealed, handle))
            except BadToken:
                entries.unreadable.append(handle)
        return entries

    async def end(self, key: str, now: float, until: float) -> list[str]:
        """End the sessions under a key that were created up to now; return their handles. Raises StoreUnavailable.

        Their records are still to be deleted, and then the entries to be taken out: the other way round, what
        fails in between could never be found again.
        """
        await self._raise_to(key, now, until)
        entries = await self.read(key, until)
        return [summary.handle for summary in entries.summaries if _covers(now, summary)] + entries.unreadable

    async def _raise_to(self, key: str, now: float, until: float) -> None:
        # A clock that was set back must not give back what was ended before.
        before = _milliseconds(await self._client.call(key, "HGET", key, ENDED, until=until))
        await asyncio.gather(
            self._client.call(key, "HSET", key, ENDED, max(before, int(now * 1000)), until=until),
            self._client.call(key, "PEXPIRE", key, self._lifetime_ms, until=until),
        )

    async def end_everybody(self, now: float, until: float) -> None:
        """Let every login that began up to now fail. Raises StoreUnavailable."""
        key, call = self._everybody, self._client.call
        before = _milliseconds(await call(key, "GET", key, until=until))
        await call(key, "SET", key, max(before, int(now * 1000)), "PX", self._lifetime_ms, until=until)


def _covers(now: float, summary: SessionSummary) -> bool:
    """Tell whether an ending is of a session: of what was created up to then, and of what a wrong clock created."""
    return int(summary.created * 1000) <= int(now * 1000) or summary.created > now + CLOCK_LEEWAY


def _milliseconds(value: bytes | None) -> int:
    return int(value) if value else 0
