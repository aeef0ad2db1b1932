"""An OpenID Connect provider of our own: obedient, unless a test asks for something else.

It runs on loopback in a thread of its own, with real keys and real HTTP. Whoever comes to its
authorization endpoint is logged in as its `person` at once. It keeps a list of what clients did wrong.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from aiohttp import web
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.support.closing import cut_connections, stop_accepting
from tests.support.ports import listen
from tests.support.waiting import PATIENCE

SigningKey = RSAKey | ECKey | OKPKey
Claims = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

CLIENT_ID = "gateway"
CLIENT_SECRET = "s:cr+t/ of %41 the client"
ALICE_THERE: Claims = {
    "sub": "subject-1",
    "preferred_username": "alice",
    "name": "Alice Liddell",
    "email": "Alice@Example.com",
    "email_verified": True,
    "groups": ["staff", "wiki"],
}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def new_key(kind: str = "RSA", kid: str | None = None) -> SigningKey:
    """Return a new private key: ``RSA``, ``EC`` or ``OKP``."""
    parameters: Any = {"kid": kid or f"key-{secrets.token_hex(4)}", "use": "sig"}
    if kind == "RSA":
        return RSAKey.generate_key(2048, parameters)
    if kind == "EC":
        return ECKey.generate_key("P-256", parameters)
    return OKPKey.generate_key("Ed25519", parameters)


def algorithm_of(key: SigningKey) -> str:
    return {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[key.key_type]


@dataclass(frozen=True)
class At:
    """A time for a claim, in seconds from whenever the token is made."""

    seconds: int


def resolved(claims: Claims) -> Claims:
    """Return claims with times in place of `At`, and without those that are None."""
    now = int(time.time())
    times = {name: now + value.seconds if isinstance(value, At) else value for name, value in claims.items()}
    return {name: value for name, value in times.items() if value is not None}


class _Anything(JWSRegistry):
    """Signs with whatever a test asks for."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]

    def check_header(self, header: Any) -> None:
        """Let everything pass."""


def sign(claims: Claims, key: SigningKey, **header: Any) -> str:
    """Return a token; ``header`` replaces members of its header, None removes one."""
    head = {"alg": algorithm_of(key), "kid": key.kid, "typ": "JWT", **header}
    head = {name: value for name, value in head.items() if value is not None}
    return jws.serialize_compact(head, json.dumps(claims), key, registry=_Anything(strict_check_header=False))


def unsigned(claims: Claims) -> str:
    """Return a token by the algorithm ``none``."""
    return f"{encoded(json.dumps({'alg': 'none', 'typ': 'JWT'}).encode())}.{encoded(json.dumps(claims).encode())}."


def signed_with_public_key(claims: Claims, key: SigningKey) -> str:
    """Return a token by HS256 whose shared secret is the public key, as everybody can read it."""
    parts = [{"alg": "HS256", "kid": key.kid, "typ": "JWT"}, claims]
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{encoded(hmac.digest(key.as_pem(private=False), text.encode(), 'sha256'))}"


