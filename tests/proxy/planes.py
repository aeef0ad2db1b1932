"""A data plane on the test's own event loop, made as the program makes it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from gateway.assembly import build_plane, control_route, make_router
from gateway.core.metrics import Counters
from gateway.core.programs import Credential, Refused, Verdict
from gateway.core.refresh import Refreshed
from gateway.proxy.server import DataPlane
from gateway.settings.load import load_settings
from gateway.stores import make_store
from tests.support.gateway import new_key


async def _nobody(_: Credential) -> Verdict:
    return Refused(401, "")


async def _later(_: str, __: str) -> Refreshed:
    return Refreshed("later")


async def _alone() -> None:
    pass


@asynccontextmanager
async def running_plane(folder: Path, *routes: dict[str, object]) -> AsyncIterator[tuple[DataPlane, int]]:
    """Run one for the host ``a`` over the given routes; give it and its port. Behind our own pages is nobody."""
    config = {
        "public_url": "http://a",
        "state_dir": str(folder),
        "session": {"keys": [new_key()]},
        "login": {"local": {"users": str(folder / "users.yaml")}},
        "routes": list(routes),
    }
    (folder / "users.yaml").write_text("users: {}\n")
    (folder / "gateway.yaml").write_text(yaml.safe_dump(config))
    settings = load_settings(folder / "gateway.yaml", os.environ)
    store = make_store(settings, _alone)
    await store.start()
    router, loop = make_router(settings, control_route(str(folder / "nobody"))), asyncio.get_running_loop()
    made = build_plane(settings, router, store, {}, "", Counters(), None, loop, None, _nobody, _later)
    listener = socket.create_server(("127.0.0.1", 0))
    await made.listen(listener)
    try:
        yield made, listener.getsockname()[1]
    finally:
        await made.close()
        await store.close()
