"""The command line. What a command needs is imported inside it, so that ``gateway --help`` starts fast.

Exit codes: 0 done, 1 the user's problem (told on stderr, never with a traceback), 2 wrong usage.
"""

# ruff: noqa: PLC0415 -- pydantic alone takes half a second to import
from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec
from urllib.parse import quote

import click

from gateway import __version__
from gateway.errors import ConfigError, GatewayError, Problem

if TYPE_CHECKING:
    from gateway.core.policy import Address
    from gateway.core.route import Route
    from gateway.core.session import Session
    from gateway.settings import Settings

DEFAULT_CONFIG = Path("config/gateway.yaml")
DEMO_LISTEN = "127.0.0.1:8080"
VERDICTS = {
    "forward": "forward",
    "login": "login: a browser is sent to the login page, a program gets 401",
    "refuse": "refuse with 403",
}
PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))

P = ParamSpec("P")


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


def config_option(command: Callable[P, None]) -> Callable[P, None]:
    """Add ``-c FILE``."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
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

    try:
        return load_settings(config, os.environ)
    except ConfigError as error:
        if config.exists():
            raise
        hint = "name another with -c FILE or $GATEWAY_CONFIG, or run `gateway demo`, which needs none"
        raise ConfigError([*error.problems, Problem(str(config), "", hint)]) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="gateway")
def main() -> None:
    """Log people in, and tell the apps behind the gateway who they are.

    Start with `gateway demo`. For apps of your own, write a configuration file, put a key from
    `gateway new-key` and users with hashes from `gateway hash-password` into it, look at it with
    `gateway check`, and `gateway run` it.
    """


@main.command()
@config_option
@tells_problems
def run(config: Path) -> None:
    """Run the gateway.

    SIGTERM lets requests in flight finish and stops; SIGHUP reads the configuration again.
    """
    from gateway.settings import check_files

    settings = load(config)
    tell_warnings(settings)
    problems = check_files(settings)
    if problems:
        raise ConfigError(problems)
    from gateway.supervisor import run as run_gateway

    sys.exit(run_gateway(settings, config))


@main.command()
@click.option("--listen", default=DEMO_LISTEN, show_default=True, metavar="HOST:PORT", help="Where to listen.")
@tells_problems
def demo(listen: str) -> None:
    """Run the gateway with two small apps to try it.

    Nothing else is needed. Prints the URL, users and passwords; everything is gone when it stops.
    """
    from gateway.settings import Misfit, listen_address

    try:
        address = listen_address(listen)
    except Misfit as error:
        raise click.BadParameter(f"{listen!r} is not {error.text}", param_hint="--listen") from None
    if address.path:
        raise click.BadParameter("browsers need a host and a port", param_hint="--listen")
    from gateway.demo import demo as run_demo

    sys.exit(run_demo(address.host, address.port))


@main.command()
@config_option
@tells_problems
def check(config: Path) -> None:
    """Check the configuration and the files it names.

    Prints every problem with its line and column, and warnings; nothing is started or changed.
    """
    from gateway.settings import check_files, load_users

    settings = load(config)
    tell_warnings(settings)
    problems = check_files(settings)
    if problems:
        raise ConfigError(problems)
    users = load_users(settings.users_file) if settings.users_file else {}
    hosts = {route.host for route in settings.routes if route.host} | {settings.public_host}
    rules = sum(len(route.rules) for route in settings.routes)
    counts = [counted(len(settings.routes), "route"), counted(rules, "rule"), counted(len(hosts), "host")]
    counts += [counted(len(users), "user"), counted(len(settings.keys), "key")]
    if settings.warnings:
        counts.append(counted(len(settings.warnings), "warning"))
    click.echo(f"OK: {config}: {', '.join(counts)}")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def tell_warnings(settings: Settings) -> None:
    """Print the warnings on stderr."""
    for problem in settings.warnings:
        click.echo(f"warning: {problem}", err=True)


@main.command()
@config_option
@click.option("--user", metavar="NAME", help="Who asks; nobody is logged in without it.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="A group of the user; may be repeated.")
@click.option("--email", metavar="ADDRESS", help="The user's address.")
@click.option("--address", metavar="IP", help="The address of the client, for rules with networks.")
@click.argument("method")
@click.argument("url")
@tells_problems
def explain(
    config: Path,
    user: str | None,
    groups: tuple[str, ...],
    email: str | None,
    address: str | None,
    method: str,
    url: str,
) -> None:
    """Tell what happens to a request, and why.

    Names the route, the verdict, the line of the configuration that decides, and the identity headers.

    URL is a whole one, or a path on the host of public_url. A user of the users file has the groups
    and the address from there, unless they are given.

    \b
    gateway explain --user alice GET /admin
    gateway explain --user carol --group staff GET https://wiki.example.com/page
    """  # noqa: D301 -- the \b keeps click from filling the lines after it
    settings = load(config)
    session = session_of(settings, user, groups, email)
    for name, value in explained(settings, session, method.upper(), url, client_of(address)):
        click.echo(f"{name + ':':<12} {value}")


def client_of(text: str | None) -> Address | None:
    """Return the address given with ``--address``."""
    from gateway.core.peer import parse_address

    address = parse_address(text) if text else None
    if text and address is None:
        raise click.BadParameter(f"{text!r} is no IP address", param_hint="--address")
    return address


def session_of(settings: Settings, user: str | None, groups: tuple[str, ...], email: str | None) -> Session | None:
    """Return the session that the user would have, None where nobody is logged in."""
    from gateway.core.identity import Identity
    from gateway.core.session import SESSION_ID_BYTES, start_session
    from gateway.settings import load_users

    if user is None:
        if groups or email:
            raise click.UsageError("--group and --email say something about a user: give --user too")
        return None
    known = load_users(settings.users_file).get(user) if settings.users_file else None
    if known and known.disabled:
        click.echo(f"note: {user} is disabled ({known.where}) and cannot log in", err=True)
    if known is None and not groups:
        click.echo(f"note: {user} is not in the users file: judged without a group", err=True)
    name, own_email, own_groups = (known.name, known.email, known.groups) if known else ("", "", ())
    identity = Identity(user, name, email.lower() if email else own_email, groups or own_groups)
    return start_session(bytes(SESSION_ID_BYTES), identity, settings.lifetimes, remember=False, now=0.0)


def explained(
    settings: Settings, session: Session | None, method: str, url: str, client: Address | None
) -> list[tuple[str, str]]:
    """Return what happens to a request, as names and values; the steps are those of a request's way."""
    from gateway.core.gate import Verdict, judge
    from gateway.wire.grammar import BadSyntax
    from gateway.wire.headers import parse_host
    from gateway.wire.target import parse_target, split_absolute
    from gateway.worker import control_route, make_router

    try:
        authority, origin = settings.public_host.encode(), quote(url, safe=PRINTABLE).encode()
        if not origin.startswith(b"/"):
            authority, origin = split_absolute(origin)
        host, target = parse_host(authority), parse_target(origin.partition(b"#")[0])
    except BadSyntax as error:
        return [("verdict", f"refused with {error.status}: {error}")]
    hosts = make_router(settings, control_route(Path("control"))).host(host)
    if hosts is None:
        return [("verdict", f"refused with 421: the host {host} is neither that of public_url nor of a route")]
    route = hosts.find(target.path)
    if route is None:
        return [("verdict", f"refused with 404: no route for {target.path} on {host}")]
    found = [("route", f"{route.name}, {route.host or 'every host'}, path {route.path}")]
    if target.encoded_slash and not route.pass_encoded_slashes:
        return [
            *found,
            ("verdict", "refused with 400: an encoded slash in the path (encoded_slashes: pass lets it through)"),
        ]
    rule = route.rule_for(target.path, method)
    if any(hosts.find(r) is not route or route.rule_for(r, method) is not rule for r in target.readings):
        return [*found, ("verdict", "refused with 400: read in another way, the path leads to another route or rule")]
    ruling = judge(route, session, target.path, method, client)
    found += [("verdict", f"{VERDICTS[ruling.verdict.value]} ({ruling.reason})"), ("decided by", ruling.where)]
    if ruling.verdict is Verdict.FORWARD and not route.control:
        found += forwarded(settings, session, route)
    return found


