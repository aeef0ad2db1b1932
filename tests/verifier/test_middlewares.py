"""The middlewares: apps see who asks, and nobody gets past them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from gateway_verify import Identity, Verifier, asgi, wsgi

from tests.verifier.issuer import AUDIENCE, ISSUER, NOW, Issuer, KeyPage, page_of

ISSUED = Issuer()
GOOD = ISSUED.token()
OTHER = ISSUED.token("shop")


@pytest.fixture
def page() -> Iterator[KeyPage]:
    with KeyPage(page_of(ISSUED)) as page:
        yield page


@pytest.fixture
def verifier(page: KeyPage) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, jwks_url=page.url, clock=lambda: NOW)


class AsgiApp:
    """Remembers whom it has seen."""

    def __init__(self) -> None:
        self.seen: list[Identity | None] = []
        self.others: list[str] = []

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] == "lifespan":
            self.others.append(scope["type"])
            return
        self.seen.append(scope["gateway_identity"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


async def ask_asgi(
    app: asgi.App, *tokens: str, kind: str = "http", name: bytes = b"x-identity-token"
) -> dict[str, Any]:
    """Return the first message that an app sends."""
    sent: list[Any] = []
    received: list[str] = []

    async def receive() -> asgi.Message:
        received.append(kind)
        return {"type": f"{kind}.connect"}

    async def send(message: asgi.Message) -> None:
        sent.append(message)

    headers = [(b"host", b"app"), *((name, token.encode()) for token in tokens)]
    await app({"type": kind, "headers": headers}, receive, send)
    return dict(sent[0]) if sent else {}


async def test_an_asgi_app_sees_who_asks(verifier: Verifier) -> None:
    inner = AsgiApp()
    app = asgi.IdentityMiddleware(inner, verifier)
    assert (await ask_asgi(app, GOOD))["status"] == 200
    assert (await ask_asgi(app, GOOD, name=b"X-Identity-Token"))["status"] == 200
    assert [identity.user for identity in inner.seen if identity] == ["alice", "alice"]
    await ask_asgi(app, kind="lifespan")
    assert inner.others == ["lifespan"]


@pytest.mark.parametrize("tokens", [(), ("",), ("forged",), (OTHER,), (GOOD, GOOD), (GOOD, "forged")])
async def test_an_asgi_app_is_not_reached_without_a_good_token(verifier: Verifier, tokens: tuple[str, ...]) -> None:
    inner = AsgiApp()
    app = asgi.IdentityMiddleware(inner, verifier)
    assert (await ask_asgi(app, *tokens))["status"] == 401
    assert await ask_asgi(app, *tokens, kind="websocket") == {"type": "websocket.close", "code": 1008}
    assert inner.seen == []


async def test_a_websocket_of_an_asgi_app_carries_the_identity(verifier: Verifier) -> None:
    inner = AsgiApp()
    await ask_asgi(asgi.IdentityMiddleware(inner, verifier), GOOD, kind="websocket")
    assert [identity.user for identity in inner.seen if identity] == ["alice"]


async def test_an_asgi_app_says_when_it_cannot_know(verifier: Verifier, page: KeyPage) -> None:
    page.status = 500
    app = asgi.IdentityMiddleware(AsgiApp(), verifier)
    assert (await ask_asgi(app, GOOD))["status"] == 503
    assert (await ask_asgi(app, GOOD, kind="websocket"))["code"] == 1013


async def test_an_asgi_app_with_public_pages(verifier: Verifier) -> None:
    inner = AsgiApp()
    app = asgi.IdentityMiddleware(inner, verifier, required=False, header="X-Proof")
    assert (await ask_asgi(app))["status"] == 200
    assert (await ask_asgi(app, "forged", name=b"x-proof"))["status"] == 401
    assert inner.seen == [None]


class WsgiApp:
    """The same."""

    def __init__(self) -> None:
        self.seen: list[tuple[Identity | None, str | None]] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.seen.append((environ["gateway_identity"], environ.get("REMOTE_USER")))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]


def ask_wsgi(app: wsgi.IdentityMiddleware, token: str | None, **more: str) -> str:
    """Return the status; that all is as PEP 3333 has it is checked on the way."""
    environ: WSGIEnvironment = {"QUERY_STRING": "", **more}
    setup_testing_defaults(environ)
    if token is not None:
        environ["HTTP_X_IDENTITY_TOKEN"] = token
    statuses: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        statuses.append(status)
        return lambda data: None

    body = validator(app)(environ, start_response)
    try:
        assert b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]
    return statuses[0]


def test_a_wsgi_app_sees_who_asks(verifier: Verifier) -> None:
    inner = WsgiApp()
    assert ask_wsgi(wsgi.IdentityMiddleware(inner, verifier), GOOD, REMOTE_USER="mallory") == "200 OK"
    ((identity, remote_user),) = inner.seen
    assert identity is not None
    assert (identity.user, remote_user) == ("alice", "alice")


@pytest.mark.parametrize("token", [None, "", "forged", OTHER, f"{GOOD},{GOOD}", f"{GOOD}, forged"])
def test_a_wsgi_app_is_not_reached_without_a_good_token(verifier: Verifier, token: str | None) -> None:
    inner = WsgiApp()
    assert ask_wsgi(wsgi.IdentityMiddleware(inner, verifier), token) == "401 Unauthorized"
    assert inner.seen == []


def test_a_wsgi_app_says_when_it_cannot_know(verifier: Verifier, page: KeyPage) -> None:
    page.status = 500
    assert ask_wsgi(wsgi.IdentityMiddleware(WsgiApp(), verifier), GOOD) == "503 Service Unavailable"


def test_a_wsgi_app_with_public_pages(verifier: Verifier) -> None:
    inner = WsgiApp()
    app = wsgi.IdentityMiddleware(inner, verifier, required=False)
    assert ask_wsgi(app, None, REMOTE_USER="mallory") == "200 OK"
    assert inner.seen == [(None, None)]
    assert ask_wsgi(app, "forged") == "401 Unauthorized"
