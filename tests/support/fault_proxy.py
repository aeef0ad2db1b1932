"""A TCP proxy that fails as told: it delays, goes silent, resets, cuts answers in half, or is not there."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.support.closing import cut_connections, stop_accepting
from tests.support.ports import HOST, listen
from tests.support.waiting import PATIENCE

_T = TypeVar("_T")


class FaultProxy:
    """The proxy, in a thread of its own, so that tests with and without a loop may use it."""

    def __init__(self, target: int) -> None:
        """``target`` is a port of loopback."""
        self.target = target
        self.port = 0
        self.accepted: list[float] = []
        """When connections came in, by the monotonic clock."""
        self.delay = 0.0
        """Seconds that every answer takes longer."""
        self._halve = False
        self._silent = False
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # Faults

    def heal(self) -> None:
        """Work again; what was held back flows, and what was not there is there."""
        self.delay = 0.0
        self._halve = False
        self._silent = False
        self._call(self._flows.set)
        if self._server is None:
            self._run(self._listen())

    def black_hole(self) -> None:
        """Accept connections and bytes, but pass nothing on in either direction."""
        self._silent = True
        self._call(self._flows.clear)

    def halve(self) -> None:
        """Pass on the first half of the next answer, then cut the connection."""
        self._halve = True

    def reset(self) -> None:
        """Reset all connections; new ones work."""
        self._run(self._reset())

    def vanish(self) -> None:
        """Reset all connections and listen no more."""
        self._run(self._close())

    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._open) // 2

    # Work

    def _call(self, function: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(function)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _listen(self) -> None:
        self._flows.set()
        listener = listen(self.port)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=listener)

    async def _close(self) -> None:
        if self._server is not None:
            await stop_accepting(self._server.sockets)
            self._server.close()
            self._server = None
        self._flows.set()
        await self._reset()

    async def _end(self) -> None:
        await self._close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await cut_connections()

    async def _reset(self) -> None:
        for writer in list(self._open):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                # Closing with a linger of zero is a reset.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(time.monotonic())
        try:
            up_reader, up_writer = await asyncio.open_connection(HOST, self.target)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        pair = {writer, up_writer}
        if self._server is None:
            # It has vanished meanwhile.
            for end in pair:
                end.transport.abort()
            return
        self._open |= pair
        try:
            await asyncio.gather(self._pump(reader, up_writer, answers=False), self._pump(up_reader, writer))
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._open -= pair
            for end in pair:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = True) -> None:
        while data := await reader.read(65536):
            if self._silent:
                await self._flows.wait()
            if answers and self.delay:
                await asyncio.sleep(self.delay)
            if answers and self._halve:
                self._halve = False
                writer.write(data[: len(data) // 2])
                await writer.drain()
                raise EOFError
            writer.write(data)
            await writer.drain()
        raise EOFError
