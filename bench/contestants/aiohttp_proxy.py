"""A plain proxy as one would write it with aiohttp: `aiohttp.web` in front, `ClientSession` behind.

Run as ``python -m bench.contestants.aiohttp_proxy PORT UPSTREAM SINK``; the access log goes to
standard output. It streams both ways and checks no session.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from multidict import CIMultiDict, CIMultiDictProxy

from bench.contestants.contestant import Contestant
from bench.process import Process, free_port

HOP_BY_HOP = ("Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade")


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the headers that are not for one hop only (RFC 9110 §7.6.1)."""
    kept = headers.copy()
    for name in HOP_BY_HOP:
        kept.popall(name, None)
    return kept


class Proxy:
    """Forwards every request to one of two ports."""

    def __init__(self, upstream: int, sink: int) -> None:
        self._upstream = f"http://127.0.0.1:{upstream}"
        self._sink = f"http://127.0.0.1:{sink}"

    async def session(self, app: web.Application) -> AsyncIterator[None]:
        """Hold the client open as long as the application runs."""
        connector = TCPConnector(limit=0)
        async with ClientSession(connector=connector, auto_decompress=False, timeout=ClientTimeout(60)) as client:
            self._client = client
            yield

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forward one request and stream its answer."""
        base = self._sink if request.path.startswith("/upload") else self._upstream
        headers = end_to_end(request.headers)
        headers["X-Forwarded-For"] = request.remote or ""
        headers["X-Forwarded-Proto"] = request.scheme
        body = request.content if request.can_read_body else None
        async with self._client.request(
            request.method, base + request.raw_path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=end_to_end(answer.headers))
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


@contextmanager
def running(directory: Path, core: int, upstream: int, sink: int) -> Iterator[Contestant]:
    """Run the plain proxy as a contestant."""
    directory.mkdir(parents=True)
    port = free_port()
    command = [sys.executable, "-m", "bench.contestants.aiohttp_proxy", str(port), str(upstream), str(sink)]
    with Process("aiohttp", directory, command, core) as process:
        process.wait_until_ready(port)
        yield Contestant("aiohttp", port, process)


def main(port: int, upstream: int, sink: int) -> None:
    """Serve until the process is ended."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    proxy = Proxy(upstream, sink)
    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(proxy.session)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, loop=loop, print=None, keepalive_timeout=300, backlog=4096)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
