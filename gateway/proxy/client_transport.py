"""A client's connection as something to write to: back-pressure, and the ways it ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

from gateway.core.reasons import WRITE_STALL
from gateway.proxy.bulk import write_from
from gateway.proxy.plane import Plane
from gateway.proxy.upstream_conn import Flow

NEVER: Final = float("inf")
WORTH_A_COPY: Final = 16 * 1024
"""Bytes up to which two pieces are put together rather than written one after the other."""


class ClientTransport(asyncio.Protocol):
    """The writing side, the deadlines, and closing. Reading is `Downstream`."""

    __slots__ = (
        "_closed", "_half_closed", "_stalled", "_unsent", "_writable", "cut_by", "deadline", "lingering", "on_expire",
        "plane", "requests", "scheme", "source", "stall_deadline", "transport", "write_paused",
    )  # fmt: skip

    def __init__(self, plane: Plane, scheme: str) -> None:
        self.plane = plane
        self.scheme = scheme
        self.transport: asyncio.Transport | None = None
        self.requests = 0
        """Requests taken so far."""
        self.deadline = NEVER
        """When `on_expire` is called, in loop time; one sweep looks at all connections."""
        self.on_expire: Callable[[], None] = _nothing
        self.stall_deadline = NEVER
        """When a client that takes nothing is cut; kept apart from `deadline`, which each phase sets anew."""
        self.source: Flow | None = None
        """Who writes to us, to be paused while we cannot send."""
        self.write_paused = False
        self.lingering = False
        self.cut_by = ""
        """Why we ended what was under way, one of `core.reasons.CUTS`; empty if we did not."""
        self._closed = False
        """Whether nothing can be written any more."""
        self._half_closed = False
        """Whether the client has closed its sending side."""
        self._unsent = 0
        self._stalled = False
        self._writable: asyncio.Future[None] | None = None

    def write(self, data: bytes) -> None:
        """Write answer bytes; those for a client that has gone are dropped."""
        if not self._closed and self.transport is not None:
            self.transport.write(data)

    def write_answer(self, head: bytes, body: bytes) -> None:
        """Write an answer's head and what there is of its body, in one piece unless the copy would cost more."""
        if len(body) < WORTH_A_COPY:
            self.write(head + body)
        else:
            self.write(head)
            self.write(body)

    def write_from(self, data: memoryview) -> bool:
        """Write answer bytes out of memory that is used again; return whether the client took all."""
        transport = self.transport
        if self._closed or transport is None:
            return True
        return write_from(transport, data, plain=self.scheme == "http")

    def pause_writing(self) -> None:
        """Stop whoever writes to us; a client that takes nothing for too long is cut."""
        self.write_paused = True
        self.stall_deadline = self.plane.deadline(self.plane.limits.write_stall_time)
        if self.source is not None:
            self.source.pause()

    def resume_writing(self) -> None:
        """Let them write on."""
        self.write_paused = False
        self.stall_deadline = NEVER
        if self.source is not None:
            self.source.resume()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _until_writable(self) -> asyncio.Future[None]:
        """Return a future of the moment when the client has taken most of what was written."""
        self._writable = self.plane.loop.create_future()
        self.pause()
        return self._writable

    # The end

    def drop_input(self) -> None:
        """Forget what was read, and read on."""

    def pause(self) -> None:
        """Read no more from the client for now."""

    def linger(self) -> None:
        """Close so that the last answer arrives: stop sending, read on for a while (RFC 9112 §9.6).

        From a client that has closed its sending side nothing can come any more that would destroy it. One that takes
        nothing of the answer is cut after the write stall time.
        """
        transport = self.transport
        if transport is None or self._closed:
            return
        self.lingering = True
        self.drop_input()
        self._unsent = transport.get_write_buffer_size()
        self.deadline = self.plane.deadline(self.plane.limits.linger_time)
        self.on_expire = self._linger_over
        if self.scheme == "http" and not self._half_closed and transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _linger_over(self) -> None:
        """Close for good, unless the client still takes its answer."""
        transport = self.transport
        unsent = transport.get_write_buffer_size() if transport is not None else 0
        if unsent and (unsent < self._unsent or not self._stalled):
            self._stalled = unsent == self._unsent
            self._unsent = unsent
            self.deadline = self.plane.deadline(self.plane.limits.write_stall_time)
        elif unsent:
            self.cut(WRITE_STALL)
        elif transport is None:
            self.abort()
        else:
            transport.close()

    def let_go(self) -> None:
        """Drop what leads back here once the connection is gone, so that no garbage collector has to find it."""
        self.deadline = self.stall_deadline = NEVER
        self.on_expire = _nothing
        self.source = None
        self.transport = None

    def note_cut(self, cut_by: str) -> None:
        """Note and count why what is under way is ended by us; the first reason counts."""
        if not self.cut_by:
            self.cut_by = cut_by
            self.plane.counters.cut_short(cut_by)

    def cut(self, cut_by: str) -> None:
        """Cut the connection, and note why."""
        self.note_cut(cut_by)
        self.abort()

    def abort(self) -> None:
        """Cut the connection so that nobody takes what was sent for complete."""
        self._closed = True
        self.deadline = self.stall_deadline = NEVER
        transport = self.transport
        if transport is None:
            return
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0 and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _nothing() -> None:
    """Do nothing when the time of a connection that is gone is over."""
