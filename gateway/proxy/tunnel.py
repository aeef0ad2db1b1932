"""A WebSocket after its handshake: bytes both ways, untouched, with back-pressure and an idle limit."""

from __future__ import annotations

import asyncio

from gateway.core.reasons import STREAM_IDLE
from gateway.proxy.downstream import Downstream
from gateway.proxy.upstream_conn import UpstreamConn
from gateway.wire.websocket import GOING_AWAY, FrameCursor, close_frame


class Tunnel:
    """Joins a client's connection and an upstream's until either closes."""

    def __init__(self, client: Downstream, upstream: UpstreamConn, idle_time: float) -> None:
        self._client = client
        self._upstream = upstream
        self._idle_time = idle_time
        self._closing = False
        self._cursor = FrameCursor()
        self._from_client: FrameCursor | None = None
        """Follows what the browser sends, where that counts as use of its session."""
        self.finished: asyncio.Future[None] = client.plane.loop.create_future()
        self.sent = 0
        """Bytes passed on to the client."""

    def start(self, head: bytes) -> None:
        """Send the 101 and what follows it, then pass on everything."""
        if self._client.watched is not None and self._client.plane.websocket_activity:
            self._from_client = FrameCursor()
        first = self._upstream.take_buffer()
        early = self._client.take_buffer()
        self._client.write(head + first)
        self._cursor.feed(first)
        self.sent += len(first)
        if early:
            self._note_use(early)
            self._upstream.send(early)
        self._client.sink = _Side(self, to_client=False)
        self._client.source = self._upstream
        self._upstream.sink = _Side(self, to_client=True)
        self._upstream.source = self._client
        self._client.resume()
        self._upstream.resume()
        self.touch()
        if self._upstream.has_ended():
            self.close()

    def touch(self) -> None:
        """Begin the idle time anew; any byte does, on either side."""
        self._client.deadline = self._client.plane.deadline(self._idle_time)
        self._client.on_expire = self.close_idle

    def pass_on(self, data: bytes, *, to_client: bool) -> None:
        """Write bytes of one side to the other."""
        self.touch()
        if to_client:
            self.sent += len(data)
            self._cursor.feed(data)
            self._client.write(data)
        else:
            self._note_use(data)
            self._upstream.send(data)

    def _note_use(self, data: bytes) -> None:
        """Let messages from the browser keep its session from being idle; pings and pongs come by themselves."""
        cursor = self._from_client
        if cursor is None:
            return
        before = cursor.data_frames
        cursor.feed(data)
        watched = self._client.watched
        if cursor.data_frames != before and watched is not None:
            self._client.plane.renew(watched.opened)

    def close_idle(self) -> None:
        """Close a tunnel on which nothing moves."""
        self._client.note_cut(STREAM_IDLE)
        self.close(GOING_AWAY)

    def close(self, code: int | None = None) -> None:
        """Close both sides: what is written is still sent, nothing is read any more.

        With a ``code`` the client is told why, where the frames allow it (RFC 6455 §7.4).
        """
        if self._closing:
            return
        self._closing = True
        if code is not None and self._cursor.at_boundary():
            self._client.write(close_frame(code))
        if self._upstream.transport is not None:
            self._upstream.transport.close()
        self._upstream.sink = None
        self._upstream.source = None
        self._client.sink = None
        self._client.source = None
        self._client.linger()
        if not self.finished.done():
            self.finished.set_result(None)


class _Side:
    """One direction of a tunnel."""

    __slots__ = ("_to_client", "_tunnel")

    def __init__(self, tunnel: Tunnel, *, to_client: bool) -> None:
        self._tunnel = tunnel
        self._to_client = to_client

    def feed(self, data: bytes) -> None:
        """Pass bytes on."""
        self._tunnel.pass_on(data, to_client=self._to_client)

    def upstream_closed(self, error: Exception | None) -> None:
        """Close the other side too."""
        self._tunnel.close()

    def end(self, code: int) -> None:
        """Close both sides for a reason."""
        self._tunnel.close(code)
