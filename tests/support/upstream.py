"""Upstreams of bare sockets that record every byte and answer by script.

`ScriptedUpstream` runs one coroutine per connection, so a test decides on each byte and each close.
`RecorderUpstream` is the well-behaved one: it reads requests strictly and answers each.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from socket import IPPROTO_TCP, SO_LINGER, SOL_SOCKET, TCP_NODELAY
from types import TracebackType

from tests.support.closing import cut_connections, stop_accepting
from tests.support.frames import CLOSE, PING, PONG, decode, encode
from tests.support.messages import ChunkedBody, Malformed, Request, body_length, parse_request_head
from tests.support.waiting import PATIENCE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class UpstreamConnection:
    """One connection from the gateway, for a script to read and to answer."""

    def __init__(self, index: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.index = index
        self.received = bytearray()
        """Every byte that arrived."""
        self.sent = 0
        self.ended = False
        """The gateway has closed or aborted its side, or the script is done."""
        self._reader = reader
        self._writer = writer
        self._buffer = b""

    async def more(self) -> bytes:
        """Return the next bytes; empty at the end."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        try:
            data = await self._reader.read(65536)
        except ConnectionError:
            data = b""
        self.received += data
        self.ended = self.ended or not data
        return data

    async def head(self) -> Request | None:
        """Return the next request with its body still unread, or None at the end. Raises Malformed."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = await self.more()
            if not piece:
                if data:
                    raise Malformed(f"connection ended within a head: {data[:200]!r}")
                return None
            data += piece
        end = data.index(b"\r\n\r\n") + 4
        self._buffer = data[end:] + self._buffer
        return parse_request_head(data[:end], self.index)

    async def body(self, request: Request) -> None:
        """Read the request's body into it; `complete` stays false where it is cut short. Raises Malformed."""
        length = body_length(request.headers)
        if length == "chunked":
            await self._chunked(request)
            return
        missing = length if isinstance(length, int) else 0
        pieces = []
        while missing:
            piece = await self.more()
            if not piece:
                break
            pieces.append(piece[:missing])
            self._buffer = piece[missing:]
            missing -= len(pieces[-1])
        request.body = b"".join(pieces)
        request.complete = not missing

    async def _chunked(self, request: Request) -> None:
        body = ChunkedBody()
        while not body.done:
            piece = await self.more()
            if not piece:
                break
            self._buffer = body.feed(piece)
        request.body = bytes(body.data)
        request.complete = body.done
        if body.trailers:
            raise Malformed(f"trailers were forwarded: {body.trailers}")

    async def request(self) -> Request | None:
        """Return the next request with its body, or None at the end. Raises Malformed."""
        request = await self.head()
        if request is not None:
            await self.body(request)
        return request

    async def send(self, data: bytes) -> None:
        """Send bytes and wait until the socket has taken them. Raises ConnectionError."""
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    async def finish(self) -> None:
        """Send the end of the stream, and go on reading; nothing happens where the peer is gone."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    def abort(self) -> None:
        """Close with a reset."""
        self._writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def until_closed(self) -> bytes:
        """Read until the gateway closes; return what came."""
        pieces = []
        while piece := await self.more():
            pieces.append(piece)
        return b"".join(pieces)

    async def upgrade(self, request: Request, headers: bytes = b"") -> None:
        """Answer a WebSocket handshake properly (RFC 6455 §4.2.2)."""
        accept = websocket_accept(request.get("Sec-WebSocket-Key") or "")
        await self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n" + headers + b"\r\n"
        )


def websocket_accept(key: str) -> str:
    """Return the Sec-WebSocket-Accept that belongs to a key (RFC 6455 §4.2.2)."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest).decode()


Script = Callable[[UpstreamConnection], Awaitable[None]]


class ScriptedUpstream:
    """A server in a thread of its own, on a free loopback port or a unix socket."""

    def __init__(
        self, script: Script, *, unix_path: Path | None = None, tls: ssl.SSLContext | None = None, backlog: int = 4096
    ) -> None:
        self.script = script
        self.connections: list[UpstreamConnection] = []
        self.violations: list[str] = []
        """What the gateway sent that is not HTTP/1.1, or how a script failed."""
        self.port = 0
        self._unix_path = unix_path
        self._tls = tls
        self._backlog = backlog
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> ScriptedUpstream:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address as a route's ``upstream`` names it."""
        if self._unix_path:
            return f"unix:{self._unix_path}"
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start to listen."""
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the upstream did not start"

    def stop(self) -> None:
        """Cut every connection and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive(), "the upstream did not end"

    def received(self) -> bytes:
        """Return every byte of every connection so far."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _listen(self) -> None:
        if self._unix_path:
            self._server = await asyncio.start_unix_server(
                self._accepted, path=str(self._unix_path), backlog=self._backlog, ssl=self._tls
            )
        else:
            self._server = await asyncio.start_server(
                self._accepted, "127.0.0.1", 0, backlog=self._backlog, ssl=self._tls
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        if self._server:
            await stop_accepting(self._server.sockets)
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await cut_connections()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = UpstreamConnection(len(self.connections), reader, writer)
        self.connections.append(connection)
        try:
            if not self._unix_path:
                writer.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            await self.script(connection)
        except Malformed as error:
            self.violations.append(str(error))
        except (OSError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - whatever a script does wrong must fail its test
            self.violations.append(f"script failed: {error!r}")
        finally:
            connection.ended = True
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError, RuntimeError):
                writer.close()


class RecorderUpstream(ScriptedUpstream):
    """Record requests and answer each with ``answer(request)``; upgrade WebSockets below ``/ws``."""

    def __init__(
        self,
        answer: Callable[[Request], bytes] = lambda request: OK,
        *,
        unix_path: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(self._serve, unix_path=unix_path, tls=tls)
        self.answer = answer
        self.requests: list[Request] = []

    def __enter__(self) -> RecorderUpstream:
        self.start()
        return self

    def last(self) -> Request:
        """Return the newest request."""
        assert self.requests, "no request reached the upstream"
        return self.requests[-1]

    async def _serve(self, connection: UpstreamConnection) -> None:
        while (request := await connection.head()) is not None:
            self.requests.append(request)
            if request.target.startswith("/ws") and (request.get("Upgrade") or "").lower() == "websocket":
                request.complete = True
                await connection.upgrade(request)
                await self._echo(connection)
                return
            await connection.body(request)
            if not request.complete:
                return
            answer = self.answer(request)
            await connection.send(_without_body(answer) if request.method == "HEAD" else answer)

    async def _echo(self, connection: UpstreamConnection) -> None:
        """Send each frame back, and end after a close."""
        data = b""
        while piece := await connection.more():
            frames, data = decode(data + piece)
            for frame in frames:
                opcode = PONG if frame.opcode == PING else frame.opcode
                await connection.send(encode(opcode, frame.payload, masked=False))
                if frame.opcode == CLOSE:
                    return


def _without_body(answer: bytes) -> bytes:
    return answer[: answer.index(b"\r\n\r\n") + 4]