class FakeProvider:
    """One provider. Its attributes are switches that tests set while it runs."""

    def __init__(self) -> None:
        self.keys: list[SigningKey] = [new_key("EC")]
        """The first signs, all are published."""
        self.person: Claims = dict(ALICE_THERE)
        self.in_userinfo: set[str] = set()
        """Claims that are not in the ID token."""
        self.userinfo: Claims = {}
        """What the userinfo endpoint says otherwise."""
        self.metadata: Claims = {}
        """What it says of itself otherwise; None removes a member."""
        self.change: Claims = {}
        """Claims of the ID token that are otherwise; None removes one."""
        self.make_token: Callable[[Claims, SigningKey], str] = sign
        self.tokens: Claims = {}
        """Members of the token endpoint's answer that are otherwise."""
        self.again: Claims = {}
        """Members of its answer to a refresh that are otherwise; None removes one."""
        self.change_again: Claims = {}
        """Claims of the ID token of a refresh that are otherwise."""
        self.rotates = True
        """Whether a refresh token is good once; then using one twice ends the whole login."""
        self.answer: Claims = {}
        """Parameters of the answer through the browser that are otherwise; None removes one."""
        self.instead: dict[str, Answer] = {}
        """What answers under a path in place of the provider."""
        self.revoked: list[dict[str, str]] = []
        """What was sent to the revocation endpoint."""
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.accepts_used_codes = False
        self.port = 0
        self._codes: dict[str, dict[str, str]] = {}
        self._used: set[str] = set()
        self._over: set[str] = set()
        self._grants: dict[str, str] = {}
        """Logins by their refresh tokens."""
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    # --- life -------------------------------------------------------------------------------------

    def __enter__(self) -> FakeProvider:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        # After a stop it comes back under the same address, as a provider does.
        listener = listen(self.port)
        self.port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        self._ready.set()
        await self._stop.wait()
        await stop_accepting([listener])
        await runner.cleanup()
        await cut_connections()

    def down(self) -> None:
        """Stop answering; the address stays."""
        self.__exit__()

    def up(self) -> None:
        """Answer again."""
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.__enter__()

    def rotate(self) -> None:
        """Replace the key by another one, without overlap."""
        self.keys = [new_key("EC")]

    # --- endpoints --------------------------------------------------------------------------------

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        self.counts[request.path] += 1
        if request.path in self.instead:
            return await self.instead[request.path](request)
        views: dict[str, Answer] = {
            "/.well-known/openid-configuration": self._describe,
            "/authorize": self._authorize,
            "/token": self._token,
            "/jwks": self._jwks,
            "/userinfo": self._userinfo,
            "/revoke": self._revoke,
        }
        view = views.get(request.path)
        return await view(request) if view else web.Response(status=404)

    async def _describe(self, _: web.Request) -> web.Response:
        described = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/end",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA", "HS256", "none"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return web.json_response({name: value for name, value in described.items() if value is not None})

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        for name, right in (("response_type", "code"), ("client_id", CLIENT_ID), ("code_challenge_method", "S256")):
            if asked.get(name) != right:
                self.violations.append(f"{name} is {asked.get(name)!r}")
        for name in ("state", "nonce", "code_challenge", "redirect_uri"):
            if len(asked.get(name, "")) < 20:
                self.violations.append(f"{name} is {asked.get(name)!r}")
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        answer = {"code": code, "state": asked.get("state", ""), "iss": self.issuer, **self.answer}
        answer = {name: value for name, value in answer.items() if value is not None}
        return web.Response(status=303, headers={"Location": f"{asked['redirect_uri']}?{urlencode(answer)}"})

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        if form.get("grant_type") == "refresh_token":
            return self._refresh(request, form)
        code = form.get("code", "")
        asked = self._codes.get(code)
        if asked is None or (code in self._used and not self.accepts_used_codes):
            return web.json_response({"error": "invalid_grant"}, status=400)
        self._used.add(code)
        self._check_client(request, form)
        if encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest()) != asked["code_challenge"]:
            self.violations.append("the code verifier is not that of the challenge")
        if form.get("redirect_uri") != asked["redirect_uri"]:
            self.violations.append("another redirect_uri than before")
        return web.json_response({**self._tokens(code, {"nonce": asked.get("nonce"), **self.change}), **self.tokens})

    def _refresh(self, request: web.Request, form: dict[str, str]) -> web.Response:
        """Give new tokens for a refresh token (RFC 6749 §6)."""
        self.counts["refresh"] += 1
        self._check_client(request, form)
        token = form.get("refresh_token", "")
        grant = self._grants.get(token, "")
        if token in self._used and self.rotates:
            self.counts["reused"] += 1
            self._over.add(grant)
        if not grant or grant in self._over:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self._used.add(token)
        answer = {**self._tokens(grant, {**self.change, **self.change_again}), **self.tokens, **self.again}
        return web.json_response({name: value for name, value in answer.items() if value is not None})

    def end_logins(self) -> None:
        """Let no login be refreshed any more."""
        self._over.update(self._grants.values())

    def _tokens(self, grant: str, change: Claims) -> Claims:
        """Return what the token endpoint gives for a login."""
        access_token = secrets.token_urlsafe(16)
        now = int(time.time())
        known = {name: value for name, value in self.person.items() if name not in self.in_userinfo}
        digest = hashlib.sha512 if self.keys[0].key_type == "OKP" else hashlib.sha256
        half = digest(access_token.encode()).digest()
        claims = {
            **known,
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            "at_hash": encoded(half[: len(half) // 2]),
            "sid": "session-1",
            **change,
        }
        refresh_token = secrets.token_urlsafe(16)
        self._grants[refresh_token] = grant
        return {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "refresh_token": refresh_token,
            "id_token": self.make_token(resolved(claims), self.keys[0]),
        }

    def _check_client(self, request: web.Request, form: dict[str, str]) -> None:
        given = request.headers.get("Authorization", "")
        if given.startswith("Basic "):
            client, _, secret = base64.b64decode(given[6:]).decode().partition(":")
            pair = unquote_plus(client), unquote_plus(secret)
        else:
            pair = form.get("client_id", ""), form.get("client_secret", "")
        if pair != (CLIENT_ID, CLIENT_SECRET):
            self.violations.append(f"another client: {pair}")

    async def _revoke(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        self._check_client(request, form)
        self.revoked.append(form)
        return web.Response()

    def logout_token(self, **change: Any) -> str:
        """Return a token that says that the login is over; None removes a claim."""
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": At(0),
            "exp": At(120),
            "jti": secrets.token_hex(8),
            "sub": self.person["sub"],
            "sid": "session-1",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
            **change,
        }
        return sign(resolved(claims), self.keys[0], typ="logout+jwt")

    async def _userinfo(self, request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return web.json_response({"error": "invalid_token"}, status=401)
        return web.json_response({**self.person, **self.userinfo})

    # --- a browser there --------------------------------------------------------------------------

    def visit(self, location: str) -> str:
        """Go to the authorization endpoint; return the path and query that the browser is sent back to."""
        parts = urlsplit(location)
        assert f"{parts.scheme}://{parts.netloc}" == self.issuer, location
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}")
            response = connection.getresponse()
            response.read()
            assert response.status == 303, response.status
            back = urlsplit(response.headers["Location"])
        finally:
            connection.close()
        return f"{back.path}?{back.query}"


def asked_for(location: str) -> dict[str, str]:
    """Return the parameters in an authorization request's address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def said(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Answer:
    """Return what always gives the same answer."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Type": content_type, **headers})

    return answer


async def hang(_: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.sleep(3600)
    raise AssertionError


async def endless(request: web.Request) -> web.StreamResponse:
    """Answer with JSON of 5 MB, without saying so beforehand."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(80):
        await response.write(b" " * 65536)
    await response.write(b"{}")
    return response
