"""API keys of local users: their form, how they are made, and what keeps them.

A key is ``gwk_ID_SECRET``. The secret is 32 random bytes, so a plain SHA-256 of it is enough: what makes
hashing passwords slow is that they can be guessed, and 256 random bits cannot.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Protocol

from gateway.core.api_key import ApiKey, secret_digest
from gateway.core.programs import KEY_PREFIX

ID_BYTES = 6
SECRET_BYTES = 32

_KEY = re.compile(KEY_PREFIX + r"([0-9a-f]{12})_([0-9a-f]{64})")


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
        digest=secret_digest(secret),
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


class ApiKeyStore(Protocol):
    """Where keys are kept, and changed by other processes too. Each coroutine may raise StoreUnavailable."""

    async def read(self) -> dict[str, ApiKey]:
        """Return all keys by id, the newest first."""

    async def version(self) -> int | None:
        """Return a number that changes with the keys, cheaper to get than they; None where they have to be read."""

    async def told(self, seconds: float) -> None:
        """Return after ``seconds``, or as soon as it is told that the keys may have changed."""

    async def add(self, key: ApiKey) -> None:
        """Keep a key; returns when that is done for good."""

    async def remove(self, key_id: str) -> ApiKey | None:
        """Remove a key; return what it was, None where there is none of that id."""

    async def note_used(self, used: Mapping[str, float]) -> None:
        """Write when keys were used; nothing is written of keys that are gone."""

    async def close(self) -> None:
        """Give back what is held open."""
