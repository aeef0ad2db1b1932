"""``python -m gateway.demo whoami --listen HOST:PORT``: one of the apps by itself, as in a container of its own."""

from __future__ import annotations

import click
from aiohttp import web

from gateway.demo.apps import live_app, whoami_app
from gateway.settings import Misfit, listen_address

APPS = {"whoami": whoami_app, "live": live_app}
STOP_TIME = 1.0
"""Seconds for answers under way when it is told to stop; a stream of events would not end by itself."""


@click.command()
@click.argument("name", type=click.Choice(sorted(APPS)))
@click.option("--listen", default="127.0.0.1:8000", show_default=True, metavar="HOST:PORT", help="Where to listen.")
def main(name: str, listen: str) -> None:
    """Run one of the demo's apps until SIGTERM."""
    try:
        address = listen_address(listen)
    except Misfit as error:
        raise click.BadParameter(f"{listen!r} is not {error.text}", param_hint="--listen") from None
    web.run_app(
        APPS[name](),
        host=address.host or None,
        port=address.port,
        path=address.path or None,
        access_log=None,
        shutdown_timeout=STOP_TIME,
        print=None,
    )


if __name__ == "__main__":
    main(prog_name="python -m gateway.demo")
