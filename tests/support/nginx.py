"""A real nginx with TLS in front of something, on a free port that it inherits."""

from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import subprocess
from pathlib import Path
from types import TracebackType

from tests.support.certificates import make_certificate
from tests.support.tools import tool
from tests.support.waiting import PATIENCE, wait_for

_CONFIG = """
daemon off;
worker_processes 1;
error_log stderr warn;
pid {directory}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {http}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name localhost;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        {server}
    }}
}}
"""


class Nginx:
    """nginx with one TLS server; ``server`` is the inside of its server block, ``http`` what stands before it."""

    def __init__(self, directory: Path, server: str, http: str = "") -> None:
        self._directory = directory
        self._server = server
        self._http = http
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        self.certificate, self._key = make_certificate(directory, "localhost", start=now - day, end=now + day)

    def __enter__(self) -> Nginx:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def client_tls(self) -> ssl.SSLContext:
        """Return a context that trusts exactly this server."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def start(self) -> None:
        """Start, with the listening socket handed over as in nginx's own binary upgrade."""
        config = self._directory / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                directory=self._directory, port=self.port, certificate=self.certificate, key=self._key,
                server=self._server, http=self._http,
            )
        )  # fmt: skip
        log = (self._directory / "nginx.log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [tool("nginx", package="nginx-light"), "-p", str(self._directory), "-c", str(config)],
                env={"PATH": os.environ["PATH"], "NGINX": f"{self._listener.fileno()};"},
                pass_fds=(self._listener.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._listener.close()
        wait_for(self._answers, what="nginx to answer")

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._directory / "nginx.log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as raw:
                self.client_tls().wrap_socket(raw, server_hostname="localhost").close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Stop by its own pid."""
        if self._process:
            self._process.terminate()
            self._process.wait(PATIENCE)