def forwarded(settings: Settings, session: Session | None, route: Route) -> list[tuple[str, str]]:
    """Return where a request goes and which identity headers go along."""
    from gateway.wire.identity_headers import IdentityHeaders

    found = [("upstream", ", ".join(map(str, route.upstreams)))]
    pairs = IdentityHeaders(settings.identity_headers).pairs(session.identity) if session else []
    found += [("header", f"{name}: {value}") for name, value in pairs]
    return found if pairs else [*found, ("header", "(no identity headers)")]


@main.command()
def schema() -> None:
    """Print the JSON Schema of the configuration.

    Editors complete and check YAML with it.
    """
    from gateway.settings import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@main.command("hash-password")
@tells_problems
def hash_password() -> None:
    """Make a password hash for the users file.

    Asks twice on a terminal; else reads one line from standard input.
    """
    from gateway.login.password import hash_password as make_hash

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        line = sys.stdin.buffer.readline()
        try:
            password = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            fail(["the password is not UTF-8"])
    try:
        click.echo(make_hash(password))
    except ValueError as error:
        fail([str(error)])


@main.command("new-key")
def new_key() -> None:
    """Make a session key.

    It is 32 random bytes as base64url, for session.keys.
    """
    from gateway.settings import new_key as make_key

    click.echo(make_key())


@main.command()
def version() -> None:
    """Print the version, and that of Python."""
    click.echo(f"gateway {__version__} (Python {platform.python_version()})")
