"""The Redis store: sessions that any number of hosts share; the cookie holds a key.

    RedisStore(client, keys, recent, lifetimes, grace, clock, random)

A session ends when its record is deleted. Others learn that from Redis, which tells every gateway at
once; what a process deletes itself it takes out of its own memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import repeat
from typing import TypeAlias

from gateway.core.redis_address import RedisAddress
from gateway.core.session import Lifetimes, Session, SessionSummary
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.finish import finish
from gateway.sessions.recent import RecentSessions
from gateway.sessions.records import RecordKey, Records, new_token, parse_token
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_index import UserIndex
from gateway.sessions.redis_memory import FollowedSessions
from gateway.sessions.seal import KeyRing, SealBroken
from gateway.sessions.store import Opened
from gateway.sessions.terms import Terms

MANY_TIME = 5.0
"""Seconds for what is asked about many sessions at once."""
AT_ONCE = 200
YOUNG = 60.0
"""Seconds for which an entry of the index may be there without its record."""
ALARM_EVERY = 10.0

Summaries: TypeAlias = list[SessionSummary]
Handles: TypeAlias = list[str]

_log = logging.getLogger("gateway.redis")


class RedisStore:
    """A `SessionStore` in Redis."""

    def __init__(
        self,
        client: RedisClient,
        keys: KeyRing,
        recent: RecentSessions,
        lifetimes: Lifetimes,
        grace: float,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        """Prepare; ``client`` follows the keys under `records_prefix`. ``grace`` is seconds."""
        self._client = client
        self._records = Records(keys)
        self._prefix = records_prefix(client.address)
        self._memory = FollowedSessions(client, recent, self._prefix)
        self._recent = recent
        self._terms = Terms(lifetimes)
        self._grace = grace
        self._clock = clock
        self._random = random
        longest = max(lifetimes.absolute, lifetimes.remember or 0.0)
        self._index = UserIndex(client, self._records, longest)
        self._flights: dict[str, asyncio.Task[Opened]] = {}
        self._ending: dict[str, tuple[str, float]] = {}
        """User and end of the sessions, by handle, that are being ended or could not be yet."""
        self._alarmed = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self.peek = self._memory.peek
        client.on_return = self._end_rest

    async def start(self) -> None:
        """Connect, and begin to follow what others do; a Redis that cannot be reached is no error here."""
        await self._client.start()

    # Reading

    async def load(self, token: str, now: float, *, grace: float | None = None) -> Opened:
        """Open a token. Raises BadToken, or StoreUnavailable where nothing is known and no grace is left."""
        held = self.peek(token)
        if held is not None and held.until > now and not held.doubtful:
            return held
        flight = self._flights.get(token)
        if flight is None:
            key = parse_token(token)
            flight = self._begin(token, self._fetch(token, key, now))
        try:
            # Shielded: others may wait for the same reply.
            opened = await asyncio.shield(flight)
        except StoreUnavailable:
            return self._in_grace(token, now, self._grace if grace is None else min(grace, self._grace))
        if opened.until <= now:
            raise BadToken("the session is over")
        return opened

    def _begin(self, token: str, fetch: Coroutine[None, None, Opened]) -> asyncio.Task[Opened]:
        flight = self._flights[token] = asyncio.get_running_loop().create_task(fetch, name="load a session")

        def landed(task: asyncio.Task[Opened]) -> None:
            self._flights.pop(token, None)
            if not task.cancelled():
                # It may be that nobody waits any more.
                task.exception()

        flight.add_done_callback(landed)
        return flight

    async def _fetch(self, token: str, key: RecordKey, now: float) -> Opened:
        name = self._prefix + key.handle

        def read(record: bytes | None) -> Opened:
            # Called where the reply is read: a change that is told later cannot be overtaken by it.
            return self._read(record, token, key, now)

        opened: Opened = await self._client.call(name, "GET", name, until=self._client.deadline(), then=read)
        return opened

    def _read(self, record: bytes | None, token: str, key: RecordKey, now: float) -> Opened:
        if record is None or key.handle in self._ending:
            self._recent.forget(key.handle)
            raise BadToken("the session is not there, or no more")
        try:
            session = self._records.open(record, key)
        except SealBroken:
            self._alarm(key.handle)
            raise
        self._terms.admit(session, now)
        held = self._recent.get(token)
        if held is not None and held.session == session:
            held.doubtful = False
            return held
        opened = self._terms.opened(session, token, current_key=self._records.is_current(record))
        self._recent.put(opened)
        return opened

    def _alarm(self, handle: str) -> None:
        """Say that a record is not what it should be: changed, another's, or asked for with a made-up token."""
        self._client.counts["alarms_total"] += 1
        now = asyncio.get_running_loop().time()
        if now - self._alarmed > ALARM_EVERY:
            self._alarmed = now
            _log.error("redis: the record of session %s was not sealed for it; the session is refused", handle)

    def _in_grace(self, token: str, now: float, grace: float) -> Opened:
        """Return what memory has for a token while Redis does not answer. Raises StoreUnavailable."""
        held = self._recent.get(token)
        silent = self._client.silent_for(self._prefix + parse_token(token).handle) or 0.0
        if held is None or held.until <= now or silent >= grace:
            raise StoreUnavailable("Redis does not answer, and nothing is known of the session")
        self._client.counts["graced_total"] += 1
        return held

    def is_over(self, opened: Opened, now: float) -> bool:
        """Tell whether a session in use has run out or was ended, so far as this process knows."""
        latest = opened.latest()
        return latest.until <= now or latest.session.handle in self._ending

    async def list(self, user: str) -> Summaries:
        """Return the sessions of ``user`` that are not over, newest first; clear away those that are gone."""
        return await finish(self._list(self._index.key_of(user)), "list sessions")

    async def _list(self, index_key: str) -> Summaries:
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

    async def _there(self, handles: Handles, until: float) -> set[str]:
        """Return those of the sessions that have a record."""
        found: set[str] = set()
        for start in range(0, len(handles), AT_ONCE):
            some = handles[start : start + AT_ONCE]
            names = [self._prefix + handle for handle in some]
            exist = await asyncio.gather(*(self._client.call(name, "EXISTS", name, until=until) for name in names))
            found |= {handle for handle, exists in zip(some, exist, strict=True) if exists}
        return found

    # Writing

    async def keep(self, opened: Opened, seconds: float) -> None:
        """Let the record stay for some time, so that it can still be found out whether it was deleted.

        Raises StoreUnavailable.
        """
        name = self._prefix + opened.session.handle
        await self._client.call(name, "PEXPIRE", name, int(seconds * 1000), until=self._client.deadline())

    async def save(self, session: Session, token: str | None = None) -> Opened:
        """Store a new session, or under its ``token`` a changed one. Raises BadToken where that was ended."""
        if token is None:
            return await finish(self._insert(session), "store a session")
        return await finish(self._renew(session, token), "renew a session")

    async def _insert(self, session: Session) -> Opened:
        token, until = new_token(session.id, self._random), self._client.deadline()
        key = parse_token(token)
        crowded = await self._index.enter(session, until)
        opened: Opened | None
        try:
            opened = await self._write(session, key, token, "NX", until)
            if opened is not None and await self._index.ended_since(session, until):
                await self._delete([session.handle], until)
                raise BadToken("the session was ended while it began")
        except StoreUnavailable:
            # Nobody gets this token; what may lie there goes when Redis is back.
            self._ending[session.handle] = (session.user, session.expires)
            self._recent.forget(session.handle)
            raise
        if opened is None:
            raise BadToken("there is a session of this id already")
        for index_key in crowded:
            self._in_background(self._clear_away(index_key))
        return opened

    async def _renew(self, session: Session, token: str) -> Opened:
        key = parse_token(token)
        if key.id != session.id:
            raise BadToken("the token of another session")
        until = self._client.deadline()
        opened = await self._write(session, key, token, "XX", until)
        if opened is None:
            raise BadToken("the session is there no more")
        with suppress(StoreUnavailable):
            await self._index.enter(session, until)
        return opened

    async def _write(self, session: Session, key: RecordKey, token: str, only_if: str, until: float) -> Opened | None:
        """Write a record only if there is none (NX) or one (XX); return None where there is one, or none."""
        now = self._clock()
        opened = self._terms.opened(session, token)
        # A clock that was set back must not make a session that outlives its own time.
        left = min(opened.until - now, opened.until - session.seen)
        if left <= 0:
            raise BadToken("the session is over")
        name = self._prefix + key.handle

        def written(reply: bytes | None) -> Opened | None:
            if reply is None:
                if only_if == "XX":
                    self._recent.forget(key.handle)
                return None
            if key.handle in self._ending:
                raise BadToken("the session was ended meanwhile")
            self._recent.put(opened)
            return opened

        record = self._records.seal(session, key.secret)
        words = ("SET", name, record, "PX", max(1, int(left * 1000)), only_if)
        found: Opened | None = await self._client.call(
            name, *words, until=until, then=written, repeatable=only_if == "XX"
        )
        return found

    # Ending

    async def replace(self, old: Session | None, new: Session) -> Opened:
        """End ``old``, then store ``new``."""
        if old is None:
            return await self.save(new)
        self._end_here(old)
        return await finish(self._replace(old, new), "replace a session")

    async def _replace(self, old: Session, new: Session) -> Opened:
        await self._end(old.handle, old.user)
        return await self._insert(new)

    async def revoke(self, session: Session | SessionSummary) -> None:
        """End a session; where Redis does not take that, this process refuses it, and tells Redis later."""
        self._end_here(session)
        await finish(self._end(session.handle, session.user), "end a session")

    def _end_here(self, session: Session | SessionSummary) -> None:
        now = self._clock()
        self._ending = {handle: entry for handle, entry in self._ending.items() if entry[1] > now}
        self._ending[session.handle] = (session.user, session.expires)
        self._recent.forget(session.handle)

    async def _end(self, handle: str, user: str) -> None:
        until = self._client.deadline()
        await self._delete([handle], until)
        with suppress(StoreUnavailable):
            # What is left in the index is cleared away when it is read.
            await self._index.leave(user, [handle], until)

    async def _delete(self, handles: Handles, until: float) -> int:
        """Delete records; they are out of memory where the reply is read. Return how many there were."""

        def delete(handle: str) -> Awaitable[int]:
            def deleted(reply: int) -> int:
                self._recent.forget(handle)
                self._ending.pop(handle, None)
                return reply

            name = self._prefix + handle
            return self._client.call(name, "DEL", name, until=until, then=deleted)

        count = 0
        for start in range(0, len(handles), AT_ONCE):
            count += sum(await asyncio.gather(*map(delete, handles[start : start + AT_ONCE])))
        return count

    async def revoke_user(self, user: str, now: float) -> None:
        """End every session of ``user`` that was created before or at ``now``."""
        self._recent.forget_user(user, now)
        await finish(self._end_under([self._index.key_of(user)], now), "end the sessions of a user")

    async def _end_under(self, keys: Sequence[str], now: float) -> int:
        """End what the index has under its keys; return how many sessions there were. Raises StoreUnavailable.

        Whatever fails, the same again ends what is left.
        """
        until = self._client.deadline(at_least=MANY_TIME)
        found = await asyncio.gather(*(self._index.end(key, now, until) for key in keys))
        ended = await self._delete(sorted(set().union(*found)), until)
        with suppress(StoreUnavailable):
            # What is left in the index is cleared away when it is read.
            await asyncio.gather(*map(self._index.leave_key, keys, found, repeat(until)))
        return ended

    async def revoke_logins(self, marks: Sequence[str], now: float) -> int:
        """End every session with one of these marks that was created before or at ``now``; return how many."""
        wanted = set(marks)
        self._recent.forget_if(
            lambda each: bool(each.login and each.created <= now and not wanted.isdisjoint(each.login.marks()))
        )
        keys = [self._index.key_of_login(mark) for mark in wanted]
        return await finish(self._end_under(keys, now), "end the sessions of a login")

    async def revoke_all(self, now: float) -> None:
        """End every session of everybody that was created before or at ``now``."""
        self._recent.forget_if(lambda session: session.created <= now)
        await finish(self._end_all(now), "end all sessions")

    async def _end_all(self, now: float) -> None:
        deadline = self._client.deadline
        await self._index.end_everybody(now, deadline())
        kept: set[str] = set()
        async for keys in self._client.scan(self._index.pattern):
            for key in keys:
                await self._end_under([key], now)
                kept |= {summary.handle for summary in (await self._index.read(key, deadline())).summaries}
        # Records that no index knows, as where that was lost.
        async for keys in self._client.scan(f"{self._prefix}*"):
            handles = [key[len(self._prefix) :] for key in keys]
            await self._delete([handle for handle in handles if handle not in kept], deadline(at_least=MANY_TIME))

    # Keeping

    def _end_rest(self) -> None:
        """End what could not be ended while Redis did not answer."""
        if self._ending:
            self._in_background(self._end_all_of(dict(self._ending)))

    async def _end_all_of(self, ending: dict[str, tuple[str, float]]) -> None:
        for handle, (user, _) in ending.items():
            await self._end(handle, user)

    async def _clear_away(self, index_key: str) -> None:
        await self._list(index_key)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        async def quietly() -> None:
            with suppress(StoreUnavailable):
                await work

        task = asyncio.get_running_loop().create_task(quietly(), name="redis housekeeping")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def refresh(self) -> None:
        """Do nothing: Redis tells of what others have ended."""

    async def check(self) -> None:
        """Raise StoreUnavailable unless Redis is in order."""
        await self._client.check()

    def stats(self) -> dict[str, float]:
        """Return counts and states for metrics."""
        return self._client.stats() | {"known_sessions": float(len(self._recent)), "unended": float(len(self._ending))}

    async def close(self) -> None:
        """Close the connections."""
        tasks = [*self._tasks, *self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()


def records_prefix(address: RedisAddress) -> str:
    """Return what the keys of records begin with, which a store's client has to follow."""
    return f"{address.prefix}s:"
