"""The parts of compose.yaml side by side: Redis of this machine, and the gateway and two apps out of the image.

Files, commands and variables are those of compose.yaml; only addresses differ, for all share the host's network.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from tests.support.container import Container, image_config
from tests.support.ports import free_port
from tests.support.users import User
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / "config/compose/setup"
USER = 10001
"""The image's user."""
GROUPS = {"alice": ("staff",), "bob": (), "admin": ("staff", "admins")}


def compose() -> dict[str, Any]:
    """Return compose.yaml."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return found


def make_secrets(image: str, folder: Path) -> dict[str, User]:
    """Run the setup script with the gateway out of the image; return the people it tells of."""
    with Container(image) as container:
        env = {**os.environ, "GATEWAY": " ".join(container.command("gateway"))}
        said = subprocess.run([SETUP, folder], env=env, check=True, capture_output=True, text=True, timeout=120).stdout
    logins = re.findall(r"^  (\w+)  (\S+)$", said, re.MULTILINE)
    return {name: User(name, password, name, GROUPS[name]) for name, password in logins}


class Redis:
    """The Redis of compose.yaml, from this machine's package."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        self.port = free_port()
        self._password = (secrets / "redis_password").read_text().strip()
        data = folder / "redis"
        data.mkdir()
        # Options of the command line win over the file's.
        self._process = subprocess.Popen(
            ["redis-server", ROOT / "config/compose/redis.conf", "--bind", "127.0.0.1", "--port", str(self.port),
             "--aclfile", secrets / "redis_acl"],
            cwd=data, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def call(self, *command: str, password: bool = True) -> str:
        """Return what redis-cli prints; logged in as the gateway is, unless told otherwise."""
        user = ["--user", "gateway"] if password else []
        env = {**os.environ, **({"REDISCLI_AUTH": self._password} if password else {})}
        return subprocess.run(
            ["redis-cli", "-p", str(self.port), *user, *command],
            env=env, check=False, capture_output=True, encoding="latin-1", timeout=10,
        ).stdout.strip()  # fmt: skip

    def wait(self) -> None:
        """Wait until it answers."""
        wait_for(lambda: self.call("ping") == "PONG", what="Redis")

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(20)


class Stack:
    """All parts, running."""

    def __init__(self, image: str, folder: Path) -> None:
        self.secrets = folder / "secrets"
        self.people = make_secrets(image, self.secrets)
        self._image = image
        self._parts = ExitStack()
        self.port = free_port()
        self.admin_port = free_port()
        try:
            self.redis = Redis(folder, self.secrets)
            self._parts.callback(self.redis.stop)
            self.redis.wait()
            self.apps = {name: self._start_app(name) for name in ("whoami", "live")}
            self.gateway = self._make_gateway()
            self._start_gateway()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what still runs."""
        self._parts.close()

    def _start_app(self, name: str) -> tuple[Container, int]:
        container = self._parts.enter_context(Container(self._image))
        port = free_port()
        entrypoint = compose()["services"][name]["entrypoint"]
        container.start([f"127.0.0.1:{port}" if part == "0.0.0.0:8000" else part for part in entrypoint])
        return container, port

    def mounts(self) -> dict[Path, str]:
        """Return the files and folders that the gateway gets."""
        given = {self.secrets / name: f"/run/secrets/{name}" for name in compose()["services"]["gateway"]["secrets"]}
        return {ROOT / "config/compose/gateway": "/etc/gateway", self.secrets / "users": "/run/users", **given}

    def environment(self) -> dict[str, str]:
        """Return the addresses that differ from those of compose.yaml."""
        upstreams = {f"GATEWAY_{name.upper()}": f"127.0.0.1:{port}" for name, (_, port) in self.apps.items()}
        return {
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}",
            "GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "GATEWAY_REDIS": f"127.0.0.1:{self.redis.port}",
            **upstreams,
        }

    def _make_gateway(self) -> Container:
        return self._parts.enter_context(Container(self._image, mounts=self.mounts(), env=self.environment()))

    def _start_gateway(self) -> None:
        config = image_config(self._image)
        self.gateway.start([*config["Entrypoint"], *config["Cmd"]])
        self.gateway.wait_until("listening on")
        wait_for(self.is_healthy, what="the gateway to be healthy")

    def is_healthy(self) -> bool:
        """Ask as the image's HEALTHCHECK does."""
        test = image_config(self._image)["Healthcheck"]["Test"]
        return self.gateway.run(*test[1:]).returncode == 0
