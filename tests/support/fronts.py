"""Other proxies that ask the gateway, each run by the block of the docs: only names and addresses are changed.

The blocks guard one app, wiki.example.com. A second host, a public one for the gateway, is made of the same block.
"""

from __future__ import annotations

import copy
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Any

import yaml

from bench.contestants.caddy import caddy_binary
from tests.support.gateway import ROOT
from tests.support.raw import RawClient
from tests.support.tools import tool
from tests.support.waiting import PATIENCE, wait_for

DOCS = ROOT / "docs/forward-auth.md"
WIKI = "wiki.example.com"
PUBLIC = "public.example.com"


def documented(heading: str, language: str) -> str:
    """Return the first block in a language under a heading of the docs."""
    _, _, section = DOCS.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    found = re.search(rf"^```{language}\n(.*?)^```", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    assert found, f"no {language} under {heading}"
    return found[1]


class Front:
    """A proxy in front of the app and the gateway."""

    name = ""

    def __init__(self, directory: Path, gateway: int, wiki: int, public: int) -> None:
        """Ports: of the gateway, and of the apps behind the two hosts."""
        self.directory = directory
        self.gateway = gateway
        self.wiki = wiki
        self.public = public
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Front:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it answers."""
        raise NotImplementedError

    def block(self, language: str) -> str:
        """Return its block with the addresses that are here."""
        text = documented(self.name, language)
        assert ":8080" in text or ":3000" in text
        return text.replace("127.0.0.1:8080", f"127.0.0.1:{self.gateway}").replace(
            "127.0.0.1:3000", f"127.0.0.1:{self.wiki}"
        )

    def for_public(self, text: str) -> str:
        """Return what is the wiki's in a configuration for the public app."""
        return replaced(replaced(text, WIKI, PUBLIC), f"127.0.0.1:{self.wiki}", f"127.0.0.1:{self.public}")

    def run(self, command: Sequence[str], listener: socket.socket | None, **environment: str) -> None:
        """Run the program, with the listening socket handed over."""
        with (self.directory / "front.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory), **environment},
                pass_fds=(listener.fileno(),) if listener else (),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if listener:
            listener.close()

    def listener(self) -> socket.socket:
        """Return a socket on a free port for it to inherit."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        return listener

    def wait(self, is_ready: Callable[[], bool]) -> None:
        """Wait for something; fails at once where the program has ended."""

        def look() -> bool:
            assert self._process
            assert self._process.poll() is None, self.log()
            return is_ready()

        wait_for(look, what=f"{self.name} to answer")

    def answers(self) -> bool:
        """Tell whether it answers a request."""
        try:
            with RawClient(self.port) as client:
                client.send(f"GET /_gateway/verify HTTP/1.1\r\nHost: {WIKI}\r\nConnection: close\r\n\r\n")
                return client.answer().status == 404
        except (OSError, AssertionError):
            return False

    def log(self) -> str:
        """Return what it wrote."""
        return (self.directory / "front.log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop by its own pid."""
        if self._process:
            self._process.kill()
            self._process.wait(PATIENCE)


def replaced(text: str, old: str, new: str) -> str:
    """Return a text with something replaced that has to be there."""
    assert old in text, old
    return text.replace(old, new)


class NginxFront(Front):
    """nginx: the socket is handed over as in its own binary upgrade."""

    name = "nginx"

    def start(self) -> None:
        listener = self.listener()
        text = replaced(self.block("nginx"), "listen 443 ssl;", f"listen 127.0.0.1:{self.port};")
        text = re.sub(r"\n *ssl_certificate(_key)? [^;]*;", "", text)
        shared, mark, server = text.partition("server {\n    listen")
        server = mark + server
        paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{name}_temp_path {self.directory}/{name};\n" for name in paths)
        (self.directory / "nginx.conf").write_text(
            # Its workers read and write where these tests may: root alone could be told to be somebody else.
            f"user root root; daemon off; worker_processes 1; error_log stderr warn; pid {self.directory}/pid;\n"
            f"events {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n{temporary}\n"
            f"{shared}\n{server}\n{self.for_public(server)}\n}}\n"
        )
        command = [tool("nginx", package="nginx-light"), "-p", str(self.directory), "-c", "nginx.conf"]
        self.run(command, listener, NGINX=f"{listener.fileno()};")
        self.wait(self.answers)


class CaddyFront(Front):
    """Caddy, with plain sites: certificates it would fetch."""

    name = "Caddy"

    def start(self) -> None:
        listener = self.listener()
        site = replaced(
            self.block("caddyfile"), f"{WIKI} {{\n", f"http://{WIKI}:{self.port} {{\nbind fd/{listener.fileno()}\n"
        )
        options = "admin off\nauto_https off\npersist_config off\nlog {\nlevel ERROR\n}"
        (self.directory / "Caddyfile").write_text(f"{{\n{options}\n}}\n{site}\n{self.for_public(site)}")
        self.run([caddy_binary(), "run", "--config", "Caddyfile", "--adapter", "caddyfile"], listener)
        self.wait(self.answers)


class EnvoyFront(Front):
    """Envoy, on a port of its own choice that its admin interface tells."""

    name = "Envoy"

    def start(self) -> None:
        config = yaml.safe_load(self.block("yaml"))
        (listener,) = config["static_resources"]["listeners"]
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
        (filters,) = listener["filter_chains"]
        routes = filters["filters"][0]["typed_config"]["route_config"]
        (wiki,) = routes["virtual_hosts"]
        public = {**copy.deepcopy(wiki), "name": "public", "domains": [PUBLIC]}
        public["routes"][-1]["route"]["cluster"] = "public"
        routes["virtual_hosts"] = [wiki, public]
        clusters = config["static_resources"]["clusters"]
        clusters.append({**copy.deepcopy(clusters[-1]), "name": "public"})
        ports = {"gateway": self.gateway, "wiki": self.wiki, "public": self.public}
        for cluster in clusters:
            (endpoint,) = cluster["load_assignment"]["endpoints"]
            (host,) = endpoint["lb_endpoints"]
            host["endpoint"]["address"]["socket_address"]["port_value"] = ports[cluster["name"]]
        config["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        (self.directory / "envoy.yaml").write_text(yaml.safe_dump(config))
        program = which("envoy", path=str(Path(sys.executable).parent)) or tool("envoy")
        told = self.directory / "admin"
        options = ["--admin-address-path", str(told), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
        self.run([program, "-c", "envoy.yaml", *options], None)
        self.wait(lambda: told.exists() and ":" in told.read_text())
        self.wait(lambda: self._find_port(int(told.read_text().rpartition(":")[2])))
        self.wait(self.answers)

    def _find_port(self, admin: int) -> bool:
        with RawClient(admin) as client:
            client.send("GET /listeners?format=json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            found: Any = json.loads(client.answer().body)
        listeners = found.get("listener_statuses", [])
        self.port = listeners[0]["local_address"]["socket_address"]["port_value"] if listeners else 0
        return bool(self.port)


class HaproxyFront(Front):
    """HAProxy with the script of the docs."""

    name = "HAProxy"

    def start(self) -> None:
        listener = self.listener()
        (self.directory / "gateway.lua").write_text(self.block("lua"))
        text = replaced(self.block("haproxy"), "/etc/haproxy/gateway.lua", str(self.directory / "gateway.lua"))
        text = replaced(text, ":443 ssl crt /etc/haproxy/wiki.pem", f"fd@{listener.fileno()}")
        lines = []
        for line in text.splitlines():
            lines.append(line)
            if WIKI in line:
                lines.append(line.replace(WIKI, PUBLIC).replace("use_backend wiki", "use_backend public"))
        lines += ["backend public", f"    server public 127.0.0.1:{self.public}"]
        (self.directory / "haproxy.cfg").write_text("\n".join(lines) + "\n")
        self.run([tool("haproxy"), "-db", "-f", "haproxy.cfg"], listener)
        self.wait(self.answers)


FRONTS: tuple[type[Front], ...] = (NginxFront, CaddyFront, EnvoyFront, HaproxyFront)
