"""Large bodies pass through one piece of memory, which all relays of a plane share.

In memory of its own, each piece would need fresh pages from the kernel, with a fault for every one: two thirds
of what a download of 1 MiB cost.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final, Protocol

MUCH: Final = 128 * 1024
"""Bytes still to come from which on a body is worth a reader of its own.

Also what is first read for a browser, which may take little: 200 that take nothing cost 20 MiB less by it.
"""
LEAST: Final = 64 * 1024
"""Bytes to read at once for a peer that does not take all that is written: what it leaves is kept for it."""


class Taker(Protocol):
    """What passes a body on."""

    def feed_from(self, data: memoryview) -> bool:
        """Pass on a piece out of memory that is used again; tell whether the other side took all of it."""


class BulkReader(asyncio.BufferedProtocol):
    """Reads for a connection while a body of known length comes."""

    __slots__ = ("_conn", "_memory", "_size", "_taker")

    def __init__(self, taker: Taker, conn: asyncio.Protocol, memory: memoryview, first: int = 0) -> None:
        """``first`` is how much to read before it is known how much the other side takes at once; 0 for much."""
        self._taker = taker
        self._conn = conn
        self._memory = memory
        self._size = first or len(memory)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the memory; nothing else runs before what is read into it is written on."""
        return self._memory[: self._size]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        whole = self._taker.feed_from(self._memory[:nbytes])
        self._size = min(2 * self._size, len(self._memory)) if whole else LEAST

    def eof_received(self) -> bool | None:
        """Tell the connection."""
        return self._conn.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the connection."""
        self._conn.connection_lost(error)

    def pause_writing(self) -> None:
        """Tell the connection."""
        self._conn.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection."""
        self._conn.resume_writing()


def read_with(transport: asyncio.Transport, reader: asyncio.BaseProtocol, *, reading: bool) -> None:
    """Let ``reader`` take what comes from now on; ``reading`` tells that the transport is not paused."""
    if transport.is_closing():
        return
    transport.set_protocol(reader)
    if reading:
        # uvloop looks at the kind of protocol only where it begins to read.
        transport.pause_reading()
        transport.resume_reading()


def write_from(transport: asyncio.Transport, data: memoryview, *, plain: bool) -> bool:
    """Write out of memory that is used again: at once what the socket takes, and a copy of the rest.

    ``plain`` is false where TLS lies between. Return whether it took all. A transport keeps every piece
    until it is sent, so each would need memory of its own.
    """
    sent = 0
    if plain and not transport.get_write_buffer_size() and not transport.is_closing():
        descriptor: int = transport.get_extra_info("socket").fileno()
        try:
            sent = os.write(descriptor, data)
        except OSError:
            # Full, or broken: then the transport meets it too, and says so in its way.
            sent = 0
    if sent == len(data):
        return True
    transport.write(bytes(data[sent:]))
    return False
