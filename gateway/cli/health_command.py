"""``gateway health``: one question to the running gateway, for a container's health check."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.admin_client import ask, find_listener
from gateway.cli.common import config_option, fail, tells_problems

SECONDS = 5.0


@click.command()
@config_option
@click.option("--ready", is_flag=True, help="Ask whether it takes requests: not while it stops, or its store fails.")
@tells_problems
def health(config: Path, *, ready: bool) -> None:
    """Ask the running gateway whether it is well.

    Exits with 0 or 1 and says so in a line, as container health checks want it. Asks on admin_listen.
    """
    status, body = ask(find_listener(config), "GET", "/readyz" if ready else "/healthz", SECONDS)
    line = body[:200].decode("utf-8", "replace").strip()
    if status != 200:
        fail([f"not {'ready' if ready else 'well'}: {line or status}"])
    click.echo(line)
