"""oauth2-proxy, as nginx asks it: people log in with a password of its own, and the session is in the cookie.

It is optional: where it is not installed, the benchmark says so and goes on.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from bench.contestants.login import cookie_pairs
from bench.contestants.ours import PASSWORD, USER
from bench.process import BenchError, Process

PROGRAM = "oauth2-proxy"
SIGN_IN, READY = "/oauth2/sign_in", "/ping"


def missing() -> str:
    """Return that it is not installed, and nothing where it is there."""
    return "" if shutil.which(PROGRAM) else f"no {PROGRAM} on the path"


def versions() -> Mapping[str, str]:
    """Return its version, if it is there."""
    if missing():
        return {}
    said = subprocess.run([PROGRAM, "--version"], check=False, capture_output=True, text=True, timeout=30).stdout
    return {PROGRAM: said.split()[1].removeprefix("v") if len(said.split()) > 1 else "?"}


def command(directory: Path, port: int) -> list[str]:
    """Return the command, and write its file of passwords. The provider is never asked."""
    users = directory / "htpasswd"
    # The hash of the file is none to keep passwords in; it is looked at once, at the login.
    hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode(), usedforsecurity=False).digest()).decode()
    users.write_text(f"{USER}:{{SHA}}{hashed}\n", encoding="utf-8")
    return [
        PROGRAM,
        f"--http-address=127.0.0.1:{port}",
        "--provider=github",
        "--client-id=none",
        "--client-secret=none",
        "--email-domain=*",
        f"--cookie-secret={secrets.token_hex(16)}",
        "--cookie-secure=false",
        f"--htpasswd-file={users}",
        "--reverse-proxy=true",
        "--trusted-proxy-ip=127.0.0.1",
        "--set-xauthrequest=true",
        "--upstream=static://202",
    ]


@contextmanager
def running(directory: Path, core: int, port: int) -> Iterator[Process]:
    """Run it on a core. Raises BenchError."""
    if absent := missing():
        raise BenchError(absent)
    directory.mkdir(parents=True)
    with Process(PROGRAM, directory, command(directory, port), core) as process:
        process.wait_until_ready(port, READY)
        yield process


def log_in(port: int) -> str:
    """Return the Cookie value of a new session, by the login form behind a port. Raises BenchError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", SIGN_IN, urlencode({"username": USER, "password": PASSWORD, "rd": "/"}), headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        cookies = cookie_pairs(response.headers.get_all("Set-Cookie") or [])
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"the login at {PROGRAM} failed: {error!r}") from error
    finally:
        connection.close()
    if response.status != 302 or not cookies:
        raise BenchError(f"the login at {PROGRAM} ended with {response.status}:\n{text[:1000]}")
    return "; ".join(f"{name}={value}" for name, value in cookies.items())
