"""API keys of local users: made here, kept in a file as hashes only, shared by the processes of one host.

A key is ``gwk_ID_SECRET``. The secret is 32 random bytes, so a plain SHA-256 of it is enough: what makes
hashing passwords slow is that they can be guessed, and 256 random bits cannot.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection

from gateway.core.programs import KEY_PREFIX
from gateway.database import Database, version_of

ID_BYTES = 6
SECRET_BYTES = 32
FILE_NAME = "api-keys.sqlite"
"""In ``state_dir``."""

_KEY = re.compile(KEY_PREFIX + r"([0-9a-f]{12})_([0-9a-f]{64})")
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


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. Times are seconds since the epoch."""

    id: str
    """Its public name, part of the key itself."""
    digest: bytes = field(repr=False)
    """SHA-256 of the secret."""
    name: str
    """What it is for, in its owner's words."""
    user: str
    groups: tuple[str, ...] | None
    """Of the user's groups those that it has; None for all."""
    routes: tuple[str, ...]
    """The only routes it opens; empty for all that accept keys."""
    created: float
    expires: float | None
    used: float | None = field(default=None, compare=False)
    """When it was last used, to the minute."""

    def fits(self, secret: str) -> bool:
        """Tell whether a secret is that of this key."""
        return hmac.compare_digest(self.digest, _digest(secret))

    def is_over(self, now: float) -> bool:
        """Tell whether it has expired."""
        return self.expires is not None and self.expires <= now


def make_api_key(
    name: str,
    user: str,
    now: float,
    *,
    groups: Iterable[str] | None = None,
    routes: Iterable[str] = (),
    lifetime: float | None = None,
) -> tuple[str, ApiKey]:
    """Return a new key as its owner gets it, and what is to be kept of it. ``lifetime`` is in seconds."""
    number, secret = secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES)
    kept = ApiKey(
        id=number,
        digest=_digest(secret),
        name=name,
        user=user,
        groups=None if groups is None else tuple(groups),
        routes=tuple(routes),
        created=now,
        expires=None if lifetime is None else now + lifetime,
    )
    return f"{KEY_PREFIX}{number}_{secret}", kept


def split_key(text: str) -> tuple[str, str] | None:
    """Return id and secret of a key; None for anything that is none."""
    found = _KEY.fullmatch(text)
    return (found[1], found[2]) if found else None


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("ascii")).digest()


class ApiKeyFile:
    """The file. Each coroutine may raise StoreUnavailable."""

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

    def close(self) -> None:
        """Close the file."""
        self._database.close()


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
