"""The Redis store: sessions that any number of hosts share; the cookie holds a key.

    RedisStore(client, keys, recent, lifetimes, grace, clock, random)

A session ends when its record is deleted. Others learn that from Redis, which tells every gateway at
once; what a process deletes itself it takes out of its own memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from typing import TypeAlias

from gateway.core.session import Lifetimes, Session, SessionSummary
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.finish import begin, finish
from gateway.sessions.recent import RecentSessions
from gateway.sessions.records import RecordKey, Records
from gateway.sessions.redis_alarm import Alarm
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.redis_index import UserIndex
from gateway.sessions.redis_links import BothRead, SessionLinks, is_closed
from gateway.sessions.redis_lists import AT_ONCE, MANY_TIME, SessionLists
from gateway.sessions.redis_memory import FollowedSessions, records_prefix
from gateway.sessions.seal import KeyRing, SealBroken
from gateway.sessions.store import Opened
from gateway.sessions.terms import Terms

Summaries: TypeAlias = list[SessionSummary]
Handles: TypeAlias = list[str]


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
        self._records = Records(keys, random)
        self._prefix = records_prefix(client.address)
        self._memory = FollowedSessions(client, recent, self._prefix)
        self._recent = recent
        self._terms = Terms(lifetimes)
        self._grace = grace
        self._clock = clock
        longest = max(lifetimes.absolute, lifetimes.remember or 0.0)
        self._index = UserIndex(client, self._records, longest)
        self._lists = SessionLists(client, self._index, self._terms, self._prefix, clock)
        self._links = SessionLinks(client, self._prefix, longest)
        self._flights: dict[str, asyncio.Task[Opened]] = {}
        self._ending: dict[str, tuple[str, float, bool]] = {}
        """User and end of the sessions, by handle, that are being ended or could not be yet, and whether those that
        they are linked with stay."""
        self._alarm = Alarm(client.counts)
        self._tasks: set[asyncio.Task[None]] = set()
        self.peek = self._memory.peek
        client.on_return = self._end_rest

    async def start(self) -> None:
        """Connect, and begin to follow what others do; a Redis that cannot be reached is no error here."""
        await self._client.start()

    # Reading

    async def load(
        self, token: str, now: float, *, host: str = "", grace: float | None = None, streaming: bool = False
    ) -> Opened:
        """Open a token. Raises BadToken, or StoreUnavailable where nothing is known and no grace is left."""
        key = self._records.parse(token, host)
        held = self.peek(token)
        if held is not None and held.until > now and not held.doubtful:
            return held
        flight = self._flights.get(token)
        if flight is None:
            flight = begin(self._flights, token, self._fetch(token, key, now), "load a session")
        try:
            # Shielded: others may wait for the same reply.
            opened = await asyncio.shield(flight)
        except StoreUnavailable:
            kept = self._recent.get_closed(token) if streaming else None
            grace = self._grace if grace is None else min(grace, self._grace)
            return self._in_grace(kept or self._recent.get(token), key.handle, 0.0 if streaming else now, grace)
        if opened.until <= now:
            raise BadToken("the session is over")
        if opened.closed and not streaming:
            raise BadToken("a later login has taken the place of this token")
        return opened

    def is_ours(self, token: str, host: str) -> bool:
        """Tell whether a token has a right tag for this host, or for every host."""
        return self._records.is_ours(token, host)

    async def _fetch(self, token: str, key: RecordKey, now: float) -> Opened:
        # Called where the replies are read: a change that is told later cannot be overtaken by them.
        both = BothRead(self._memory, partial(self._read, token, key, now))
        return await self._links.read(key.handle, self._client.deadline(), both)

    def _read(
        self, token: str, key: RecordKey, now: float, record: bytes | None, closed: bytes | None, unchanged: bool
    ) -> Opened:
        if record is None or key.handle in self._ending:
            self._recent.forget(key.handle)
            raise BadToken("the session is not there, or no more")
        try:
            session = self._records.open(record, key)
        except SealBroken:
            self._alarm.sound(key.handle)
            raise
        self._terms.admit(session, now)
        current = key.current and self._records.is_current(record)
        opened = self._terms.opened(session, token, host=key.host, token_id=key.token_id, current_key=current)
        opened.closed = is_closed(closed, key.token_id)
        if opened.closed:
            self._recent.close(key.handle, key.token_id)
        if not unchanged:
            # Right when it was read; whoever comes next asks again.
            self._recent.doubt(key.handle)
            return opened
        held = self._recent.held(opened)
        if held is not None and held.session == session:
            held.doubtful = False
            return held
        self._recent.put(opened)
        return opened

    def _in_grace(self, held: Opened | None, handle: str, now: float, grace: float) -> Opened:
        """Return what memory has for a token while Redis does not answer. Raises StoreUnavailable.

        A response under way may have a session that is idle by now: ``now`` is 0.0 for it.
        """
        silent = self._client.silent_for(self._prefix + handle) or 0.0
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
        return await finish(self._lists.read(self._index.key_of(user)), "list sessions")

    # Writing

    async def keep(self, opened: Opened, seconds: float) -> None:
        """Let the record stay for some time, so that it can still be found out whether it was deleted.

        Raises StoreUnavailable.
        """
        name = self._prefix + opened.session.handle
        await self._client.call(name, "PEXPIRE", name, int(seconds * 1000), until=self._client.deadline())

    async def save(self, session: Session, token: str | None = None, *, host: str = "") -> Opened:
        """Store a new session, or under its ``token`` a changed one. Raises BadToken where that was ended."""
        if token is None:
            return await finish(self._insert(session, host), "store a session")
        return await finish(self._renew(session, self._records.parse(token, host)), "renew a session")

    async def _insert(self, session: Session, host: str) -> Opened:
        token, until = self._records.new_token(session.id, host), self._client.deadline()
        key = self._records.parse(token, host)
        crowded = await self._index.enter(session, until)
        opened: Opened | None
        try:
            opened = await self._write(session, key, token, until, new=True)
            if opened is not None and await self._index.ended_since(session, until):
                await self._delete([session.handle], until)
                raise BadToken("the session was ended while it began")
        except StoreUnavailable:
            # Nobody gets this token; what may lie there goes when Redis is back.
            self._ending[session.handle] = (session.user, session.expires, True)
            self._recent.forget(session.handle)
            raise
        if opened is None:
            raise BadToken("there is a session of this id already")
        for index_key in crowded:
            self._in_background(self._clear_away(index_key))
        return opened

    async def _renew(self, session: Session, key: RecordKey) -> Opened:
        if key.id != session.id:
            raise BadToken("the token of another session")
        until = self._client.deadline()
        opened = await self._write(session, key, self._records.same_token(key), until, new=False)
        if opened is None:
            raise BadToken("the session is there no more")
        with suppress(StoreUnavailable):
            await self._index.enter(session, until)
        return opened

    async def _write(self, session: Session, key: RecordKey, token: str, until: float, *, new: bool) -> Opened | None:
        """Write a record only if there is none (``new``), or only if there is one; return None where that is not so."""
        now = self._clock()
        opened = self._terms.opened(session, token, host=key.host, token_id=key.token_id)
        # A clock that was set back must not make a session that outlives its own time.
        left = min(opened.until - now, opened.until - session.seen)
        if left <= 0:
            raise BadToken("the session is over")
        name = self._prefix + key.handle

        def written(reply: bytes | None) -> bool:
            if reply is None:
                if not new:
                    self._recent.forget(key.handle)
                return False
            if key.handle in self._ending:
                raise BadToken("the session was ended meanwhile")
            opened.closed = self._recent.get_closed(token) is not None
            self._recent.put(opened)
            return True

        record, only_if = self._records.seal(session, key.secret), "NX" if new else "XX"
        words = ("SET", name, record, "PX", max(1, int(left * 1000)), only_if)
        if not await self._client.call(name, *words, until=until, then=written, repeatable=not new):
            return None
        if not new:
            await self._links.look(opened, until, self._recent)
        return opened

    def token_for(self, opened: Opened, host: str) -> Opened:
        """Return the session with a token for one host; the record is the same."""
        token = self._records.further_token(self._records.parse(opened.token, opened.host), host)
        token_id = self._records.parse(token, host).token_id
        # It is not remembered: that the session is still there, whoever opens it asks Redis.
        return self._terms.opened(opened.session, token, host=host, token_id=token_id)

    # Ending

    async def replace(self, old: Session | None, new: Session, *, host: str = "") -> Opened:
        """End ``old``, then store ``new``."""
        if old is None:
            return await self.save(new, host=host)
        self._end_here(old)
        return await finish(self._replace(old, new, host), "replace a session")

    async def _replace(self, old: Session, new: Session, host: str) -> Opened:
        await self._end(old.handle, old.user)
        return await self._insert(new, host)

    async def supersede(self, old: Opened, new: Session) -> None:
        """Close the token of ``old`` for new requests, in favour of ``new``."""
        await finish(self._supersede(old, new), "let a session take a token's place")

    async def _supersede(self, old: Opened, new: Session) -> None:
        if not await self._links.supersede(old, new, self._client.deadline(), self._recent):
            await self._delete([old.session.handle], self._client.deadline())

    async def revoke(self, session: Session | SessionSummary, *, spare: str = "", alone: bool = False) -> None:
        """End a session; where Redis does not take that, this process refuses it, and tells Redis later."""
        self._end_here(session, alone=alone or bool(spare))
        await finish(self._end(session.handle, session.user, spare, alone=alone), "end a session")

    def _end_here(self, session: Session | SessionSummary, *, alone: bool = False) -> None:
        now = self._clock()
        self._ending = {handle: entry for handle, entry in self._ending.items() if entry[1] > now}
        self._ending[session.handle] = (session.user, session.expires, alone)
        self._recent.forget(session.handle)

    async def _end(self, handle: str, user: str, spare: str = "", *, alone: bool = False) -> None:
        until, linked, entry = self._client.deadline(at_least=MANY_TIME), set[str](), self._ending.get(handle)
        try:
            if not alone:
                linked = await self._links.around([handle], until) - {spare}
                await self._delete(sorted(linked), until)
        except StoreUnavailable:
            with suppress(StoreUnavailable):
                await self._delete([handle], self._client.deadline())
            if entry is not None:
                # The rest is ended when Redis is back.
                self._ending[handle] = entry
            raise
        await self._delete([handle], until)
        with suppress(StoreUnavailable):
            # What is left in the index is cleared away when it is read.
            await self._index.leave(user, [handle, *linked], until)

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

    async def _end_under(self, keys: Sequence[str], now: float, *, linked: bool = False) -> int:
        """End what the index has under its keys; return how many sessions there were. Raises StoreUnavailable.

        With ``linked`` so are those that are linked with them. Whatever fails, the same again ends what is left.
        """
        until = self._client.deadline(at_least=MANY_TIME)
        found = await asyncio.gather(*(self._index.end(key, now, until) for key in keys))
        handles = set().union(*found)
        if linked:
            handles |= await self._links.around(handles, until)
        ended = await self._delete(sorted(handles), until)
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
        return await finish(self._end_under(keys, now, linked=True), "end the sessions of a login")

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
            handles = [handle for key in keys if not (handle := key[len(self._prefix) :]).startswith("{")]
            await self._delete([handle for handle in handles if handle not in kept], deadline(at_least=MANY_TIME))

    # Keeping

    def _end_rest(self) -> None:
        """End what could not be ended while Redis did not answer."""
        if self._ending:
            self._in_background(self._end_all_of(dict(self._ending)))

    async def _end_all_of(self, ending: dict[str, tuple[str, float, bool]]) -> None:
        for handle, (user, _, alone) in ending.items():
            await self._end(handle, user, alone=alone)

    async def _clear_away(self, index_key: str) -> None:
        await self._lists.read(index_key)

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
