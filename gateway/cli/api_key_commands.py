"""``gateway api-key``: keys with which programs call as a local user, where the running gateway reads them."""

# ruff: noqa: PLC0415 -- imported at need, see the package
from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.common import config_option, counted, fail, load, say, table, tells_problems

if TYPE_CHECKING:
    from gateway.core.api_key import ApiKey
    from gateway.core.audit import AuditKind
    from gateway.login.programs.api_keys import ApiKeyStore
    from gateway.settings import Settings

T = TypeVar("T")
COLUMNS = ("id", "name", "user", "groups", "routes", "made", "ends", "last used")
FOREVER = "never"
MAX_NAME = 100


@click.group("api-key")
def api_key() -> None:
    """Make, list and revoke API keys of local users.

    Programs send one as `Authorization: Bearer gwk_…` to routes that name `api-key` under `programs`. Keys lie as
    hashes in Redis where sessions do, else in state_dir; a running gateway notices within a second.
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
    _with_store(settings, lambda store: store.add(key))
    _report(settings, "api_key_made", key)
    if not any("api-key" in route.programs for route in settings.routes):
        click.echo("No route accepts API keys yet: name `api-key` under `programs` of one.", err=True)
    try:
        say(text)
    except (OSError, SystemExit):
        # Nobody has seen it, so nobody would know to revoke it.
        _with_store(settings, lambda store: store.remove(key.id))
        _report(settings, "api_key_revoked", key)
        raise


@api_key.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--user", metavar="NAME", help="Only keys of this user.")
@tells_problems
def list_keys(config: Path, user: str | None, *, as_json: bool) -> None:
    """List the keys, newest first; the keys themselves are not kept and cannot be shown."""
    settings = load(config)
    keys = _with_store(settings, lambda store: store.read())
    found = [key for key in keys.values() if user in (None, key.user)]
    if as_json:
        say(json.dumps([_as_json(key) for key in found], ensure_ascii=False, indent=2))
    elif not found:
        say("There are no API keys.")
    else:
        say(table([COLUMNS, *map(_cells, found)]))
    _tell_of_file_left(settings)


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
    key, left = _with_store(settings, lambda store: store.remove(wanted)), _remove_left(settings, wanted)
    key = key or left
    if key is None:
        fail([f"there is no API key {wanted[:40]}"])
    _report(settings, "api_key_revoked", key)
    say(f'Revoked "{key.name}" of {key.user}.')


@api_key.command("import")
@config_option
@tells_problems
def import_keys(config: Path) -> None:
    """Take the keys of this host's state_dir over into Redis, once sessions are there; nobody needs a new one.

    The file is deleted when all are taken over. Run it on each host that has one.
    """
    from gateway.programs import key_file_left

    settings = load(config)
    left = key_file_left(settings)
    if left is None:
        fail(["there is nothing to take over"])
    count = _with_store(settings, lambda store: _take_over(settings, store))
    for companion in ("", "-wal", "-shm"):
        left.with_name(left.name + companion).unlink(missing_ok=True)
    say(f"Took over {counted(count, 'API key')}.")


async def _take_over(settings: Settings, store: ApiKeyStore) -> int:
    from gateway.programs import open_key_file

    file = open_key_file(settings)
    try:
        keys = [key for key in (await file.read()).values() if not key.is_over(time.time())]
        for key in keys:
            await store.add(key)
            # What was taken over is not to come back after it was revoked.
            await file.remove(key.id)
    finally:
        await file.close()
    return len(keys)


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


def _with_store(settings: Settings, work: Callable[[ApiKeyStore], Awaitable[T]]) -> T:
    """Return what is done with the keys. Raises ConfigError or StoreUnavailable where they cannot be reached."""
    from gateway.programs import open_api_keys

    return _done_with(lambda: open_api_keys(settings), work)


def _done_with(make: Callable[[], ApiKeyStore], work: Callable[[ApiKeyStore], Awaitable[T]]) -> T:
    import asyncio

    async def run() -> T:
        store = make()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _remove_left(settings: Settings, key_id: str) -> ApiKey | None:
    """Remove a key from the file that is read no more, so that it is not taken over later."""
    from gateway.programs import key_file_left, open_key_file

    if key_file_left(settings) is None:
        return None
    return _done_with(lambda: open_key_file(settings), lambda file: file.remove(key_id))


def _tell_of_file_left(settings: Settings) -> None:
    """Say on stderr that there are keys in a file that is read no more."""
    from gateway.programs import key_file_left, open_key_file

    if (left := key_file_left(settings)) is not None:
        keys = _done_with(lambda: open_key_file(settings), lambda file: file.read())
        text = f"{counted(len(keys), 'API key')} in {left} open nothing, for sessions are in Redis now"
        click.echo(f"{text}: `gateway api-key import` takes them over.", err=True)


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
