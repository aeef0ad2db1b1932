"""Threads that hash passwords, and no more hashing than they can do soon.

Hashing takes a tenth of a second and 46 MiB on purpose: here it is kept away from the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gateway.errors import LoginBusy

T = TypeVar("T")

THREADS = 2
WAITING = 64
"""Jobs that wait for a thread: at 0.1 s each the last one waits about 3 s."""
NICENESS = 5


class HashPool:
    """A bounded pool of threads with a bounded queue."""

    def __init__(self, threads: int = THREADS, waiting: int = WAITING) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password", initializer=_yield_to_traffic)
        # Given back by whichever thread ends a job, so that a caller who went away is still counted.
        self._places = threading.BoundedSemaphore(threads + waiting)

    async def run(self, function: Callable[[], T]) -> T:
        """Run ``function`` in a thread. Raises LoginBusy at once where all places are taken."""
        if not self._places.acquire(blocking=False):
            raise LoginBusy("all places for password checks are taken")
        try:
            job = self._threads.submit(function)
        except BaseException:
            self._places.release()
            raise
        job.add_done_callback(self._give_back)
        return await asyncio.wrap_future(job)

    def _give_back(self, _: Future[T]) -> None:
        self._places.release()

    def close(self) -> None:
        """Drop what waits; what is being hashed ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _yield_to_traffic() -> None:
    """Let proxied traffic go first where processors are few; on Linux niceness is a thread's own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
