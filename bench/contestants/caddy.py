"""Caddy as a bare reverse proxy: kept upstream connections, its access log on, no session check."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from bench.contestants.contestant import Contestant
from bench.process import BenchError, Process, free_port


def caddy_binary() -> str:
    """Return the program: the pinned one of the Python package, which stands beside Python. Raises BenchError."""
    found = which("caddyserver", path=str(Path(sys.executable).parent)) or which("caddy")
    if found is None:
        raise BenchError("Caddy is not installed: `make install` brings it")
    return found


def _config(directory: Path, port: int, upstream: int, sink: int) -> str:
    kept = "transport http {\n            keepalive_idle_conns_per_host 256\n        }"
    return f"""{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
}}
http://127.0.0.1:{port} {{
    bind 127.0.0.1
    log {{
        output file {directory}/access.log
        format json
    }}
    reverse_proxy /upload* 127.0.0.1:{sink} {{
        {kept}
    }}
    reverse_proxy 127.0.0.1:{upstream} {{
        {kept}
    }}
}}
"""


@contextmanager
def running(directory: Path, core: int, upstream: int, sink: int) -> Iterator[Contestant]:
    """Run Caddy as a contestant; on one core its runtime uses one thread for Go code."""
    directory.mkdir(parents=True)
    port = free_port()
    config = directory / "Caddyfile"
    config.write_text(_config(directory, port, upstream, sink), encoding="utf-8")
    command = [caddy_binary(), "run", "--config", str(config), "--adapter", "caddyfile"]
    home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    with Process("caddy", directory, command, core, home) as process:
        process.wait_until_ready(port)
        yield Contestant("caddy", port, process)
