"""The session stores with records: a Redis of their own, and sessions in them as logins would have made them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.process import BenchError, Process, free_port
from bench.tokens import AHEAD, new_sessions
from gateway.core.session import Session
from gateway.errors import StoreUnavailable
from gateway.sessions.store import SessionStore
from gateway.settings.load import load_settings
from gateway.stores import make_store

AT_ONCE = 200
READY_TIME = 30.0


@contextmanager
def redis(directory: Path, core: int) -> Iterator[str]:
    """Run a redis-server that keeps everything in memory; yield its URL."""
    if shutil.which("redis-server") is None:
        raise BenchError("not installed: redis-server (Debian: apt-get install redis-server)")
    directory.mkdir(parents=True)
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"]
    with Process("redis", directory, command, core):
        yield f"redis://127.0.0.1:{port}/0"


async def _fill(store: SessionStore, sessions: Sequence[Session]) -> list[str]:
    await store.start()
    await _until_it_works(store)
    tokens: list[str] = []
    for start in range(0, len(sessions), AT_ONCE):
        saved = await asyncio.gather(*map(store.save, sessions[start : start + AT_ONCE]))
        tokens += [opened.token for opened in saved]
    await store.close()
    return tokens


async def _until_it_works(store: SessionStore) -> None:
    deadline = time.monotonic() + READY_TIME
    while True:
        try:
            return await store.check()
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                raise BenchError(f"the session store was not ready: {error}") from error
            await asyncio.sleep(0.05)


def fill(config: Path, key: str, count: int) -> list[str]:
    """Put sessions of different users into the store of a configuration file; return their tokens.

    They were last seen in an hour, so that none is due for renewal.
    """
    settings = load_settings(config, {**os.environ, "BENCH_KEY": key})
    settings.state_dir.mkdir(parents=True, exist_ok=True)

    async def nobody_else() -> None:
        pass

    sessions = [session.touched(time.time() + AHEAD) for session in new_sessions(count)]
    return asyncio.run(_fill(make_store(settings, nobody_else), sessions))
