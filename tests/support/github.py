"""A stand-in for GitHub that answers as its REST API documents, with just what a login needs.

Like an Enterprise Server it has its API below ``/api/v3``.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web

from tests.support.closing import cut_connections, stop_accepting
from tests.support.ports import listen
from tests.support.waiting import PATIENCE

CLIENT_ID = "Iv1.0123456789abcdef"
CLIENT_SECRET = "not a secret of anybody"
OCTOCAT = {"login": "octocat", "id": 583231, "name": "The Octocat", "email": None, "type": "User", "site_admin": False}
EMAILS = [
    {"email": "old@example.com", "primary": False, "verified": True, "visibility": None},
    {"email": "Octocat@Example.com", "primary": True, "verified": True, "visibility": "private"},
]


class FakeGithub:
    """One GitHub, on loopback in a thread of its own. Its attributes are what a test changes."""

    def __init__(self) -> None:
        self.user: dict[str, Any] = dict(OCTOCAT)
        self.emails: list[dict[str, Any]] = [dict(entry) for entry in EMAILS]
        self.orgs = [{"login": "example-org", "id": 1}]
        self.teams = [{"slug": "platform", "name": "Platform", "organization": {"login": "example-org"}}]
        self.scopes: set[str] = set()
        """Those of the newest authorization request."""
        self.broken: dict[str, int] = {}
        """Statuses by path of the API."""
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.port = 0
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: set[str] = set()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FakeGithub:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/login/oauth/access_token", self._token)
        app.router.add_get("/api/v3/{path:.*}", self._api)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        listener = listen()
        self.port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        self._ready.set()
        await self._stop.wait()
        await stop_accepting([listener])
        await runner.cleanup()
        await cut_connections()

    def visit(self, location: str) -> str:
        """Agree at the page that the browser was sent to; return the path and query it is sent back to."""
        parts = urlsplit(location)
        asked = dict(parse_qsl(parts.query))
        assert location.startswith(f"{self.url}/login/oauth/authorize?"), location
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        self.scopes = set(asked["scope"].split())
        code = secrets.token_hex(10)
        self._codes[code] = asked
        return f"{urlsplit(asked['redirect_uri']).path}?{urlencode({'code': code, 'state': asked['state']})}"

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl((await request.read()).decode()))
        if "json" not in request.headers.get("Accept", ""):
            return web.Response(text="access_token=x", content_type="application/x-www-form-urlencoded")
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return web.json_response({"error": "incorrect_client_credentials"})
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or form.get("redirect_uri") != asked["redirect_uri"]:
            return web.json_response({"error": "bad_verification_code", "error_description": "The code is incorrect."})
        token = "gho_" + secrets.token_hex(18)
        self._tokens.add(token)
        return web.json_response({"access_token": token, "scope": "read:user,user:email", "token_type": "bearer"})

    async def _api(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.counts[path] += 1
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._tokens:
            return web.json_response({"message": "Bad credentials"}, status=401)
        for name, right in (("Accept", "application/vnd.github+json"), ("X-GitHub-Api-Version", "2022-11-28")):
            if request.headers.get(name) != right:
                self.violations.append(f"{name}: {request.headers.get(name)}")
        if not request.headers.get("User-Agent"):
            return web.json_response({"message": "Request forbidden by administrative rules."}, status=403)
        if path in self.broken:
            return web.json_response({"message": "broken"}, status=self.broken[path])
        if path == "user":
            return web.json_response(self.user)
        entries = {"user/emails": self.emails, "user/orgs": self.orgs, "user/teams": self.teams}[path]
        size, page = int(request.query["per_page"]), int(request.query["page"])
        return web.json_response(entries[size * (page - 1) : size * page])
