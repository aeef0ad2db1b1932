"""The alarm over records in Redis that were not sealed for their session: changed there, or another session's."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

ALARM_EVERY = 10.0
"""Seconds between two lines in the log."""
_log = logging.getLogger("gateway.redis")


class Alarm:
    """Counts each, and logs one now and then."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._last = float("-inf")

    def sound(self, handle: str) -> None:
        """Say that the record of a session is not what it should be."""
        self._counts["alarms_total"] += 1
        now = asyncio.get_running_loop().time()
        if now - self._last > ALARM_EVERY:
            self._last = now
            _log.error("redis: the record of session %s was not sealed for it; the session is refused", handle)
