"""What commands share: the configuration file, and telling what is wrong."""

# ruff: noqa: PLC0415 -- imported at need, see the package
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import click

from gateway.errors import ConfigError, GatewayError, Problem

if TYPE_CHECKING:
    from gateway.settings import Settings

DEFAULT_CONFIG = Path("config/gateway.yaml")

P = ParamSpec("P")
T = TypeVar("T")


def tells_problems(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors raised on purpose into lines on stderr and exit code 1."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except ConfigError as error:
            fail(map(str, error.problems))
        except GatewayError as error:
            fail([str(error)])

    return wrapper


def fail(lines: Iterable[str]) -> NoReturn:
    """Tell what is wrong and end with exit code 1."""
    for line in lines:
        click.echo(line, err=True)
    sys.exit(1)


def say(text: str) -> None:
    """Print a line that the command is for; where it cannot be written, nobody may take the command for done."""
    if sys.stdout is None:
        fail(["standard output is closed: there is nowhere to print to"])
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python writes what is left once more at its end, and would tell of it with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail([f"standard output cannot be written: {error.strerror}"])


def config_option(command: Callable[P, None]) -> Callable[P, None]:
    """Add ``-c FILE``."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path, readable=False),
        default=DEFAULT_CONFIG,
        envvar="GATEWAY_CONFIG",
        show_default=True,
        show_envvar=True,
        metavar="FILE",
        help="The configuration file.",
    )(command)


def load(config: Path) -> Settings:
    """Read the configuration; where there is none, say how to get one. Raises ConfigError."""
    from gateway.settings import load_settings

    return or_hint(config, load_settings)


def or_hint(config: Path, read: Callable[[Path, Mapping[str, str]], T]) -> T:
    """Return what ``read`` makes of a configuration; where there is none, say how to get one. Raises ConfigError."""
    try:
        return read(config, os.environ)
    except ConfigError as error:
        if os.access(config, os.F_OK):
            raise
        hint = "name another with -c FILE or $GATEWAY_CONFIG, or run `gateway demo`, which needs none"
        raise ConfigError([*error.problems, Problem(str(config), "", hint)]) from None


def counted(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows with their columns in line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def tell_warnings(warnings: Iterable[Problem]) -> None:
    """Print warnings on stderr."""
    for problem in warnings:
        click.echo(f"warning: {problem}", err=True)
