"""Open many connections, send one request on each, and hold them.

Run as ``python -m bench.idle_client PORT COUNT`` with the request's bytes on standard input after a
line with their length. Prints ``holding N`` when all are answered; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

AT_ONCE = 100
OPEN_TIME = 45.0


class Idle(asyncio.Protocol):
    """A connection that asks once and then waits."""

    def __init__(self, request: bytes, answered: asyncio.Future[bool]) -> None:
        self._request = request
        self._answered = answered
        self._start = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask; uvloop's transports are no subclasses of asyncio's."""
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take the answer: its first bytes tell whether it is a good one."""
        self._start = (self._start + data)[:64]
        if len(self._start) >= 12 and not self._answered.done():
            self._answered.set_result(self._start[9:12] == b"200")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the answer did not come."""
        if not self._answered.done():
            self._answered.set_result(False)


async def ask(port: int, request: bytes) -> tuple[asyncio.BaseTransport, bool]:
    """Open a connection; return it, and whether it was answered well."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bool] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: Idle(request, answered), "127.0.0.1", port)
    return transport, await answered


async def hold(port: int, count: int, request: bytes) -> None:
    """Open the connections a hundred at a time and hold them until standard input ends."""
    held: list[tuple[asyncio.BaseTransport, bool]] = []
    async with asyncio.timeout(OPEN_TIME):
        while len(held) < count:
            held += await asyncio.gather(*(ask(port, request) for _ in range(min(AT_ONCE, count - len(held)))))
    sys.stdout.write(f"holding {sum(good for _, good in held)}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    length = int(sys.stdin.buffer.readline())
    uvloop.run(hold(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer.read(length)))
