"""The contract of stores in files, which the processes of one host share: they are told, or look by themselves."""

from __future__ import annotations

import asyncio
import stat
import sys
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.core.session import Session
from gateway.errors import BadToken, StoreUnavailable
from gateway.sessions.recent import RecentSessions
from gateway.sessions.store import SessionStore
from tests.sessions.contract.world import ALICE, BOB, WAYS_TO_END, StoreTests, World, ways_to_end

ROOT = Path(__file__).resolve().parents[3]


async def run_elsewhere(program: str, *arguments: str) -> str:
    """Run a program with our modules in another process; return what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


class FileTests(StoreTests):
    """A store's own tests name its file, and can make one with a memory or an announcement of their own."""

    file_name: str

    @abstractmethod
    def open(self, world: World, *, recent: RecentSessions | None = None, others: list[SessionStore]) -> SessionStore:
        """Return a store that has ``others`` look when something ended."""

    async def start(self, world: World) -> SessionStore:
        return self.open(world, others=[])

    @pytest.mark.parametrize("ending", WAYS_TO_END)
    async def test_others_know_when_an_ending_returns(self, world: World, store: SessionStore, ending: str) -> None:
        """They are told once the disk has it, and only then is it done."""
        other = await world.another()
        telling = self.open(world, others=[other])
        world.others.append(telling)
        opened = await store.save(world.begin())
        held = await other.load(opened.token, world.now)
        await ways_to_end(telling, opened, world)[ending]()
        assert held.until == 0
        assert other.peek(opened.token) is None
        assert other.is_over(held, world.now)
        assert await world.knows(opened.token) is True
        await store.refresh()
        assert await world.knows(opened.token) is False

    async def test_news_that_fail_are_no_failure(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        """What is on disk is ended, whoever could not be told."""
        closed = await self.start(world)
        await closed.close()
        telling = self.open(world, others=[closed])
        world.others.append(telling)
        opened = await telling.save(world.begin())
        await telling.revoke(opened.session)
        assert not await world.knew(opened.token)
        assert "could not be told" in caplog.text

    async def test_who_holds_what_memory_has_lost_sees_its_end(self, world: World, store: SessionStore) -> None:
        """An open connection's session is over when it is ended, though it fell out of the bounded memory."""
        small = self.open(world, recent=RecentSessions(1), others=[])
        world.others.append(small)
        held = [await small.save(world.begin()) for _ in range(10)]
        for opened in held:
            await store.revoke(opened.session)
        assert not small.is_over(held[0], world.now)
        await small.refresh()
        assert all(small.is_over(opened, world.now) for opened in held)

    async def test_an_end_is_remembered_as_long_as_it_matters(self, world: World, store: SessionStore) -> None:
        """A restart and pruning, here and elsewhere, bring nothing back and lose nothing."""
        other = await world.another()
        opened = await store.save(world.begin(remember=True))
        held = await other.load(opened.token, world.now)
        await store.revoke(opened.session)
        for _ in range(29):
            world.now += 86400
            store = await world.restart()
            await store.refresh()
            assert not await world.knows(opened.token)
        await other.refresh()
        assert other.is_over(held, world.now)
        assert not await world.knows(opened.token, other)

    async def test_processes_write_at_the_same_time(self, world: World, store: SessionStore) -> None:
        """None of them ever hears of a lock, and no ending is lost."""
        others = [await world.another() for _ in range(4)]
        opened = [await store.save(world.begin()) for _ in range(60)]
        kept = await store.save(world.begin(BOB))
        program = f"""
import asyncio, sys
from pathlib import Path
from tests.sessions.contract.world import World
from tests.sessions.{type(self).__module__.rpartition(".")[2]} import {type(self).__name__} as Tests
async def main():
    world = World(Path(sys.argv[1]), Tests().start)
    store = await world.restart()
    for token in sys.argv[2:]:
        await store.revoke((await store.load(token, world.now)).session)
    await world.close()
asyncio.run(main())
"""
        here, there = opened[:40], opened[40:]
        await asyncio.gather(
            *(others[number % 4].revoke(one.session) for number, one in enumerate(here)),
            run_elsewhere(program, str(world.directory), *(one.token for one in there[:10])),
            run_elsewhere(program, str(world.directory), *(one.token for one in there[10:])),
        )
        for other in (store, *others):
            await other.refresh()
            assert [one for one in opened if await world.knows(one.token, other)] == []
            assert await world.knows(kept.token, other)

    async def test_the_file_is_for_its_owner_alone(self, world: World, store: SessionStore) -> None:
        """So are those that lie beside it while it is open."""
        await store.revoke((await store.save(world.begin())).session)
        files = list(world.directory.glob(f"{self.file_name}*"))
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert len(files) >= 2

    @pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
    async def test_a_file_that_is_none_of_ours(self, world: World, content: bytes) -> None:
        """It is not opened, named, and left as it is."""
        await world.close()
        world.store = None
        file = world.directory / self.file_name
        for old in world.directory.glob(f"{self.file_name}*"):
            old.unlink()
        file.write_bytes(content)
        with pytest.raises(StoreUnavailable, match=self.file_name):
            await self.start(world)
        assert file.read_bytes() == content

    async def test_a_file_that_fails(self, world: World, store: SessionStore) -> None:
        """Nobody is let in that was not, the caller is told, and what was to end is refused here all the same."""
        opened, cold = await store.save(world.begin()), world.begin(BOB)
        await store.close()
        calls: tuple[Callable[[], Awaitable[None]], ...] = (
            store.check,
            store.refresh,
            lambda: store.revoke(opened.session),
            lambda: store.revoke_user("bob", world.now),
        )
        for call in calls:
            with pytest.raises(StoreUnavailable, match=self.file_name):
                await call()
        assert store.is_over(opened, world.now)
        assert store.peek(opened.token) is None
        with pytest.raises(StoreUnavailable):
            await store.replace(opened.session, world.begin(ALICE))
        with pytest.raises(BadToken):
            await store.save(cold)
        assert await _refused(store, opened.session)


async def _refused(store: SessionStore, session: Session) -> bool:
    try:
        await store.save(session)
    except BadToken:
        return True
    return False
