"""An SQLite file that several processes share: opened safely, used in threads, errors translated.

One thread writes and one reads, each with a connection of its own, so a reader waits for no writer
and the event loop for neither. Knows nothing of what lies in the file.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from gateway.errors import StoreUnavailable

_T = TypeVar("_T")
BUSY_SECONDS = 10.0
"""For how long a write waits while other processes write; each of them needs milliseconds."""
_TRY_AGAIN_AFTER = 0.02
_NEWER = "it was written by a newer version"


class Database:
    """One file. `read` and `write` raise StoreUnavailable where the file fails."""

    def __init__(self, file: Path, prepare: Callable[[Connection], None], what: str) -> None:
        """Open ``file``, or make it for this user alone; ``prepare`` makes or migrates its tables.

        ``what`` names the contents in errors. Raises StoreUnavailable where the file cannot be used.
        """
        self._what = f"{file}: {what}"
        with ExitStack() as on_failure:
            try:
                _create(file)
                self._writer = on_failure.enter_context(closing(_connect(file)))
                self._in_transaction(prepare)
                self._reader = _connect(file)
                on_failure.pop_all()
            except (OSError, sqlite3.Error) as error:
                raise StoreUnavailable(f"{self._what} cannot be used: {error}") from error
        # SQLite's own lock is per process too, so more threads would not write any faster.
        self._writing = ThreadPoolExecutor(1, "database-write")
        self._reading = ThreadPoolExecutor(1, "database-read")

    def read_now(self, work: Callable[[Connection], _T]) -> _T:
        """Return what ``work`` reads, at start, when nobody waits yet. Raises StoreUnavailable."""
        try:
            return work(self._reader)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._what} cannot be used: {error}") from error

    async def read(self, work: Callable[[Connection], _T]) -> _T:
        """Return what ``work`` reads."""
        return await self._run(self._reading, lambda: work(self._reader))

    async def write(self, work: Callable[[Connection], _T], *, durable: bool = True) -> _T:
        """Run ``work`` in a transaction, and return what it returned when the disk has it.

        Not ``durable``: a power cut may take the last of these back; a crash of ours never does. Where
        the caller is cancelled it is done as a whole or not at all.
        """
        return await self._run(self._writing, lambda: self._in_transaction(work, durable=durable))

    async def check(self) -> None:
        """Raise StoreUnavailable unless the file can be read."""
        await self.read(lambda db: db.execute("SELECT count(*) FROM sqlite_schema").fetchone())

    def _in_transaction(self, work: Callable[[Connection], _T], *, durable: bool = True) -> _T:
        db = self._writer
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return result

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        try:
            running = asyncio.get_running_loop().run_in_executor(threads, work)
        except RuntimeError as error:
            raise StoreUnavailable(f"{self._what} is closed") from error
        try:
            return await running
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._what} failed: {error}") from error

    def close(self) -> None:
        """Finish what was begun, and close the file; waits, so call it in a thread where the loop runs on."""
        self._writing.shutdown()
        self._reading.shutdown()
        self._writer.close()
        self._reader.close()


def version_of(db: Connection, newest: int) -> int:
    """Return the version of a file's tables, 0 for an empty one. Raises sqlite3.Error for one beyond ``newest``."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > newest:
        raise sqlite3.DatabaseError(_NEWER)
    return version


def _create(file: Path) -> None:
    """Make the file with a mode of its own, whatever the folder's.

    One that is there is left alone: to open and close it would drop all locks that this process holds on
    it (POSIX fcntl), and so those of another connection.
    """
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _connect(file: Path) -> Connection:
    db = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS)
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Turning WAL on, and recovering it, does not always wait as `timeout` says.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                db.close()
                raise
            time.sleep(_TRY_AGAIN_AFTER)
        except sqlite3.Error:
            db.close()
            raise
        else:
            return db
