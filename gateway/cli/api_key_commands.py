"""``gateway api-key``: keys with which programs call as a local user, in the file that the running gateway reads."""

# ruff: noqa: PLC0415 -- imported at need, see the package
from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.common import config_option, fail, load, table, tells_problems

if TYPE_CHECKING:
    from gateway.core.audit import AuditKind
    from gateway.login.programs.api_keys import ApiKey, ApiKeyFile
    from gateway.settings import Settings

T = TypeVar("T")
COLUMNS = ("id", "name", "user", "groups", "routes", "made", "ends", "last used")
FOREVER = "never"
MAX_NAME = 100


@click.group("api-key")
def api_key() -> None:
    """Make, list and revoke API keys of local users.

    Programs send one as `Authorization: Bearer gwk_…` to routes that name `api-key` under `programs`. Keys lie in
    state_dir, as hashes; a running gateway notices within a second.
    """


@api_key.command("new")
@config_option
@click.option("--user", required=True, metavar="NAME", help="The local user who calls with it.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="Only this group of the user; may be repeated.")
@click.option("--route", "routes", multiple=True, metavar="NAME", help="Only this route; may be repeated.")
@click.option("--expires", default="90d", show_default=True, metavar="TIME", help="After how long it ends; or `never`.")
@click.argument("name")
@tells_problems
def new(config: Path, user: str, groups: tuple[str, ...], routes: tuple[str, ...], expires: str, name: str) -> None:
    """Make a key, and print it: the only time that it is shown.

    NAME says what it is for, as `backup on host7`.
    """
    from gateway.login.programs.api_keys import make_api_key

    settings = load(config)
    _check(settings, user, groups, routes, name)
    lifetime = _lifetime(expires)
    text, key = make_api_key(name, user, time.time(), groups=groups or None, routes=routes, lifetime=lifetime)
    _with_file(settings, lambda file: file.add(key))
    _report(settings, "api_key_made", key)
    if not any("api-key" in route.programs for route in settings.routes):
        click.echo("No route accepts API keys yet: name `api-key` under `programs` of one.", err=True)
    click.echo(text)


@api_key.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--user", metavar="NAME", help="Only keys of this user.")
@tells_problems
def list_keys(config: Path, user: str | None, *, as_json: bool) -> None:
    """List the keys, newest first; the keys themselves are not kept and cannot be shown."""
    keys = _with_file(load(config), lambda file: file.read())
    found = [key for key in keys.values() if user in (None, key.user)]
    if as_json:
        click.echo(json.dumps([_as_json(key) for key in found], ensure_ascii=False, indent=2))
    elif not found:
        click.echo("There are no API keys.")
    else:
        click.echo(table([COLUMNS, *map(_cells, found)]))


@api_key.command()
@config_option
@click.argument("key_id", metavar="ID")
@tells_problems
def revoke(config: Path, key_id: str) -> None:
    """Revoke the key that `list` shows under ID; the key itself is taken for its id too."""
    from gateway.login.programs.api_keys import split_key

    settings = load(config)
    parts = split_key(key_id)
    wanted = parts[0] if parts else key_id
    key = _with_file(settings, lambda file: file.remove(wanted))
    if key is None:
        fail([f"there is no API key {wanted[:40]}"])
    _report(settings, "api_key_revoked", key)
    click.echo(f'Revoked "{key.name}" of {key.user}.')


def _check(settings: Settings, user: str, groups: Sequence[str], routes: Sequence[str], name: str) -> None:
    """Refuse a key that could never work, or that means something else than was meant."""
    from gateway.settings import load_users

    problems = []
    users = load_users(settings.users_file) if settings.users_file else {}
    if user not in users:
        problems.append(f'there is no local user "{user}"')
    else:
        problems += [f'{user} is not in the group "{name}"' for name in groups if name not in users[user].groups]
        if users[user].disabled:
            problems.append(f"{user} is disabled")
    accepting = {route.name: "api-key" in route.programs for route in settings.routes}
    for route in routes:
        if route not in accepting:
            problems.append(f'there is no route "{route}"')
        elif not accepting[route]:
            problems.append(f'the route "{route}" does not accept API keys: name `api-key` under its `programs`')
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        problems.append(f"NAME should have 1 to {MAX_NAME} printable characters")
    if problems:
        fail(problems)


def _lifetime(text: str) -> float | None:
    from gateway.settings import Misfit
    from gateway.settings.values import duration

    if text == FOREVER:
        return None
    try:
        return duration(text)
    except Misfit:
        raise click.BadParameter("write 12h, 30d and so on, or never", param_hint="--expires") from None


def _with_file(settings: Settings, work: Callable[[ApiKeyFile], Awaitable[T]]) -> T:
    """Return what is done with the file. Raises ConfigError or StoreUnavailable where it cannot be used."""
    import asyncio

    from gateway.programs import open_api_keys

    file = open_api_keys(settings)

    async def run() -> T:
        return await work(file)

    try:
        return asyncio.run(run())
    finally:
        file.close()


def _report(settings: Settings, kind: AuditKind, key: ApiKey) -> None:
    """Write to the audit log; not to standard output, where the key goes."""
    from gateway.core.audit import AuditEvent
    from gateway.logs import audit_writer, open_log

    log = open_log("stderr" if settings.log.audit == "stdout" else settings.log.audit)
    reason = f"{key.id} {key.name}"
    audit_writer(log)(AuditEvent(kind, user=key.user, by="command line", reason=reason, time=time.time()))
    if log is not None:
        log.close()


def _time(value: float | None, none: str) -> str:
    return none if value is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(value))


def _cells(key: ApiKey) -> tuple[str, ...]:
    return (
        key.id,
        key.name,
        key.user,
        "all" if key.groups is None else ",".join(key.groups),
        ",".join(key.routes) or "all",
        _time(key.created, ""),
        _time(key.expires, FOREVER) + (" (over)" if key.is_over(time.time()) else ""),
        _time(key.used, FOREVER),
    )


def _as_json(key: ApiKey) -> dict[str, Any]:
    def exact(value: float | None) -> str | None:
        return None if value is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value))

    return {
        "id": key.id,
        "name": key.name,
        "user": key.user,
        "groups": None if key.groups is None else list(key.groups),
        "routes": list(key.routes),
        "created": exact(key.created),
        "expires": exact(key.expires),
        "last_used": exact(key.used),
    }
