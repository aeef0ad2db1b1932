"""Ending a server of asyncio's with all its connections, those too that come in while it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from socket import socket

STEPS = 10
"""Turns of the loop in which an accepted socket has become a connection: asyncio takes four."""


async def stop_accepting(listeners: Iterable[socket]) -> None:
    """Accept no more, and let what was accepted become connections; the server itself is to be closed after this.

    A server that is closed in between drops a socket that it has accepted without closing it.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        loop.remove_reader(listener.fileno())
    for _ in range(STEPS):
        await asyncio.sleep(0)


async def cut_connections() -> None:
    """Abort whatever the loop of this thread still reads from or writes to; the loop may be closed after this."""
    loop = asyncio.get_running_loop()
    # One that is closed already and has sent everything must not be touched again.
    for transport in list(loop._transports.values()):  # type: ignore[attr-defined]  # nothing public names them
        if not transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()
    for _ in range(STEPS):
        await asyncio.sleep(0)
