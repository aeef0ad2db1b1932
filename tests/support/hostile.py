"""An upstream whose answers are written byte by byte, each path its own script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

from tests.support.messages import Request
from tests.support.upstream import OK, ScriptedUpstream, UpstreamConnection

Handler = Callable[[UpstreamConnection, Request], Awaitable[None]]


class HostileUpstream(ScriptedUpstream):
    """Run the handler of a request's path; paths without one are answered properly.

    A handler ends by returning, which leaves the connection open for the next request, or by closing it.
    The body of a request is read before its handler runs, unless the path was given to `raw`.
    """

    def __init__(self) -> None:
        super().__init__(self._serve)
        self.requests: list[Request] = []
        self._handlers: dict[str, Handler] = {}
        self._unread: set[str] = set()

    def __enter__(self) -> HostileUpstream:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def on(self, path: str, handler: Handler) -> None:
        """Run ``handler`` for requests to ``path``."""
        self._handlers[path] = handler

    def raw(self, path: str, handler: Handler) -> None:
        """The same, with the request's body left to the handler."""
        self._handlers[path] = handler
        self._unread.add(path)

    def says(self, path: str, answer: bytes, *, then: str = "close") -> None:
        """Answer requests to ``path`` with exactly these bytes, and ``close``, ``reset``, or ``stay``."""

        async def handler(connection: UpstreamConnection, request: Request) -> None:
            await connection.send(answer)
            if then == "reset":
                connection.abort()
            elif then == "close":
                await connection.finish()
                await connection.until_closed()

        self.on(path, handler)

    def seen(self, path: str) -> list[Request]:
        """Return the requests to ``path`` so far."""
        return [request for request in self.requests if request.target.partition("?")[0] == path]

    async def _serve(self, connection: UpstreamConnection) -> None:
        while (request := await connection.head()) is not None:
            self.requests.append(request)
            path = request.target.partition("?")[0]
            if path not in self._unread:
                await connection.body(request)
                if not request.complete:
                    return
            handler = self._handlers.get(path)
            if handler is None:
                await connection.send(OK)
                continue
            await handler(connection, request)
            if connection.ended:
                return
