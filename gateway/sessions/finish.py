"""Work that, once begun, is done to its end: a caller that goes away does not leave a logout half-way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Announce = Callable[[], Awaitable[None]]
"""Tells the other processes of this host that something ended on disk; returns when they have looked."""

_log = logging.getLogger("gateway.sessions")
_T = TypeVar("_T")
_abandoned: set[asyncio.Task[Any]] = set()


async def alone() -> None:
    """Announce nothing: there are no other processes."""


async def finish(work: Coroutine[Any, Any, _T], name: str) -> _T:
    """Return what ``work`` returns; it goes on where the caller is cancelled, and its failure is logged then."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            _abandoned.add(task)
            task.add_done_callback(_settle)
        raise


def begin(
    under_way: dict[str, asyncio.Task[_T]], key: str, work: Coroutine[Any, Any, _T], name: str
) -> asyncio.Task[_T]:
    """Begin work that several may wait for; it is in ``under_way`` until it is done."""
    task = under_way[key] = asyncio.get_running_loop().create_task(work, name=name)

    def done(task: asyncio.Task[_T]) -> None:
        under_way.pop(key, None)
        if not task.cancelled():
            # It may be that nobody waits any more.
            task.exception()

    task.add_done_callback(done)
    return task


def _settle(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled() and (error := task.exception()):
        _log.error("%s failed after its caller had gone: %s", task.get_name(), error)


async def announced(announce: Announce) -> None:
    """Announce; that it fails changes nothing, for the others look by themselves each second."""
    try:
        await announce()
    except Exception:  # noqa: BLE001 - what is on disk is ended, whatever became of the news
        _log.exception("the other processes could not be told that a session ended")
