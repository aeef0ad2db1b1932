"""The apps of docs/signed-identity.md, as they stand there, behind the real gateway: Python, Node and Go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import ROOT, gateway_config, route
from tests.support.messages import Answer
from tests.support.ports import free_port
from tests.support.raw import RawClient
from tests.support.tools import tool
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import Visitor, logged_in
from tests.support.waiting import wait_for

DOC = (ROOT / "docs/signed-identity.md").read_text(encoding="utf-8")
ISSUER = "http://localhost"
BUILD_TIME = 400.0

SERVE = """

import sys
from wsgiref.simple_server import make_server

make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""


def snippet(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
    return str(found)


Command = list[str]


def python_app(folder: Path, keys_url: str, port: int) -> Command:
    code = snippet("python").replace(
        'issuer="https://gateway.example.com"', f'issuer="{ISSUER}", jwks_url="{keys_url}"'
    )
    assert keys_url in code
    (folder / "app.py").write_text(code + SERVE)
    return [sys.executable, str(folder / "app.py"), str(port)]


def node_app(folder: Path, keys_url: str, port: int) -> Command:
    (folder / "app.mjs").write_text(snippet("js"))
    return [tool("node", "nodejs", package="nodejs"), str(folder / "app.mjs")]


def go_app(folder: Path, keys_url: str, port: int) -> Command:
    (folder / "main.go").write_text(snippet("go"))
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    command = [tool("go", package="golang-go"), "build", "-o", str(folder / "app"), "main.go"]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=BUILD_TIME)
    return [str(folder / "app")]


APPS: dict[str, Callable[[Path, str, int], Command]] = {"python": python_app, "node": node_app, "go": go_app}


@contextmanager
def running(command: Command, environment: dict[str, str], port: int) -> Iterator[None]:
    """Run an app while it is needed."""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), what="the app to listen")
        yield
    finally:
        process.kill()
        process.wait(10)


def answers(port: int) -> bool:
    try:
        return ask(port).status > 0
    except OSError:
        return False


def ask(port: int, *tokens: str) -> Answer:
    """Ask the app itself, past the gateway."""
    lines = "".join(f"X-Identity-Token: {token}\r\n" for token in tokens)
    with RawClient(port) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n{lines}\r\n")
        return client.answer()


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
@pytest.mark.parametrize("app", APPS)
def test_an_app_of_the_docs_lets_in_whom_the_gateway_names_and_nobody_else(
    start_gateway: StartGateway, recorder: RecorderUpstream, tmp_path: Path, app: str, algorithm: str
) -> None:
    port = free_port()
    gateway = start_gateway(
        gateway_config(
            route("wiki", "/", f"http://127.0.0.1:{port}"),
            route("shop", "/shop", recorder.url),
            route("look", "/look", recorder.url, token="wiki"),
            identity={"token": {"algorithm": algorithm}},
        )
    )
    # Its name is one that the gateway serves; keys under another name would be refused with 421.
    keys_url = f"http://localhost:{gateway.port}/_gateway/jwks.json"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "verifier"),
        "GATEWAY_URL": ISSUER,
        "GATEWAY_AUDIENCE": "wiki",
        "GATEWAY_KEYS_URL": keys_url,
        "PORT": str(port),
    }
    with running(APPS[app](tmp_path, keys_url, port), environment, port):
        alice = logged_in(gateway, ALICE)
        answer = alice.get("/page")
        assert (answer.status, answer.body) == (200, b"Hello alice")
        good, other = token_at(alice, recorder, "/look/x"), token_at(alice, recorder, "/shop/x")
        assert ask(port, good).status == 200, "the same token, which the rest differs from"
        head, claims, signature = good.split(".")
        for bad in ("", "a.b.c", other, f"{head}.{claims}.", f"{head}.{other.split('.')[1]}.{signature}"):
            assert ask(port, bad).status == 401, bad
        assert ask(port).status == 401


def token_at(visitor: Visitor, recorder: RecorderUpstream, path: str) -> str:
    assert visitor.get(path).status == 200
    return str(recorder.last().get("X-Identity-Token"))


def test_every_snippet_is_run() -> None:
    assert set(re.findall(r"^```(\w+)$", DOC, re.MULTILINE)) == {"yaml", "python", "js", "go"}
