"""An upstream on a loopback socket that the test plays itself, connection by connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from gateway.core.limits import Limits
from gateway.core.upstream import UpstreamAddress
from gateway.proxy.pool import UpstreamPool
from gateway.wire.head import AnswerParser
from tests.support.closing import stop_accepting
from tests.support.waiting import PATIENCE

LONG = PATIENCE
"""Seconds after which a test that waits has failed."""


class Peer:
    """One connection as the upstream has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        """Send."""
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, count: int) -> bytes:
        """Return the next bytes."""
        async with asyncio.timeout(LONG):
            return await self.reader.readexactly(count)

    async def is_closed(self) -> bool:
        """Wait for the end of the connection; an end by reset is one, too."""
        async with asyncio.timeout(LONG):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
        return True


class Upstream:
    """Listens on a free port."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self._accepted: asyncio.Queue[Peer] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self.address = UpstreamAddress()

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = UpstreamAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self._accepted.put_nowait(peer)

    async def peer(self) -> Peer:
        """Return the next accepted connection."""
        async with asyncio.timeout(LONG):
            return await self._accepted.get()

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server is not None
        await stop_accepting(self._server.sockets)
        self._server.close()
        for peer in self.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)

    def pool(self, **limits: float) -> UpstreamPool:
        """Return a pool of connections here."""
        return pool_for(self.address, **limits)


def pool_for(address: UpstreamAddress, **changes: float) -> UpstreamPool:
    """Return a pool for an address, with some limits changed."""
    limits = Limits(**changes)  # type: ignore[arg-type]
    return UpstreamPool(address, AnswerParser(limits, frozenset()), limits, asyncio.get_running_loop())


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.002)
