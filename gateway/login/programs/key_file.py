"""API keys in an SQLite file, which the processes of one host share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from sqlite3 import Connection

from gateway.core.api_key import ApiKey
from gateway.database import Database, version_of

FILE_NAME = "api-keys.sqlite"
"""In ``state_dir``."""
GRACE = 60.0
"""Seconds for which keys are good while the file cannot be read."""

_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS api_key (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    name TEXT NOT NULL,
    user TEXT NOT NULL,
    groups TEXT,
    routes TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    used REAL
) STRICT
"""


class ApiKeyFile:
    """The file. An `ApiKeyStore`."""

    def __init__(self, file: Path) -> None:
        """Open it, or make it for this user alone. Raises StoreUnavailable."""
        self._database = Database(file, _prepare, "the API keys")

    async def read(self) -> dict[str, ApiKey]:
        """Return all keys by id, the newest first."""
        rows = await self._database.read(_rows)
        return {key.id: key for key in rows}

    async def version(self) -> int:
        """Return a number that changes with the file, cheaper to get than what is in it."""
        return await self._database.read(lambda db: int(db.execute("PRAGMA data_version").fetchone()[0]))

    async def told(self, seconds: float) -> None:
        """Return after ``seconds``: a file tells nothing."""
        await asyncio.sleep(seconds)

    async def add(self, key: ApiKey) -> None:
        """Keep a key; returns when the disk has it."""
        row = (
            key.id,
            key.digest,
            key.name,
            key.user,
            None if key.groups is None else json.dumps(key.groups),
            json.dumps(key.routes),
            key.created,
            key.expires,
            key.used,
        )
        await self._database.write(lambda db: db.execute("INSERT INTO api_key VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row))

    async def remove(self, key_id: str) -> ApiKey | None:
        """Remove a key; return what it was, None where there is none of that id."""

        def work(db: Connection) -> ApiKey | None:
            found = next((key for key in _rows(db) if key.id == key_id), None)
            db.execute("DELETE FROM api_key WHERE id = ?", (key_id,))
            return found

        return await self._database.write(work)

    async def note_used(self, used: Mapping[str, float]) -> None:
        """Write when keys were used; a power cut may take that back."""
        rows = [(at, key_id, at) for key_id, at in used.items()]

        def work(db: Connection) -> None:
            db.executemany("UPDATE api_key SET used = ? WHERE id = ? AND coalesce(used, 0) < ?", rows)

        await self._database.write(work, durable=False)

    async def close(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._database.close)


def _rows(db: Connection) -> list[ApiKey]:
    rows = db.execute("SELECT * FROM api_key ORDER BY created DESC, id").fetchall()
    return [
        ApiKey(
            id=row[0],
            digest=row[1],
            name=row[2],
            user=row[3],
            groups=None if row[4] is None else tuple(json.loads(row[4])),
            routes=tuple(json.loads(row[5])),
            created=row[6],
            expires=row[7],
            used=row[8],
        )
        for row in rows
    ]


def _prepare(db: Connection) -> None:
    version = version_of(db, _VERSION)
    db.execute(_TABLE)
    if version != _VERSION:
        db.execute(f"PRAGMA user_version = {_VERSION}")
