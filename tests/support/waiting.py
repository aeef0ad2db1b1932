"""Waiting for something that another thread or process is about to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 25.0
"""Seconds after which what should have happened has not, on a slow and busy machine either.

The gateway's own limits that end what has stalled are longer by default, and must not be what ends it here.
"""
START_TIME = 90.0
"""The same for programs that start."""


def wait_for(condition: Callable[[], T], timeout: float = PATIENCE, what: str = "") -> T:
    """Return the first true value of ``condition``; fails with AssertionError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition!r}")
        time.sleep(0.01)


async def wait_until(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait on the event loop until ``condition`` is true; fails with TimeoutError after so many seconds."""
    async with asyncio.timeout(seconds):
        for pause in (0.001, *[0.01] * int(seconds * 100)):
            if await condition():
                return
            await asyncio.sleep(pause)
    raise TimeoutError
