"""The gateway itself, as `gateway run` starts it: local users, sealed-cookie sessions, rules, log, metrics."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import yaml

from bench.contestants.contestant import Contestant
from bench.contestants.login import log_in
from bench.process import BenchError, Process, free_port

USER, PASSWORD = "alice", "benchmark only"  # the gateway runs on loopback for some seconds
GATEWAY = [sys.executable, "-m", "gateway"]
COMPILED = Path(__file__).resolve().parents[2] / "build" / "compiled"
"""Where `make compile` puts the same program with the way of a request compiled to C."""


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


def _routes(scene: Scene, count: int) -> list[Mapping[str, object]]:
    app = {"upstream": f"http://127.0.0.1:{scene.upstream}", "allow": {"groups": ["staff"]}}
    sink = {"upstream": f"http://127.0.0.1:{scene.sink}", "allow": {"groups": ["staff"]}}
    rules = [{"path": "/admin", "allow": {"groups": ["admins"]}}]
    further = [{"name": f"app-{index:04d}", "path": route_path(index), **app} for index in range(count - 2)]
    return [
        {"name": "app", "path": "/", **app, "rules": rules},
        {"name": "upload", "path": "/upload", **sink},
        *further,
    ]


def _config(scene: Scene, directory: Path, port: int, admin: int, routes: int) -> dict[str, object]:
    return {
        "listen": f"127.0.0.1:{port}",
        "admin_listen": f"127.0.0.1:{admin}",
        "public_url": f"http://127.0.0.1:{port}",
        "workers": 1,
        "state_dir": str(directory / "state"),
        "session": {"store": "cookie", "keys": ["${BENCH_KEY}"]},
        "login": {"local": {"users": str(scene.directory / "users.yaml")}},
        "log": {"access": str(directory / "access.log"), "audit": str(directory / "audit.log")},
        "identity": {
            "headers": {
                "X-Forwarded-User": "{user}",
                "X-Forwarded-Email": "{email}",
                "X-Forwarded-Groups": "{groups}",
            }
        },
        "routes": _routes(scene, routes),
    }


@contextmanager
def running(scene: Scene, name: str = "ours", routes: int = 2, *, compiled: bool = True) -> Iterator[Contestant]:
    """Run the gateway as a contestant, with some number of routes. Raises BenchError where it is not compiled."""
    if compiled and not COMPILED.is_dir():
        raise BenchError("the gateway is not compiled: make compile")
    directory = scene.directory / name
    directory.mkdir()
    port, admin = free_port(), free_port()
    file = directory / "gateway.yaml"
    file.write_text(yaml.safe_dump(_config(scene, directory, port, admin, routes), sort_keys=False), encoding="utf-8")
    env = {"BENCH_KEY": scene.key}
    if compiled:
        found = os.environ.get("PYTHONPATH")
        env |= {"PYTHONPATH": os.pathsep.join(filter(None, (str(COMPILED), found))), "PYTHONSAFEPATH": "1"}
    with Process(name, directory, [*GATEWAY, "run", "-c", str(file)], scene.core, env) as process:
        process.wait_until_ready(admin, "/readyz")
        yield Contestant(name, port, process)


def session_token(gateway: Contestant) -> str:
    """Return the token of a real login. Raises BenchError."""
    try:
        return log_in(gateway.port, USER, PASSWORD)
    except (OSError, HTTPException) as error:
        raise BenchError(f"the login failed: {error!r}\n{gateway.process.complaint()}") from error
