"""The throttle in a file keeps the contract, and what is particular to it."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.login.curve import HERE
from gateway.login.sqlite_throttle import SqliteThrottle
from gateway.login.throttle import FallbackThrottle, LoginThrottle, MemoryThrottle
from tests.login.throttle_contract import Clock, SharedThrottleContract, at, fail, wait_of

FILE = "throttle.sqlite"
KEY = b"k" * 32
ROOT = Path(__file__).resolve().parents[2]


class TestSqliteThrottle(SharedThrottleContract):
    """The whole contract."""

    async def start(self, directory: Path, clock: Clock) -> LoginThrottle:
        return SqliteThrottle(directory / FILE, clock, KEY)


class TestSqliteThrottleWithFallback(SharedThrottleContract):
    """The whole contract, as the gateway uses it."""

    async def start(self, directory: Path, clock: Clock) -> LoginThrottle:
        return FallbackThrottle(SqliteThrottle(directory / FILE, clock, KEY), MemoryThrottle(clock))


def rows(file: Path) -> int:
    db = sqlite3.connect(file)
    count = int(db.execute("SELECT count(*) FROM counted").fetchone()[0])
    db.close()
    return count


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_the_file_is_bounded(tmp_path: Path) -> None:
    """Whatever names and networks come, what was longest unused goes; what is in use stays."""
    clock = Clock()
    throttle = SqliteThrottle(tmp_path / FILE, clock, KEY, records=64, places=32)
    busy = at("192.0.2.9/32", user="busy")
    await fail(throttle, clock, busy, HERE.free + 2)
    for number in range(400):
        await throttle.succeeded(await throttle.begin(at(f"a{number}", user=f"user{number}")))
        await wait_of(throttle, at(f"b{number}", user=f"name{number}"))
        if number % 10 == 0:
            assert await fail(throttle, clock, busy, 1) != [0]
    await throttle.close()
    assert rows(tmp_path / FILE) <= 3 * 64 + 32 + 20


async def test_nobody_can_be_read_from_the_file(tmp_path: Path) -> None:
    """Names may be passwords that were typed into the wrong field."""
    throttle = SqliteThrottle(tmp_path / FILE, Clock(), KEY)
    ticket = await throttle.begin(at("192.0.2.77/32", user="hunter2-is-a-password", device="own-browser"))
    await throttle.succeeded(ticket)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in files_in(tmp_path)}
    await throttle.close()
    found = b"".join(file.read_bytes() for file in files_in(tmp_path))
    assert not any(text in found for text in (b"hunter2", b"192.0.2", b"own-browser"))
    assert modes == {0o600}


async def test_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written is counted in memory, and the log says so; nobody gets an error or a free guess."""
    clock = Clock()
    shared = SqliteThrottle(tmp_path / FILE, clock, KEY)
    await shared._database.write(lambda db: db.execute("PRAGMA max_page_count = 1"))
    throttle = FallbackThrottle(shared, MemoryThrottle(clock))
    outcomes = [0] * (HERE.free + 1) + [2]
    for number in range(40):
        network = f"192.0.2.{number}/32"
        assert await fail(throttle, clock, at(network, user=f"u{number}"), HERE.free + 2) == outcomes
    assert "full" in caplog.text
    await throttle.close()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_none_of_ours(tmp_path: Path, content: bytes) -> None:
    """It is named, and left as it is."""
    file = tmp_path / FILE
    file.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=FILE):
        SqliteThrottle(file, Clock(), KEY)
    assert file.read_bytes() == content


async def test_another_process(tmp_path: Path) -> None:
    """Two programs on one file make as many guesses together as one."""
    program = f"""
import asyncio, sys
from pathlib import Path
from gateway.login.sqlite_throttle import SqliteThrottle
from tests.login.throttle_contract import Clock, at, wait_of
async def main():
    throttle = SqliteThrottle(Path(sys.argv[1]), Clock(), {KEY!r})
    print([await wait_of(throttle, at()) for _ in range(50)].count(0))
    await throttle.close()
asyncio.run(main())
"""
    file = str(tmp_path / FILE)
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, file, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    async with asyncio.timeout(60):
        outputs = [(await process.communicate())[0] for process in processes]
    assert sum(map(int, outputs)) == HERE.free + 1
