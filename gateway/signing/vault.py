"""Where the record of the signing keys lies. `FileVault` is for one host; `redis_vault` for several."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol

from gateway.errors import StoreUnavailable

Change = Callable[[bytes | None], bytes | None]
"""Takes the record, None where there is none, and returns another one, or None to leave it."""


class Vault(Protocol):
    """One record that several processes change, one at a time. Each call may raise StoreUnavailable."""

    async def start(self) -> None:
        """Begin; what cannot be reached is no error here."""

    async def read(self) -> bytes | None:
        """Return the record, or None."""

    async def change(self, change: Change) -> bytes | None:
        """Change the record while nobody else does, and return what it is then.

        Nothing is changed where somebody else is at it; ask again.
        """

    async def close(self) -> None:
        """Give back what is held open."""


class FileVault:
    """A file that only its owner can read; a lock beside it keeps others out during a change."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def start(self) -> None:
        """Do nothing."""

    async def read(self) -> bytes | None:
        """Return the record, or None."""
        return await asyncio.to_thread(self._read)

    async def change(self, change: Change) -> bytes | None:
        """Change the record; it is on disk then."""
        return await asyncio.to_thread(self._change, change)

    async def close(self) -> None:
        """Do nothing."""

    def _read(self) -> bytes | None:
        try:
            return self._file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error

    def _change(self, change: Change) -> bytes | None:
        try:
            with closing(_Descriptor(self._beside("lock"), os.O_RDWR | os.O_CREAT)) as lock:
                # A change takes milliseconds, and the lock goes with its process.
                fcntl.flock(lock.number, fcntl.LOCK_EX)
                before = self._read()
                after = change(before)
                if after is None:
                    return before
                self._write(after)
                return after
        except OSError as error:
            raise self._failed(error) from error

    def _write(self, record: bytes) -> None:
        new = self._beside("new")
        with suppress(FileNotFoundError):
            new.unlink()
        with closing(_Descriptor(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL)) as file:
            with os.fdopen(file.number, "wb", closefd=False) as stream:
                stream.write(record)
            os.fsync(file.number)
        new.replace(self._file)
        with closing(_Descriptor(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)) as folder:
            os.fsync(folder.number)

    def _beside(self, what: str) -> Path:
        return self._file.with_name(f"{self._file.name}.{what}")

    def _failed(self, error: OSError) -> StoreUnavailable:
        return StoreUnavailable(f"{self._file}: the signing keys cannot be used: {error.strerror or error}")


class _Descriptor:
    """An open file, for its owner alone where it is new."""

    def __init__(self, file: Path, flags: int) -> None:
        self.number = os.open(file, flags | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        os.close(self.number)
