"""Large bodies pass through one piece of memory: every byte arrives, in order, however slowly the client takes it."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import cast

import pytest
import uvloop

from gateway.core.limits import Limits
from gateway.proxy.client_transport import ClientTransport
from gateway.proxy.plane import Plane
from tests.support.waiting import PATIENCE

Run = Callable[[Coroutine[None, None, None]], None]
RUNNERS: list[Run] = [uvloop.run, asyncio.run]


class Client(ClientTransport):
    """The writing side alone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast(asyncio.Transport, transport)


async def connected(scheme: str = "http") -> tuple[Client, socket.socket]:
    plane = cast(Plane, SimpleNamespace(now=0.0, limits=Limits()))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(PATIENCE)
    _, client = await asyncio.get_running_loop().create_connection(lambda: Client(plane, scheme), sock=ours)
    return client, theirs


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("pieces", [[1], [100, 1], [300_000] * 5, [5_000_000, 10], [10, 3_000_000, 10, 10, 400_000]])
def test_what_is_overwritten_afterwards_arrives_as_it_was(run: Run, scheme: str, pieces: list[int]) -> None:
    """Between other writes too, and where the socket takes a part only; TLS goes through its transport."""
    chance = random.Random(1)

    async def send() -> None:
        client, theirs = await connected(scheme)
        client.write(b"head")
        sent = b"head"
        for size in pieces:
            memory = bytearray(chance.randbytes(size))
            sent += memory
            client.write_from(memoryview(memory))
            memory[:] = bytes(size)
            client.write(b"between")
            sent += b"between"
        reading = asyncio.to_thread(theirs.makefile("rb").read, len(sent))
        assert await reading == sent
        client.abort()
        theirs.close()

    run(send())


@pytest.mark.parametrize("run", RUNNERS)
def test_whether_all_went_out_is_told(run: Run) -> None:
    """A client that does not read leaves a part; one that has gone leaves nothing, and nothing fails."""

    async def send() -> None:
        client, theirs = await connected()
        data = memoryview(bytes(5_000_000))
        assert client.write_from(data[:100]) is True
        assert client.write_from(data) is False
        assert client.write_paused
        assert client.write_from(data[:100]) is False
        theirs.close()
        client.write_from(data[:100])
        client.abort()
        assert client.write_from(data) is True

    run(send())
