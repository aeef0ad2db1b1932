"""An upstream that reads a whole request body, keeps nothing of it, and then answers.

Run as ``python -m bench.sink PORT``. It trusts its client: only the contestants talk to it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection: a head, then a body of known length or in chunks, then the next head."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._tail: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; uvloop's are no subclasses of asyncio's."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Count the body down and answer at its end."""
        if self._tail is not None:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            self._answer_if(self._tail == LAST_CHUNK)
        elif self._left:
            self._left -= len(data)
            self._answer_if(self._left <= 0)
        else:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if end:
                self._head = b""
                self._start_body(head, rest)

    def _start_body(self, head: bytes, rest: bytes) -> None:
        length = LENGTH.search(head)
        if CHUNKED.search(head):
            self._tail = rest[-len(LAST_CHUNK) :]
            self._answer_if(self._tail == LAST_CHUNK)
        else:
            self._left = int(length[1]) - len(rest) if length else 0
            self._answer_if(self._left <= 0)

    def _answer_if(self, complete: bool) -> None:
        if complete:
            self._left, self._tail = 0, None
            self._transport.write(ANSWER)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
