"""A gateway as verifiers see it: tokens as they should be or not, and a page of keys that does as it is told."""

from __future__ import annotations

import json
import os
import threading
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from gateway.core.identity import Identity
from gateway.core.session import Lifetimes, start_session
from gateway.core.token_policy import TokenPolicy
from gateway.signing.keys import Keys, advance, key_set, make_signer
from gateway.signing.mint import TokenMint
from tests.support.waiting import PATIENCE

NOW = 1_800_000_000.0
ISSUER = "https://gateway.example.com"
AUDIENCE = "wiki"
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "groups": ["staff"], "iat": int(NOW), "exp": int(NOW) + 300}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def encoded(members: object) -> str:
    return b64(members if isinstance(members, bytes) else json.dumps(members).encode())


class Issuer:
    """The keys, and tokens signed with them."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self.policy = TokenPolicy("X-Identity-Token", algorithm, lifetime=300.0, rotate=30 * 86400.0)
        self.keys: Keys = advance((), self.policy, NOW)

    def token(self, audience: str = AUDIENCE) -> str:
        """Return a token as the gateway makes it."""
        mint = TokenMint(self.policy, ISSUER, lambda: NOW, os.urandom)
        mint.use(self.keys)
        identity = Identity("alice", "Alice", "alice@example.com", ("staff",))
        return mint.token(start_session(bytes(16), identity, Lifetimes(), remember=False, now=NOW), audience, 0.0).text

    def signed(self, header: object, claims: object) -> str:
        """Return a token that says anything, signed as it should be."""
        text = f"{encoded(header)}.{encoded(claims)}"
        return f"{text}.{b64(make_signer(self.keys[0].private)(text.encode()))}"

    def header(self, **more: object) -> dict[str, object]:
        return {"alg": self.policy.algorithm, "kid": self.keys[0].kid, "typ": "JWT", **more}

    def with_claims(self, **more: object) -> str:
        """Return a good token but for some claims; None leaves one out."""
        claims = {name: value for name, value in {**CLAIMS, **more}.items() if value is not None}
        return self.signed(self.header(), claims)


class KeyPage:
    """The page of keys on loopback."""

    def __init__(self, body: bytes) -> None:
        self.status = 200
        self.body = body
        self.headers = {"Cache-Control": "public, max-age=100"}
        self.hosts: list[str] = []
        """The Host of each request."""
        self.gate = threading.Event()
        """Answers wait for it."""
        self.gate.set()
        page = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.hosts.append(self.headers["Host"])
                page.gate.wait(PATIENCE)
                self.send_response(page.status)
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(page.body)))
                self.end_headers()
                self.wfile.write(page.body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/_gateway/jwks.json"

    def __enter__(self) -> KeyPage:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def page_of(issuer: Issuer) -> bytes:
    return key_set(issuer.keys)
