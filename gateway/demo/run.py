"""Starts the demo: writes a configuration and users into a folder that goes away, and runs the gateway on it."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import sys
import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path

import uvloop
import yaml
from aiohttp import web

from gateway.demo.apps import live_app, whoami_app
from gateway.errors import ConfigError, Problem
from gateway.login.password import hash_password
from gateway.logs import set_up_logging
from gateway.settings import ListenAddress, load_settings
from gateway.settings.addresses import MAX_PORT
from gateway.supervisor import Supervisor, announce_on_stderr

PEOPLE = {
    "alice": ("Alice Liddell", ["staff"], "opens both apps"),
    "bob": ("Bob Roberts", [], "is refused by the app for staff"),
    "admin": ("Ada Admin", ["staff", "admins"], "may see /admin too"),
}
WORDS = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron",
    "ivory", "juniper", "kelp", "lotus", "maple", "north", "opal", "pine",
)  # fmt: skip


def demo(host: str, port: int) -> int:
    """Run until stopped; return the exit code: 0, or 1 with the reason on stderr."""
    set_up_logging("warning")
    passwords = {
        user: f"{secrets.choice(WORDS)}-{secrets.choice(WORDS)}-{secrets.randbelow(90) + 10}" for user in PEOPLE
    }
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
        try:
            uvloop.run(_serve(Path(folder), host, port, passwords))
        except ConfigError as error:
            for problem in error.problems:
                announce_on_stderr(_without_file(problem, error, host, port))
            return 1
    return 0


def _without_file(problem: Problem, error: ConfigError, host: str, port: int) -> str:
    """Return what is wrong, without the demo's own configuration file: nobody knows it, and it is gone already."""
    cause = error.__cause__
    if not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
        return problem.text
    other = ListenAddress(host, port + 1 if port < MAX_PORT else port - 1)
    return f"{ListenAddress(host, port)} is in use: gateway demo --listen {other}"


async def _serve(folder: Path, host: str, port: int, passwords: dict[str, str]) -> None:
    runners = []
    for name, app in (("whoami", whoami_app()), ("live", live_app())):
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.UnixSite(runner, str(folder / f"{name}.sock")).start()
        runners.append(runner)
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump(_configuration(folder, host, port), sort_keys=False), encoding="utf-8")
    users = {
        user: {
            "password": hash_password(passwords[user]),
            "name": name,
            "email": f"{user}@example.com",
            "groups": groups,
        }
        for user, (name, groups, _) in PEOPLE.items()
    }
    (folder / "users.yaml").write_text(yaml.safe_dump({"users": users}), encoding="utf-8")
    settings = load_settings(config, dict(os.environ))
    try:
        await Supervisor(settings, config, lambda text: _announce(text, passwords), one_process=True).run()
    finally:
        await asyncio.gather(*(runner.cleanup() for runner in runners))


def _configuration(folder: Path, host: str, port: int) -> dict[str, object]:
    name = f"[{host}]" if ":" in host else host
    return {
        "listen": f"{name}:{port}",
        "admin_listen": "127.0.0.1:0",
        "public_url": f"http://localhost:{port or 8080}",
        "state_dir": str(folder / "state"),
        "session": {"keys": [urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode("ascii")]},
        "login": {"local": {"users": "users.yaml"}},
        "log": {"access": "off", "audit": "stderr", "level": "warning"},
        "routes": [
            {
                "name": "whoami",
                "title": "Who am I?",
                "upstream": f"unix:{folder / 'whoami.sock'}",
                "rules": [
                    {"path": "/about", "public": True},
                    {"path": "/admin", "allow": {"groups": ["admins"]}},
                ],
            },
            {
                "name": "live",
                "title": "Live (for staff)",
                "path": "/live",
                "strip_prefix": True,
                "upstream": f"unix:{folder / 'live.sock'}",
                "allow": {"groups": ["staff"]},
            },
        ],
    }


def _announce(text: str, passwords: dict[str, str]) -> None:
    """Pass on what the gateway says, and after its address how to try it."""
    announce_on_stderr(text)
    if not text.startswith("listening on "):
        return
    url = text.removeprefix("listening on ").replace("127.0.0.1", "localhost")
    lines = [f"\n  Open {url}/ and log in as one of these:\n"]
    lines += [f"    {user:<6}  {passwords[user]:<20} {what}" for user, (_, _, what) in PEOPLE.items()]
    lines += [f"\n  {url}/_gateway/ lists the apps, {url}/about is open to all. Ctrl-C stops.\n"]
    print("\n".join(lines), file=sys.stderr, flush=True)
