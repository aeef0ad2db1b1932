"""nginx that asks about each request (`auth_request`), the gateway or oauth2-proxy; else as in `contestants/nginx.py`.

The gateway is asked by the block of docs/forward-auth.md: only names and addresses are changed, and the app is reached
by kept connections, as bare nginx reaches it. Both are asked by kept connections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contestants.contestant import Contestant
from bench.contestants.nginx import nginx_command, nginx_config, proxy_settings
from bench.process import BenchError, Process

DOCS = Path(__file__).resolve().parents[2] / "docs" / "forward-auth.md"


def by_the_docs(port: int, asked: int) -> str:
    """Return the documented upstream, maps and server for nginx and gateway at these ports. Raises BenchError."""
    _, _, section = DOCS.read_text(encoding="utf-8").partition("\n## nginx\n")
    found = re.search(r"^```nginx\n(.*?)^```", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    if not found:
        raise BenchError(f"no block for nginx in {DOCS.name}")
    text = re.sub(r"^ *ssl_\w+ .*;\n", "", found[1], flags=re.MULTILINE)
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} backlog=4096;"),
        ("$server_name;", f"$server_name:{port};"),
        ("server_name wiki.example.com;", "server_name 127.0.0.1;"),
        ("127.0.0.1:8080;", f"127.0.0.1:{asked};"),
        ("http://127.0.0.1:3000;", "http://app;"),
    ):
        if old not in text:
            raise BenchError(f"the block for nginx in {DOCS.name} has no `{old}`")
        text = text.replace(old, new)
    return text


def asking_oauth2_proxy(port: int, asked: int) -> str:
    """Return upstream and server as the manual of oauth2-proxy has them, with kept connections."""
    return f"""
    upstream oauth2 {{ server 127.0.0.1:{asked}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /oauth2/ {{
            proxy_pass http://oauth2;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Auth-Request-Redirect $request_uri;
        }}
        location = /oauth2/auth {{
            internal;
            proxy_pass http://oauth2;
            proxy_pass_request_body off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-Uri $request_uri;
            proxy_set_header Content-Length "";
        }}
        location / {{
            auth_request /oauth2/auth;
            error_page 401 = /oauth2/sign_in;
            auth_request_set $user $upstream_http_x_auth_request_user;
            auth_request_set $email $upstream_http_x_auth_request_email;
            auth_request_set $auth_cookie $upstream_http_set_cookie;
            add_header Set-Cookie $auth_cookie;
            proxy_pass http://app;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-User $user;
            proxy_set_header X-Email $email;
        }}
    }}"""


@contextmanager
def running(
    directory: Path, core: int, port: int, upstream: int, servers: str, asked: Process, ready: str
) -> Iterator[Contestant]:
    """Run nginx as a contestant, together with whom it asks; ``ready`` is a path that is 200 for everybody."""
    directory.mkdir(parents=True)
    config = nginx_config(directory, proxy_settings(directory, upstream, upstream) + servers)
    (directory / "nginx.conf").write_text(config, encoding="utf-8")
    with Process("nginx", directory, nginx_command(directory), core) as process:
        process.wait_until_ready(port, ready)
        yield Contestant("nginx", port, process, asked)
