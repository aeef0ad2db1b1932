"""What a connection leaves behind: nothing that only the garbage collector could find.

A proxy sees millions of connections; if each left a cycle, memory would be held, and paused for, until the
collector's rare look at all objects.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway.proxy.server import DataPlane
from tests.proxy.loopback import until
from tests.proxy.planes import running_plane
from tests.support.gateway import route
from tests.support.upstream import OK, RecorderUpstream

CONNECTIONS = 5
WEBSOCKET = (
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CLOSES = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
GET = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SAYS = {
    "nothing": "",
    "one request": GET,
    "several": GET * 3,
    "the last request": "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "an upload": "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
    "half an upload": "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\nbody",
    "chunks": "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    "a bad chunk": f"POST /x HTTP/1.1\r\n{CHUNKED}4\r\nbody\r\n",
    "half a form": "POST /_gateway/login HTTP/1.1\r\nHost: a\r\nContent-Length: 400\r\n\r\nbody",
    "a form": "POST /_gateway/login HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
    "a form with a bad chunk": f"POST /_gateway/login HTTP/1.1\r\n{CHUNKED}4\r\nbody\r\n",
    "half a head": "GET /x HTTP/1.1\r\nHo",
    "nonsense": "\0\r\n\r\n",
    "a page that is not there": "GET /x HTTP/1.1\r\nHost: other.example\r\n\r\n",
    "a page for users": "GET /private HTTP/1.1\r\nHost: a\r\nCookie: session=v1.AAAA\r\n\r\n",
    "an upstream that closes": "GET /closes HTTP/1.1\r\nHost: a\r\n\r\n",
    "an upstream that is down": "GET /down HTTP/1.1\r\nHost: a\r\n\r\n",
    "a WebSocket": WEBSOCKET,
}


LATER = {"a bad chunk": b"x\r\n", "a form with a bad chunk": b"x\r\n", "a form": b"body"}
"""What comes when the rest was looked at."""


@pytest.fixture
def recorder() -> Iterator[RecorderUpstream]:
    with RecorderUpstream(lambda request: CLOSES if request.target == "/closes" else OK) as running:
        yield running


@pytest.fixture
def port(plane: tuple[DataPlane, int]) -> int:
    return plane[1]


@pytest.fixture
async def plane(tmp_path: Path, recorder: RecorderUpstream) -> AsyncIterator[tuple[DataPlane, int]]:
    """A data plane on this event loop, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        down = f"http://127.0.0.1:{unused.getsockname()[1]}"
    async with running_plane(
        tmp_path,
        route("app", "/", recorder.url, public=True),
        route("private", "/private", recorder.url),
        route("down", "/down", down, public=True),
    ) as made:
        yield made


async def _left_behind(visit: Callable[[], Awaitable[None]], plane: DataPlane) -> Counter[str]:
    """Return which objects of ours only the collector could find after some visits, by type."""
    await visit()  # what is made once is made
    await until(lambda: not plane.clients)
    gc.collect()
    gc.disable()
    try:
        for _ in range(CONNECTIONS):
            await visit()
        await until(lambda: not plane.clients)
        for _ in range(5):
            await asyncio.sleep(0)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return Counter(type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("gateway"))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("leaves", ["closes", "aborts"])
@pytest.mark.parametrize("says", SAYS)
async def test_a_connection_leaves_no_cycle(says: str, leaves: str, plane: tuple[DataPlane, int]) -> None:
    running, port = plane

    async def visit() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(SAYS[says].encode("latin-1"))
        if says in LATER:
            await asyncio.sleep(0.02)
            writer.write(LATER[says])
        if SAYS[says].endswith("\r\n\r\n") or says in {"an upload", "chunks", *LATER}:
            await reader.read(1)
        if leaves == "closes":
            writer.close()
            await writer.wait_closed()
        else:
            writer.transport.abort()

    assert not await _left_behind(visit, running)
