"""What a worker does with sessions whose provider is to be asked again: one question, beside the requests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from gateway.core.identity import Identity
from gateway.core.policy import Rule
from gateway.core.provider import ProviderSession
from gateway.core.refresh import Refreshed
from gateway.core.session import Lifetimes, Session, start_session
from gateway.errors import StoreUnavailable
from gateway.proxy import refreshing
from gateway.proxy.refreshing import Logins, ask_nobody, take_over
from gateway.sessions.cookie_store import CookieStore
from gateway.sessions.recent import RecentSessions
from gateway.sessions.revocations import Revocations
from gateway.sessions.seal import KeyRing
from gateway.sessions.sqlite_store import SqliteStore
from gateway.sessions.store import Opened, SessionStore
from tests.proxy.loopback import until
from tests.support.waiting import wait_until

LIFE, GRACE = 100.0, 50.0
BEFORE, SINCE = Identity("sso:alice", groups=("staff",)), Identity("sso:alice", groups=("guests",))
MakeStore = Callable[[], SessionStore]


class TrustingStore(SqliteStore):
    """Believes its memory as long as nothing speaks against that, as the one in Redis does."""

    async def load(
        self, token: str, now: float, *, host: str = "", grace: float | None = None, streaming: bool = False
    ) -> Opened:
        held = self.peek(token)
        if held is not None and not held.doubtful:
            return held
        return await super().load(token, now, host=host, grace=grace, streaming=streaming)


class Clock:
    """The time, which only tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Parent:
    """Refreshes as the parent does, over a store of its own; says otherwise where a test wants that."""

    def __init__(self, store: SessionStore, clock: Clock) -> None:
        self.asked: list[str] = []
        self.says: Refreshed | Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self._store = store
        self._clock = clock

    async def __call__(self, token: str, _: str) -> Refreshed:
        self.asked.append(token)
        await self.go.wait()
        if isinstance(self.says, Exception):
            raise self.says
        if self.says is not None:
            return self.says
        session = (await self._store.load(token, self._clock())).session
        saved = await self._store.save(replace(session, identity=SINCE, login=login(self._clock())), token)
        return Refreshed("fresh", saved.token)


def login(now: float) -> ProviderSession:
    return ProviderSession("sso", "https://sso", "alice", access_expires=now + LIFE, refresh_at=now + 0.8 * LIFE)


@dataclass
class Stage:
    """A worker's part, its store, and the parent."""

    logins: Logins
    store: SessionStore
    parent: Parent
    clock: Clock

    async def session(self, number: int = 0) -> Opened:
        """Return a session that has just begun, as the worker has it in memory."""
        session = start_session(bytes([number] * 16), BEFORE, Lifetimes(), remember=False, now=self.clock.now)
        return await self.store.save(replace(session, login=login(self.clock.now)))

    async def answered(self) -> None:
        """Wait until no question is under way."""
        await until(lambda: not self.logins._asked)


