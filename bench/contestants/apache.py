"""Apache with mod_auth_openidc as a reverse proxy: a login at a provider; the session in its cookie, or in Redis.

One process with threads (event MPM), kept upstream connections, a buffered access log, and claims in headers.
It is optional: where it is not installed, the benchmark says so and goes on.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench.contestants.contestant import Contestant
from bench.process import BenchError, Process
from bench.provider import Client

PROGRAM = "apache2"
MODULE_FOLDER = Path("/usr/lib/apache2/modules")
OPENIDC = "auth_openidc"
MODULES = ("mpm_event", "authn_core", "authz_core", "authz_user", "proxy", "proxy_http", OPENIDC)
DEBIAN = "apache2-bin libapache2-mod-auth-openidc"
START, CALLBACK = "/", "/oidc/callback"
READY = "/ready"


def _module(name: str) -> Path:
    return MODULE_FOLDER / f"mod_{name}.so"


def missing() -> str:
    """Return what is not installed, and nothing where all is there."""
    absent = [str(file) for file in map(_module, MODULES) if not file.exists()]
    if shutil.which(PROGRAM) is None:
        absent.insert(0, PROGRAM)
    return f"{', '.join(absent)} not installed (Debian: apt-get install {DEBIAN})" if absent else ""


def versions() -> Mapping[str, str]:
    """Return the versions of Apache and the module, as far as they are there."""
    if missing():
        return {}
    said = subprocess.run([PROGRAM, "-v"], check=False, capture_output=True, text=True, timeout=30).stdout
    server = re.search(r"Apache/(\S+)", said)
    module = re.search(rb"mod_auth_openidc-(\d[\d.]*)", _module(OPENIDC).read_bytes())
    return {"Apache": server[1] if server else "?", "mod_auth_openidc": module[1].decode() if module else "?"}


def _store(redis: str) -> str:
    """Return where sessions are: in the cookie, or in the Redis of a URL."""
    if not redis:
        return "OIDCSessionType client-cookie"
    return f"OIDCSessionType server-cache\nOIDCCacheType redis\nOIDCRedisCacheServer {urlsplit(redis).netloc}"


def server_config(directory: Path, port: int) -> str:
    """Return the server's part: one process, for there is one core, and a thread for every connection."""
    modules = "\n".join(f'LoadModule {name}_module "{_module(name)}"' for name in MODULES)
    return f"""
{modules}
ServerRoot "{directory}"
DefaultRuntimeDir "{directory}"
PidFile "{directory}/pid"
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
ListenBacklog 4096
{"User www-data" if os.geteuid() == 0 else ""}
{"Group www-data" if os.geteuid() == 0 else ""}
StartServers 1
ServerLimit 1
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 64
MaxSpareThreads 64
MaxConnectionsPerChild 0
KeepAlive On
KeepAliveTimeout 300
MaxKeepAliveRequests 10000
ErrorLog "{directory}/error.log"
LogLevel warn
LogFormat "%h %l %u %t \\"%r\\" %>s %b \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
CustomLog "{directory}/access.log" combined
BufferedLogs On
"""


def proxy_config(port: int, upstream: int, client: Client, redis: str) -> str:
    """Return the proxy and the login before it. The times of sessions are those of the gateway."""
    return f"""
ProxyPreserveHost On
ProxyPass / http://127.0.0.1:{upstream}/
OIDCProviderMetadataURL {client.issuer}/.well-known/openid-configuration
OIDCSSLValidateServer Off
OIDCClientID "{client.id}"
OIDCClientSecret "{client.secret}"
OIDCScope "{" ".join(client.scopes)}"
OIDCPKCEMethod S256
OIDCRedirectURI http://127.0.0.1:{port}{CALLBACK}
OIDCCryptoPassphrase {secrets.token_hex(32)}
{_store(redis)}
OIDCSessionInactivityTimeout 1800
OIDCSessionMaxDuration 43200
OIDCRemoteUserClaim preferred_username
OIDCAuthNHeader X-Forwarded-User
OIDCPassClaimsAs headers
<Location "/">
    AuthType openid-connect
    Require valid-user
</Location>
<Location "{READY}">
    AuthType None
    Require all granted
</Location>
"""


@contextmanager
def running(
    directory: Path, core: int, upstream: int, port: int, client: Client, redis: str = ""
) -> Iterator[Contestant]:
    """Run Apache as a contestant; ``redis`` is the URL of the server that keeps the sessions. Raises BenchError."""
    if absent := missing():
        raise BenchError(absent)
    directory.mkdir(parents=True)
    config = directory / "apache.conf"
    config.write_text(server_config(directory, port) + proxy_config(port, upstream, client, redis), encoding="utf-8")
    command = [PROGRAM, "-f", str(config), "-D", "FOREGROUND"]
    with Process("apache", directory, command, core) as process:
        process.wait_until_ready(port, READY)
        yield Contestant("apache", port, process)
