"""What stands behind every contestant: nginx with a small answer and files, and a sink for uploads.

Both run on the load generator's core, so that the contestant has the other one for itself.
"""

from __future__ import annotations

import http.client
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contestants.nginx import nginx_command, nginx_config
from bench.process import BenchError, Process, free_port

FILES = {"100k": 100 * 1024, "1m": 1024 * 1024, "100m": 100 * 1024 * 1024}
SMALL = "x" * 200


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the contestants forward to."""

    port: int
    sink_port: int
    files: Path = Path()
    """What is in this folder is served under ``/files/``."""

    def requests(self) -> int:
        """Return how many requests have arrived at the small answer and the files."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/status")
        found = re.search(r"^ \d+ \d+ (\d+)", connection.getresponse().read().decode(), re.MULTILINE)
        connection.close()
        if not found:
            raise BenchError("the upstream does not tell its count of requests")
        return int(found[1])


def _config(directory: Path, port: int) -> str:
    return nginx_config(
        directory,
        f"""
    access_log off;
    keepalive_requests 100000000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type text/plain; return 200 "{SMALL}"; }}
        location /files/ {{ root {directory}; types {{ application/json json; }} }}
        location = /status {{ stub_status; }}
    }}""",
    )


@contextmanager
def running(directory: Path, core: int) -> Iterator[Upstream]:
    """Run the upstream and the sink on a core."""
    files, sink = directory / "files", directory / "sink"
    files.mkdir(parents=True)
    sink.mkdir()
    for name, size in FILES.items():
        with (files / name).open("wb") as file:
            file.truncate(size)
    upstream = Upstream(free_port(), free_port(), files)
    (directory / "nginx.conf").write_text(_config(directory, upstream.port), encoding="utf-8")
    sink_command = [sys.executable, "-m", "bench.sink", str(upstream.sink_port)]
    with (
        Process("upstream", directory, nginx_command(directory), core) as nginx,
        Process("sink", sink, sink_command, core) as uploads,
    ):
        nginx.wait_until_ready(upstream.port)
        uploads.wait_until_ready(upstream.sink_port)
        yield upstream
