"""When sessions were last used, where no cookie could say so: kept by the parent, for the workers of one host.

A sealed session holds when it was last used. The browser does not always get that anew: over a WebSocket, behind a
proxy that asks us, with a response that a shared cache may keep. The ledger knows it by the session's handle, so a
token that seems to have been idle for too long is asked about before it is refused. It brings nothing back: what was
revoked, or has reached its absolute end, is refused all the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

MOST_KEPT: Final = 200_000
"""Sessions in the ledger; beyond, those that were reported longest ago go."""

_log = logging.getLogger("gateway.sessions")


class LastSeen(Protocol):
    """What a store asks and reports. Times are seconds since the epoch."""

    def report(self, handle: str, seen: float) -> None:
        """Take note that a session was used."""

    async def ask(self, handle: str) -> float:
        """Return when a session was last used; 0.0 where that is not known. Raises StoreUnavailable."""


class LastSeenLedger:
    """The ledger itself, in the parent process."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._seen: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def report(self, handle: str, seen: float) -> None:
        """Take note that a session was used; an earlier time than the known one changes nothing."""
        known = self._seen.pop(handle, 0.0)
        # Put back as the newest, so that the oldest reports stand first.
        self._seen[handle] = max(known, seen)
        if len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]

    async def ask(self, handle: str) -> float:
        """Return when a session was last used; 0.0 where that is not known."""
        return self._seen.get(handle, 0.0)

    def load(self, file: Path) -> None:
        """Take over what was saved at the last stop; where that cannot be read, idle sessions log in once more."""
        try:
            saved = json.loads(file.read_bytes())
            for handle, seen in saved.items():
                self.report(str(handle), float(seen))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("%s: the times of last use cannot be read: %s", file, type(error).__name__)

    def save(self, file: Path, after: float) -> None:
        """Write what was used after a time, for this user alone; a file that cannot be written is only logged."""
        kept = {handle: round(seen, 3) for handle, seen in self._seen.items() if seen > after}
        fresh = file.with_name(file.name + ".new")
        try:
            fresh.touch(0o600)
            fresh.write_text(json.dumps(kept, separators=(",", ":")))
            fresh.replace(file)
        except OSError as error:
            _log.warning("%s: the times of last use cannot be kept: %s", file, error.strerror)


class Reports:
    """What one worker has to report, put together until it is sent."""

    def __init__(self, send_soon: Callable[[], None]) -> None:
        """``send_soon`` is called with the first report since the last `take`."""
        self._send_soon = send_soon
        self._seen: dict[str, float] = {}

    def add(self, handle: str, seen: float) -> None:
        """Add a report."""
        if not self._seen:
            self._send_soon()
        self._seen[handle] = max(self._seen.get(handle, 0.0), seen)

    def take(self) -> dict[str, float]:
        """Return the reports and forget them."""
        taken, self._seen = self._seen, {}
        return taken
