"""The sessions of a user as Redis has them: what the index says, as far as there are records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.core.session import SessionSummary
from gateway.errors import StoreUnavailable
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_index import UserIndex
from gateway.sessions.terms import Terms

MANY_TIME = 5.0
"""Seconds for what is asked about many sessions at once."""
AT_ONCE = 200
YOUNG = 60.0
"""Seconds for which an entry of the index may be there without its record."""


class SessionLists:
    """Reads the index, and clears away what has no record any more."""

    def __init__(
        self, client: RedisClient, index: UserIndex, terms: Terms, prefix: str, clock: Callable[[], float]
    ) -> None:
        """``prefix`` is what the keys of records begin with."""
        self._client = client
        self._index = index
        self._terms = terms
        self._prefix = prefix
        self._clock = clock

    async def read(self, index_key: str) -> list[SessionSummary]:
        """Return the sessions that are not over, newest first. Raises StoreUnavailable."""
        until, now = self._client.deadline(at_least=MANY_TIME), self._clock()
        entries = await self._index.read(index_key, until)
        there = await self._there([summary.handle for summary in entries.summaries], until)
        # An entry is written before its record: one that has just begun is not cleared away.
        gone = [each.handle for each in entries.summaries if each.handle not in there and each.created < now - YOUNG]
        with suppress(StoreUnavailable):
            await self._index.leave_key(index_key, gone, until)
        found = [each for each in entries.summaries if each.handle in there and self._ends(each) > now]
        return sorted(found, key=lambda summary: summary.created, reverse=True)

    def _ends(self, summary: SessionSummary) -> float:
        return min(summary.expires, self._terms.end_at_most(summary))

    async def _there(self, handles: list[str], until: float) -> set[str]:
        """Return those of the sessions that have a record."""
        found: set[str] = set()
        for start in range(0, len(handles), AT_ONCE):
            some = handles[start : start + AT_ONCE]
            names = [self._prefix + handle for handle in some]
            exist = await asyncio.gather(*(self._client.call(name, "EXISTS", name, until=until) for name in names))
            found |= {handle for handle, exists in zip(some, exist, strict=True) if exists}
        return found
