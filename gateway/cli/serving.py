"""Commands that run the gateway, and the one that looks whether it would run."""

# ruff: noqa: PLC0415 -- imported at need, see the package
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway import early_signals
from gateway.cli.common import config_option, counted, load, say, tell_warnings, tells_problems
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.settings import Settings

DEMO_LISTEN = "127.0.0.1:8080"


@click.command()
@config_option
@tells_problems
def run(config: Path) -> None:
    """Run the gateway.

    SIGTERM lets requests in flight finish and stops; SIGHUP reads the configuration again.
    """
    early_signals.leave_if_told()
    early_signals.forget_reload()
    settings = load(config)
    look_at_files(settings)
    from gateway.supervisor import run as run_gateway

    early_signals.leave_if_told()
    sys.exit(run_gateway(settings, config))


@click.command()
@click.option("--listen", default=DEMO_LISTEN, show_default=True, metavar="HOST:PORT", help="Where to listen.")
@tells_problems
def demo(listen: str) -> None:
    """Run the gateway with two small apps to try it.

    Nothing else is needed. Prints the URL, users and passwords; everything is gone when it stops.
    """
    from gateway.settings import Misfit, tcp_address

    try:
        address = tcp_address(listen)
    except Misfit as error:
        raise click.BadParameter(f"{listen!r} is not {error.text}", param_hint="--listen") from None
    from gateway.demo import demo as run_demo

    sys.exit(run_demo(address.host, address.port))


@click.command()
@config_option
@tells_problems
def check(config: Path) -> None:
    """Check the configuration and the files it names.

    Prints every problem with its line and column, and warnings; nothing is started or changed.
    """
    from gateway.settings import load_users

    settings = load(config)
    warned = look_at_files(settings)
    users = load_users(settings.users_file) if settings.users_file else {}
    hosts = {route.host for route in settings.routes if route.host} | {settings.public_host}
    rules = sum(len(route.rules) for route in settings.routes)
    counts = [counted(len(settings.routes), "route"), counted(rules, "rule"), counted(len(hosts), "host")]
    counts += [counted(len(users), "user"), counted(len(settings.keys), "key")]
    if warned:
        counts.append(counted(warned, "warning"))
    say(f"OK: {config}: {', '.join(counts)}")


def look_at_files(settings: Settings) -> int:
    """Check the files that the settings name. Tells all warnings, and returns their number. Raises ConfigError."""
    from gateway.settings import check_files, warn_files

    tell_warnings(settings.warnings)
    if problems := check_files(settings):
        raise ConfigError(problems)
    more = warn_files(settings)
    tell_warnings(more)
    return len(settings.warnings) + len(more)
