"""nginx as a bare reverse proxy: kept upstream connections, a buffered access log, no session check."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contestants.contestant import Contestant
from bench.process import Process, free_port

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx_config(directory: Path, http: str) -> str:
    """Return a configuration that writes below ``directory`` only; one worker."""
    temporary = "\n".join(f"    {name}_temp_path {directory}/{name};" for name in TEMPORARY)
    return f"""
daemon off;
worker_processes 1;
{"user root;" if os.geteuid() == 0 else ""}
pid {directory}/pid;
error_log {directory}/error.log warn;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
{temporary}
    server_tokens off;
    sendfile on;
    tcp_nopush on;
{http}
}}
"""


def nginx_command(directory: Path) -> list[str]:
    """Return the command for the configuration in ``directory``."""
    return ["nginx", "-e", str(directory / "error.log"), "-p", str(directory), "-c", str(directory / "nginx.conf")]


def proxy_settings(directory: Path, upstream: int, sink: int) -> str:
    """Return a proxy's settings as its manual advises; answers are not spooled to disk, uploads are streamed."""
    return f"""
    access_log {directory}/access.log combined buffer=64k flush=1s;
    keepalive_timeout 300s;
    keepalive_requests 10000;
    client_max_body_size 0;
    upstream app {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
    upstream sink {{ server 127.0.0.1:{sink}; keepalive 256; keepalive_requests 100000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_max_temp_file_size 0;
    proxy_request_buffering off;
    proxy_buffer_size 16k;
    proxy_buffers 16 64k;
    proxy_busy_buffers_size 256k;
    client_body_buffer_size 256k;
"""


def _server(port: int) -> str:
    return f"""
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://app; }}
        location /upload {{ proxy_pass http://sink; }}
    }}"""


@contextmanager
def running(directory: Path, core: int, upstream: int, sink: int) -> Iterator[Contestant]:
    """Run nginx as a contestant."""
    directory.mkdir(parents=True)
    port = free_port()
    config = nginx_config(directory, proxy_settings(directory, upstream, sink) + _server(port))
    (directory / "nginx.conf").write_text(config, encoding="utf-8")
    with Process("nginx", directory, nginx_command(directory), core) as process:
        process.wait_until_ready(port)
        yield Contestant("nginx", port, process)
