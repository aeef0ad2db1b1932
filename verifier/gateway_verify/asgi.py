"""The middleware for ASGI apps, as those of Starlette, FastAPI, Quart or Django."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway_verify.errors import KeysUnavailable, NotVerified
from gateway_verify.refusals import HEADER, NO_KEYS, Refusal, refusal_of
from gateway_verify.verifier import Verifier

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REFUSED = 1008
"""The close code of a WebSocket that is not let in (RFC 6455 §7.4.1); before it is open, clients see 403."""


class IdentityMiddleware:
    """Lets through what the gateway sends, with ``scope["gateway_identity"]``; refuses the rest."""

    def __init__(self, app: App, verifier: Verifier, *, header: str = HEADER, required: bool = True) -> None:
        """With ``required`` false, a request without a token passes with None for its identity."""
        self._app = app
        self._verifier = verifier
        self._header = header.lower().encode("ascii")
        self._required = required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        tokens = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == self._header]
        identity = None
        try:
            if tokens or self._required:
                # Two tokens are as bad as none: one of them is not the gateway's.
                identity = await self._verifier.verify_async(tokens[0] if len(tokens) == 1 else "")
        except (NotVerified, KeysUnavailable) as error:
            await _refuse(scope, receive, send, refusal_of(error))
            return
        await self._app({**scope, "gateway_identity": identity}, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013 if refusal is NO_KEYS else REFUSED})
        return
    headers = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in refusal.headers()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body()})
