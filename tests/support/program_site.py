"""A gateway that accepts programs, the app behind it, and the issuer of their tokens."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.gateway import ROOT, GatewayProcess, gateway_config, route
from tests.support.messages import Answer
from tests.support.provider import FakeProvider
from tests.support.upstream import RecorderUpstream
from tests.support.visitor import Visitor

CHALLENGES = ['Bearer realm="gateway"', 'Basic realm="gateway", charset="UTF-8"']
INVALID = 'Bearer realm="gateway", error="invalid_token"'


def api_key(gateway: GatewayProcess, *arguments: str, code: int = 0) -> str:
    """Run ``gateway api-key`` on a gateway's configuration; return what it prints."""
    command, *rest = arguments
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "api-key", command, "-c", str(gateway.config_file), *rest],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    return (result.stdout if code == 0 else result.stderr).strip()


@dataclass
class Programs:
    """A gateway whose routes accept programs, the app behind it, and the issuer of tokens."""

    gateway: GatewayProcess
    app: RecorderUpstream
    provider: FakeProvider
    asked: list[str]
    """Opaque tokens that the provider was asked about."""

    def at(self, gateway: GatewayProcess) -> Programs:
        """Return the same with another gateway."""
        return Programs(gateway, self.app, self.provider, self.asked)

    def get(self, path: str, *credentials: str, **headers: str) -> Answer:
        """Send a GET with these Authorization values, as somebody new."""
        pairs = [("Authorization", value) for value in credentials]
        pairs += [(name.replace("_", "-"), value) for name, value in headers.items()]
        return Visitor(self.gateway).get(path, pairs)

    def user(self, path: str, credential: str) -> str | None:
        """Return whom the app is told a credential is of."""
        answer = self.get(path, credential)
        assert answer.status == 200, answer
        assert answer.get_all("Set-Cookie") == []
        return self.app.last().get("X-Forwarded-User")


def config_for(app: RecorderUpstream, provider: FakeProvider) -> dict[str, object]:
    return gateway_config(
        route("app", "/app", app.url, programs=["basic", "api-key", "ci", "opaque"]),
        route("keys", "/keys", app.url, programs=["api-key"]),
        route("ws", "/ws", app.url, programs=["api-key"]),
        route("tokens", "/tokens", app.url, programs=["ci"]),
        route("staff", "/staff", app.url, programs=["basic", "ci"], allow={"groups": ["admins"]}),
        route("passed", "/passed", app.url, programs=["basic"], pass_headers=["Authorization"]),
        route("open", "/open", app.url, public=True, programs=["basic"]),
        route("plain", "/plain", app.url),
        route("free", "/free", app.url, public=True),
        workers=2,
        programs={
            "bearer": [
                {"id": "ci", "issuer": provider.issuer, "audience": "wiki", "allow": {"claims": {"role": ["reader"]}}}
            ],
            "introspection": [
                {
                    "id": "opaque",
                    "url": f"{provider.issuer}/introspect",
                    "client_id": "gateway",
                    "client_secret": "a secret",
                    "audience": ["wiki"],
                    "user_prefix": "",
                }
            ],
        },
    )


@contextlib.contextmanager
def program_site(directory: Path) -> Iterator[Programs]:
    """Run all three; opaque tokens that begin with ``good-`` are active."""
    with FakeProvider() as provider, RecorderUpstream() as app:
        asked: list[str] = []

        async def introspect(request: web.Request) -> web.Response:
            form = parse_qs((await request.read()).decode())
            asked.append(form["token"][0])
            active = form["token"][0].startswith("good-")
            return web.json_response({"active": active, "sub": "robot", "aud": "wiki", "groups": ["bots"]})

        provider.instead["/introspect"] = introspect
        with GatewayProcess(directory, config_for(app, provider)) as gateway:
            yield Programs(gateway, app, provider, asked)
            gateway.assert_no_traceback()
