"""A real Caddy in front of something, on a free port that it inherits."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from bench.contestants.caddy import caddy_binary
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE, wait_for

_CONFIG = """{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
}}
http://:{port} {{
    bind fd/{listener}
    handle /caddy-is-here {{
        respond "yes"
    }}
    {site}
}}
"""


class Caddy:
    """Caddy with one plain site for every host; ``site`` is the inside of its block."""

    def __init__(self, directory: Path, site: str) -> None:
        self._directory = directory
        self._site = site
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Caddy:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, with the listening socket handed over."""
        config = self._directory / "Caddyfile"
        config.write_text(_CONFIG.format(port=self.port, listener=self._listener.fileno(), site=self._site))
        with (self._directory / "caddy.log").open("wb") as log:
            self._process = subprocess.Popen(
                [caddy_binary(), "run", "--config", str(config), "--adapter", "caddyfile"],
                env={"PATH": os.environ["PATH"], "HOME": str(self._directory)},
                pass_fds=(self._listener.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._listener.close()
        wait_for(self._answers, what="Caddy to answer")

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._directory / "caddy.log").read_text()
        try:
            with RawClient(self.port) as client:
                client.send("GET /caddy-is-here HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return client.answer().status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """Stop by its own pid."""
        if self._process:
            self._process.terminate()
            self._process.wait(PATIENCE)
