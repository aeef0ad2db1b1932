"""The contract's part on cancellation: any call may be given up at each of its awaits."""

from __future__ import annotations

from asyncio import CancelledError, Future
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from gateway.core.session import Session
from gateway.errors import BadToken
from gateway.sessions.store import Opened, SessionStore
from tests.sessions.contract.world import BOB, StoreTests, World, eventually

Call = Coroutine[Any, Any, object]
MODES = pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when its answer is there"])


class GivenUp:
    """Awaits a call and cancels it at its n-th await; says whether it got that far."""

    def __init__(self, call: Call, at: int, *, late: bool) -> None:
        """``late``: what it waits for has come, but it is cancelled before it can look at it."""
        self._call = call
        self._at = at
        self._late = late

    def __await__(self) -> Generator[Any, None, bool]:
        steps = self._call.__await__()
        cancel = False
        for number in count():
            try:
                waits_for = steps.throw(CancelledError()) if cancel else steps.send(None)
            except StopIteration:
                return cancel
            except CancelledError:
                return True
            cancel = number == self._at
            if cancel and not self._late and isinstance(waits_for, Future):
                waits_for.cancel()
                yield None
            else:
                # Where what it waits for fails, the call finds that out by itself when it goes on.
                with suppress(Exception):
                    yield waits_for
        raise AssertionError


async def at_each_await(make: Callable[[], Awaitable[Call]], check: Callable[[], Awaitable[None]], late: bool) -> None:
    """Make a call and give it up, at its first await, at its second, and so on until it has no more of them."""
    for number in range(200):
        given_up = await GivenUp(await make(), number, late=late)
        await check()
        if not given_up:
            return
    raise AssertionError("it never ended")


class CancellingTests(StoreTests):
    """After a call was given up the store works, and its state is the one before the call or the one after it."""

    @MODES
    @pytest.mark.parametrize("name", ["load", "save", "list", "revoke", "revoke_user", "check", "refresh"])
    async def test_the_store_stays_sound(self, world: World, store: SessionStore, name: str, late: bool) -> None:
        """Whatever call is given up at whatever await, the next ones get their own answers."""
        kept = await store.save(world.begin(BOB))
        cold = await store.save(world.begin())
        second = await world.another()
        calls: dict[str, Callable[[], Call]] = {
            "load": lambda: second.load(cold.token, world.now),
            "save": lambda: second.save(world.begin()),
            "list": lambda: second.list("alice"),
            "revoke": lambda: second.revoke(world.begin()),
            "revoke_user": lambda: second.revoke_user("nobody", world.now),
            "check": second.check,
            "refresh": second.refresh,
        }

        async def make() -> Call:
            return calls[name]()

        async def check() -> None:
            assert (await second.load(kept.token, world.now)).session.identity == BOB
            await second.check()

        await at_each_await(make, check, late)
        assert await world.knew(kept.token)

    @MODES
    async def test_a_renewal_given_up(self, world: World, store: SessionStore, late: bool) -> None:
        """The session goes on, renewed or not."""
        opened = await store.save(world.begin())

        async def make() -> Call:
            return store.save(opened.session.touched(world.now + 1), opened.token)

        async def check() -> None:
            assert await world.knows(opened.token)

        await at_each_await(make, check, late)
        assert await world.knew(opened.token)

    @MODES
    @pytest.mark.parametrize("whole_user", [True, False])
    async def test_a_cancelled_logout_is_a_logout(
        self, world: World, store: SessionStore, whole_user: bool, late: bool
    ) -> None:
        """Once a session has begun to be ended it will be over, though the caller went away."""
        ended: list[Opened] = []

        async def make() -> Call:
            world.now += 1
            ended.append(await store.save(world.begin()))
            return store.revoke_user("alice", world.now) if whole_user else store.revoke(ended[-1].session)

        async def check() -> None:
            async def over() -> bool:
                return not await world.knows(ended[-1].token)

            assert await eventually(over)
            with pytest.raises(BadToken):
                await store.save(ended[-1].session, ended[-1].token)

        await at_each_await(make, check, late)
        await world.restart()
        assert [opened for opened in ended if await world.knows(opened.token)] == []

    @MODES
    async def test_a_cancelled_login(self, world: World, store: SessionStore, late: bool) -> None:
        """In the end either the old session is there or the new one, never both or a part of one."""
        old: list[Opened] = []
        new: list[Session] = []

        async def make() -> Call:
            await store.revoke_user("alice", world.now)
            world.now += 1
            old.append(await store.save(world.begin()))
            new.append(world.begin())
            return store.replace(old[-1].session, new[-1])

        async def check() -> None:
            async def settled() -> bool:
                old_opens = await world.knows(old[-1].token)
                if not self.lists:
                    return True
                return await world.listed() == [old[-1].session.handle if old_opens else new[-1].handle]

            assert await eventually(settled)

        await at_each_await(make, check, late)
        if self.lists:
            handles = await world.listed()
            await world.restart()
            assert await world.listed() == handles