@pytest.fixture(params=["cookie", "sqlite", "trusting", "one cookie", "one sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    clock, keys = Clock(), KeyRing([b"k" * 32], os.urandom)

    def cookie() -> SessionStore:
        revocations = Revocations(tmp_path / "revocations.sqlite", 1e6, clock())
        return CookieStore(keys, revocations, RecentSessions(100), Lifetimes(), clock)

    def sqlite() -> SessionStore:
        file = tmp_path / "sessions.sqlite"
        kind = TrustingStore if request.param == "trusting" else SqliteStore
        return kind(file, keys, RecentSessions(100), Lifetimes(), clock, os.urandom)

    make = cookie if "cookie" in request.param else sqlite
    # In one process the parent and its data plane have one store.
    return cache(make) if "one" in request.param else make


@pytest.fixture
async def stage(make_store: MakeStore) -> AsyncIterator[Stage]:
    clock, stores = Clock(), (make_store(), make_store())
    parent = Parent(stores[1], clock)
    logins = Logins(parent, {"sso": GRACE}, stores[0], clock, asyncio.get_running_loop())
    yield Stage(logins, stores[0], parent, clock)
    logins.close()
    for store in set(stores):
        await store.close()


async def test_within_the_grace_time_nobody_waits_and_then_all_know(stage: Stage) -> None:
    """The request goes on with what was told before; what it holds is the new state once that is there."""
    opened = await stage.session()
    opened.lines, opened.headers, opened.admitted_by = b"X-Forwarded-Groups: staff\r\n", {}, Rule("routes[0]")
    stage.clock.now += 0.9 * LIFE
    stage.parent.go.clear()
    assert await stage.logins.current(opened) is opened
    assert opened.session.identity == BEFORE
    stage.parent.go.set()
    await stage.answered()
    assert opened.session.identity == SINCE
    assert opened.refresh_at == pytest.approx(stage.clock.now + 0.8 * LIFE)
    assert [opened.lines, opened.headers, opened.admitted_by] == [None, None, None]
    assert opened.user == SINCE.user
    latest = opened.latest()
    assert stage.store.peek(latest.token) is latest
    assert latest.session.identity == SINCE
    assert stage.parent.asked == [opened.token]


async def test_beyond_it_all_wait_for_one_answer(stage: Stage) -> None:
    opened = await stage.session()
    stage.clock.now += LIFE + GRACE
    stage.parent.go.clear()
    waiting = [asyncio.create_task(stage.logins.current(opened)) for _ in range(100)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    stage.parent.go.set()
    assert set(map(id, await asyncio.gather(*waiting[1:]))) == {id(opened)}
    assert opened.session.identity == SINCE
    assert len(stage.parent.asked) == 1


async def test_what_failed_is_not_asked_again_before_it_is_worth_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the grace time the session goes on, beyond it there is none; when there is an answer, there is one."""
    monkeypatch.setattr(refreshing, "ASK_AGAIN", 0.01)
    opened = await stage.session()
    stage.clock.now += LIFE + GRACE - 1
    stage.parent.says = Refreshed("later", again=2.0)
    for _ in range(3):
        assert await stage.logins.current(opened) is opened
        await stage.answered()
    assert len(stage.parent.asked) == 1
    stage.clock.now += 1
    assert await stage.logins.current(opened) is None
    assert len(stage.parent.asked) == 1
    stage.parent.says = None

    async def is_back() -> bool:
        return await stage.logins.current(opened) is opened

    await wait_until(is_back)
    assert opened.session.identity == SINCE
    assert len(stage.parent.asked) == 2


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), StoreUnavailable("no disk")])
async def test_a_fault_ends_no_session(stage: Stage, fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "ASK_AGAIN", 0.01)
    opened = await stage.session()
    stage.clock.now += LIFE
    stage.parent.says = fault
    assert await stage.logins.current(opened) is opened
    await stage.answered()
    assert await stage.store.load(opened.token, stage.clock.now) is opened
    stage.parent.says = None

    async def is_told() -> bool:
        assert await stage.logins.current(opened) is opened
        await stage.answered()
        return opened.session.identity == SINCE

    await wait_until(is_told)


async def test_one_that_is_over_lets_nobody_in_who_waited(stage: Stage) -> None:
    opened = await stage.session()
    stage.clock.now += LIFE + GRACE
    stage.parent.says = Refreshed("over")
    assert await stage.logins.current(opened) is None


async def test_one_that_was_ended_meanwhile_stays_ended(stage: Stage) -> None:
    """The provider's word comes when the session is no longer there."""
    opened = await stage.session()
    stage.clock.now += LIFE + GRACE
    stage.parent.go.clear()
    waiting = asyncio.create_task(stage.logins.current(opened))
    await asyncio.sleep(0)
    await stage.store.revoke(opened.session)
    stage.parent.says = Refreshed("fresh", opened.token)
    stage.parent.go.set()
    assert await waiting is None
    assert stage.store.is_over(opened, stage.clock.now)


async def test_both_tokens_of_a_session_are_fresh_after_one_question(stage: Stage) -> None:
    """As a browser's tabs hold them while a cookie is renewed; what is renewed later has the new state too."""
    first = await stage.session()
    second = await stage.store.save(first.session.touched(stage.clock.now + 1), first.token)
    stage.clock.now += LIFE + GRACE
    found = await asyncio.gather(*[stage.logins.current(each) for each in (first, second, first)])
    assert [each is not None and each.session.identity for each in found] == [SINCE] * 3
    assert len(stage.parent.asked) == 1


async def test_a_renewal_under_way_does_not_hide_what_was_told(stage: Stage) -> None:
    """The chain of what a session was renewed to ends in the state that the provider told."""
    opened = await stage.session()
    opened.renewed = await stage.store.save(opened.session.touched(stage.clock.now + 1), opened.token)
    stage.clock.now += 0.9 * LIFE
    await stage.logins.current(opened)
    await stage.answered()
    states = [opened, opened.renewed, opened.latest()]
    assert [each.session.identity for each in states] == [SINCE] * 3
    assert opened.renewed.session.seen > opened.session.seen


async def test_too_many_at_once_wait_for_their_turn(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those within the grace time go on meanwhile, and open connections of the others stay."""
    monkeypatch.setattr(refreshing, "MAX_ASKED", 1)
    one, two = await stage.session(1), await stage.session(2)
    stage.clock.now += LIFE
    stage.parent.go.clear()
    assert await stage.logins.current(one) is one
    assert await stage.logins.current(two) is two
    stage.clock.now += GRACE
    assert not stage.logins.is_too_old(two)
    await asyncio.sleep(0)
    assert stage.parent.asked == [one.token]
    stage.parent.go.set()
    await stage.answered()
    await stage.logins.current(two)
    assert two.session.identity == SINCE


async def test_open_connections_stay_until_it_is_known_that_they_may_not(stage: Stage) -> None:
    opened = await stage.session()
    stage.clock.now += 0.7 * LIFE
    assert not stage.logins.is_too_old(opened)
    assert stage.parent.asked == []
    stage.parent.go.clear()
    stage.parent.says = Refreshed("later", again=60)
    stage.clock.now += LIFE + GRACE
    assert not stage.logins.is_too_old(opened)
    stage.parent.go.set()
    await stage.answered()
    assert stage.logins.is_too_old(opened)


async def test_a_provider_that_nobody_knows_has_no_grace(stage: Stage) -> None:
    opened = await stage.session()
    stage.clock.now += 0.9 * LIFE
    nobody = Logins(ask_nobody, {}, stage.store, stage.clock, asyncio.get_running_loop())
    assert await nobody.current(opened) is opened
    stage.clock.now += 0.1 * LIFE
    assert await nobody.current(opened) is None


async def test_memory_of_what_failed_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "MAX_LATER", 4)
    stage.parent.says = Refreshed("later", again=60)
    sessions = [await stage.session(number) for number in range(10)]
    stage.clock.now += LIFE
    for opened in sessions:
        await stage.logins.current(opened)
        await stage.answered()
    assert len(stage.logins._later) <= 4


def test_what_was_told_before_does_not_come_back() -> None:
    """Nor does a session become its own successor, however often it is told."""
    session = Session(bytes(16), SINCE, 0.0, 0.0, 1000.0, None, login=login(100.0))
    now, old = Opened(session, "b", 1000.0), Opened(replace(session, identity=BEFORE, login=login(0.0)), "a", 1000.0)
    take_over(now, old)
    assert (now.session.identity, now.latest()) == (SINCE, now)
    for opened, fresh in ((old, now), (now, now), (now, old), (old, old)):
        take_over(opened, fresh)
    assert (old.session.identity, old.latest(), now.latest()) == (SINCE, now, now)
