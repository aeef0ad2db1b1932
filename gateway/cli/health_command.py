"""``gateway health``: one question to the running gateway, for a container's health check."""

# ruff: noqa: PLC0415 -- imported at need, see the package
from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.admin_client import ask, find_listener
from gateway.cli.common import config_option, fail, say, tells_problems

SECONDS = 5.0


@click.command()
@config_option
@click.option("--ready", is_flag=True, help="Ask whether it takes requests: not while it stops, or its store fails.")
@tells_problems
def health(config: Path, *, ready: bool) -> None:
    """Ask the running gateway whether it is well.

    Exits with 0 or 1 and says so in a line, as container health checks want it. Asks on admin_listen.
    """
    from gateway.settings.text import printable

    listener = find_listener(config)
    status, body = ask(listener, "GET", "/readyz" if ready else "/healthz", SECONDS)
    if status != 200:
        line = printable(body[:200].decode("utf-8", "replace").strip().partition("\n")[0])
        fail([f"not {'ready' if ready else 'well'}: {line or status}"])
    expected = "ready" if ready else "ok"
    if body.strip() != expected.encode("ascii"):
        fail([f"{listener.address}: what listens there does not answer as a gateway does"])
    say(expected)
