"""The sessions that were opened, kept right by what Redis tells of changes.

While it tells, memory is right and is asked first. While it does not, nothing in memory is believed by
itself; it is only what sessions live on for a grace time if Redis does not answer either.
"""

from __future__ import annotations

from gateway.core.redis_address import RedisAddress
from gateway.sessions.recent import RecentSessions
from gateway.sessions.redis_client import RedisClient
from gateway.sessions.store import Opened


class FollowedSessions:
    """`RecentSessions` that follow the changes told by a client."""

    def __init__(self, client: RedisClient, recent: RecentSessions, prefix: str) -> None:
        """``prefix`` is what the keys of records begin with; the rest is the handle."""
        self.recent = recent
        self._client = client
        self._skip = len(prefix)
        self.told = 0
        """How often something was told to have changed."""
        client.memory = self

    def peek(self, token: str) -> Opened | None:
        """Return an opened session if it is sure to be right."""
        return self.recent.get(token) if self._client.trusted else None

    def invalidated(self, keys: list[bytes] | None) -> None:
        """Drop what others have changed; None is for everything."""
        self.told += 1
        if keys is None:
            self.recent.clear()
            return
        skip, doubt = self._skip, self.recent.doubt
        for key in keys:
            doubt(handle_in(key[skip:].decode("ascii", "replace"), skip))

    def in_doubt(self) -> None:
        """Let open connections ask again; what is here stays, for the grace time."""
        self.told += 1
        self.recent.doubt_all()

    def regained(self) -> None:
        """Drop everything, for some changes may have been missed."""
        self.told += 1
        self.recent.clear()


def handle_in(name: str, records_prefix_length: int) -> str:
    """Return the handle in the key of a record, or of closed tokens, without the prefix of either."""
    return name[1 + records_prefix_length : -1] if name.startswith("{") else name


def records_prefix(address: RedisAddress) -> str:
    """Return what the keys of records begin with, which a store's client has to follow."""
    return f"{address.prefix}s:"
