"""Commands that print something and need no configuration."""

# ruff: noqa: PLC0415 -- imported at need, see the package
from __future__ import annotations

import json
import platform
import sys

import click

from gateway import __version__
from gateway.cli.common import fail, say, tells_problems


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration.

    Editors complete and check YAML with it.
    """
    from gateway.settings import json_schema

    say(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@click.command("hash-password")
@tells_problems
def hash_password() -> None:
    """Make a password hash for the users file.

    Asks twice on a terminal; else reads one line from standard input.
    """
    from gateway.login.password import hash_password as make_hash

    if sys.stdin is None:
        fail(["standard input is closed: the password is read from there"])
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        line = sys.stdin.buffer.readline()
        try:
            password = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            fail(["the password is not UTF-8"])
    try:
        say(make_hash(password))
    except ValueError as error:
        fail([str(error)])


@click.command("new-key")
def new_key() -> None:
    """Make a session key.

    It is 32 random bytes as base64url, for session.keys.
    """
    from gateway.settings import new_key as make_key

    say(make_key())


@click.command()
def version() -> None:
    """Print the version, and that of Python."""
    say(f"gateway {__version__} (Python {platform.python_version()})")
