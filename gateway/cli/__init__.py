"""The command line. What a command needs is imported inside it, so that ``gateway --help`` starts fast.

Exit codes: 0 done, 1 the user's problem (told on stderr, never with a traceback), 2 wrong usage.
"""

from __future__ import annotations

import click

from gateway import __version__
from gateway.cli.api_key_commands import api_key
from gateway.cli.explaining import explain
from gateway.cli.health_command import health
from gateway.cli.making import hash_password, new_key, schema, version
from gateway.cli.serving import check, demo, run
from gateway.cli.session_commands import sessions

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="gateway")
def main() -> None:
    """Log people in, and tell the apps behind the gateway who they are.

    Start with `gateway demo`. For apps of your own, write a configuration file, put a key from
    `gateway new-key` and users with hashes from `gateway hash-password` into it, look at it with
    `gateway check`, and `gateway run` it.
    """


COMMANDS: tuple[click.Command, ...] = (
    run,
    demo,
    check,
    explain,
    schema,
    hash_password,
    new_key,
    sessions,
    api_key,
    health,
    version,
)
for _command in COMMANDS:
    main.add_command(_command)
