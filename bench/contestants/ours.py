"""The gateway itself, as `gateway run` starts it: local users, sealed-cookie sessions, rules, log, metrics."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import yaml

from bench.contestants.contestant import Contestant
from bench.contestants.login import log_in
from bench.process import BenchError, Process, free_port
from bench.provider import Client

USER, PASSWORD = "alice", "benchmark only"  # the gateway runs on loopback for some seconds
GATEWAY = [sys.executable, "-m", "gateway"]
COMPILED = Path(__file__).resolve().parents[2] / "build" / "compiled"
"""Where `make compile` puts the same program with the way of a request compiled to C."""
PROVIDER = "sso"
START = f"/_gateway/oidc/{PROVIDER}/start?next=/"
CALLBACK = f"/_gateway/oidc/{PROVIDER}/callback"
HEADERS = {"X-Forwarded-User": "{user}", "X-Forwarded-Email": "{email}", "X-Forwarded-Groups": "{groups}"}


@dataclass(frozen=True, slots=True)
class Scene:
    """What several gateways of one benchmark share, so that a session of one is good at all."""

    directory: Path
    core: int
    upstream: int
    sink: int
    key: str


def prepare(directory: Path, core: int, upstream: int, sink: int) -> Scene:
    """Write the users file and make a key."""
    directory.mkdir(parents=True)
    command = [*GATEWAY, "hash-password"]
    hashed = subprocess.run(command, input=PASSWORD + "\n", check=True, capture_output=True, text=True, timeout=60)
    user = {"password": hashed.stdout.strip(), "name": "Alice Liddell", "email": "alice@example.com"}
    users = {"users": {USER: {**user, "groups": ["staff", "wiki"]}}}
    (directory / "users.yaml").write_text(yaml.safe_dump(users), encoding="utf-8")
    return Scene(directory, core, upstream, sink, secrets.token_urlsafe(32))


def route_path(index: int) -> str:
    """Return the path of one of many routes."""
    return f"/apps/{index:04d}"


def _routes(scene: Scene, count: int, more: Mapping[str, object]) -> list[Mapping[str, object]]:
    app = {"upstream": f"http://127.0.0.1:{scene.upstream}", "allow": {"groups": ["staff"]}, **more}
    sink = {**app, "upstream": f"http://127.0.0.1:{scene.sink}"}
    rules = [{"path": "/admin", "allow": {"groups": ["admins"]}}]
    further = [{"name": f"app-{index:04d}", "path": route_path(index), **app} for index in range(count - 2)]
    return [
        {"name": "app", "path": "/", **app, "rules": rules},
        {"name": "upload", "path": "/upload", **sink},
        *further,
    ]


@dataclass(frozen=True, slots=True)
class Setup:
    """In what a gateway differs from the one of the main case."""

    routes: int = 2
    compiled: bool = True
    store: str = "cookie"
    state: Path | None = None
    """A state folder that several of them use one after the other."""
    workers: int = 1
    cores: str = ""
    """Where it runs, as `taskset` takes it; the contestants' core where it is empty."""
    port: int = 0
    """Any free one where it is 0."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Keys of the configuration that are otherwise."""
    route: Mapping[str, object] = field(default_factory=dict)
    """What each route has besides."""


def write_config(scene: Scene, directory: Path, setup: Setup, port: int = 0, admin: int = 0) -> Path:
    """Write the configuration; return its file."""
    file = directory / "gateway.yaml"
    config = _config(scene, directory, setup, port or free_port(), admin or free_port())
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file


def _config(scene: Scene, directory: Path, setup: Setup, port: int, admin: int) -> dict[str, object]:
    return {
        "listen": f"127.0.0.1:{port}",
        "admin_listen": f"127.0.0.1:{admin}",
        "public_url": f"http://127.0.0.1:{port}",
        "workers": setup.workers,
        "state_dir": str(setup.state or directory / "state"),
        "session": {"store": setup.store, "keys": ["${BENCH_KEY}"]},
        "login": {"local": {"users": str(scene.directory / "users.yaml")}},
        "log": {"access": str(directory / "access.log"), "audit": str(directory / "audit.log")},
        "identity": {"headers": HEADERS},
        "routes": _routes(scene, setup.routes, setup.route),
        **setup.settings,
    }


def login_at(client: Client) -> Mapping[str, object]:
    """Return the settings of a gateway whose people log in at a provider."""
    return {
        "login": {
            "oidc": [
                {
                    "id": PROVIDER,
                    "issuer": client.issuer,
                    "client_id": client.id,
                    "client_secret": client.secret,
                    "scopes": list(client.scopes),
                }
            ]
        }
    }


@contextmanager
def running(scene: Scene, name: str = "ours", setup: Setup = Setup()) -> Iterator[Contestant]:
    """Run the gateway as a contestant. Raises BenchError where it is not compiled."""
    if setup.compiled and not any(COMPILED.glob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}")):
        raise BenchError("the gateway is not compiled for this interpreter: tools/compile_hot_path.py")
    directory = scene.directory / name
    directory.mkdir()
    port, admin = setup.port or free_port(), free_port()
    file = write_config(scene, directory, setup, port, admin)
    env = {"BENCH_KEY": scene.key}
    if setup.compiled:
        found = os.environ.get("PYTHONPATH")
        env |= {"PYTHONPATH": os.pathsep.join(filter(None, (str(COMPILED), found))), "PYTHONSAFEPATH": "1"}
    with Process(name, directory, [*GATEWAY, "run", "-c", str(file)], setup.cores or scene.core, env) as process:
        process.wait_until_ready(admin, "/readyz")
        yield Contestant(name, port, process)


def session_token(gateway: Contestant) -> str:
    """Return the token of a real login. Raises BenchError."""
    try:
        return log_in(gateway.port, USER, PASSWORD)
    except (OSError, HTTPException) as error:
        raise BenchError(f"the login failed: {error!r}\n{gateway.process.complaint()}") from error
