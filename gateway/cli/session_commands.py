"""``gateway sessions``: see and end sessions, by the admin API of the running gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.admin_client import NoAnswer, ask, find_listener
from gateway.cli.common import config_option, counted, fail, say, table, tells_problems

API = "/api/sessions"
COLUMNS = ("handle", "signed in", "last seen", "ends", "address", "device")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group()
def sessions() -> None:
    """See and end people's sessions.

    Asks the running gateway on its admin_listen, with the admin_token of the configuration if there is one.
    """


@sessions.command("list")
@config_option
@json_option
@click.argument("user")
@tells_problems
def list_sessions(config: Path, user: str, *, as_json: bool) -> None:
    """List the sessions of USER, newest first."""
    answer = _call(config, "GET", f"{API}?user={_quoted(user)}")
    if as_json:
        say(json.dumps(answer, ensure_ascii=False, indent=2))
    elif not answer["listable"]:
        say("Sessions in cookies are known to the browsers only. `revoke --user` ends all of a user.")
    elif not answer["sessions"]:
        say(f"{user} has no session.")
    else:
        rows = [_cells(entry) for entry in answer["sessions"]]
        say(table([COLUMNS, *rows]))


@sessions.command()
@config_option
@json_option
@click.option("--user", metavar="NAME", help="End all sessions of this user, or the one of --handle.")
@click.option("--handle", metavar="HANDLE", help="End the session of --user that `list` shows under this name.")
@click.option("--everybody", is_flag=True, help="End all sessions of all users.")
@tells_problems
def revoke(config: Path, user: str | None, handle: str | None, *, everybody: bool, as_json: bool) -> None:
    """End a session, all of a user, or everybody's.

    Whoever used them has to log in again; their WebSockets and event streams are closed.
    """
    if everybody == (user is not None):
        raise click.UsageError("say whose: --user NAME, or --everybody")
    if handle is not None and user is None:
        raise click.UsageError("--handle names one session of a user: give --user too")
    if everybody:
        target, ended = f"{API}?everybody=true", "Ended the sessions of everybody."
    else:
        target = f"{API}/{_quoted(handle)}" if handle is not None else API
        target, ended = f"{target}?user={_quoted(user or '')}", f"Ended the sessions of {user}."
    answer = _call(config, "DELETE", target)
    if as_json:
        say(json.dumps(answer))
    elif answer["ended"] is None:
        say(ended)
    else:
        say(f"Ended {counted(answer['ended'], 'session')} of {user}.")


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="")


def _call(config: Path, method: str, target: str) -> dict[str, Any]:
    """Return what the API answers. Raises NoAnswer, or ends the program with what the API has against it."""
    listener = find_listener(config)
    status, body = ask(listener, method, target)
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise NoAnswer(f"{listener.address}: what listens there does not answer as a gateway of this version does")
    if status != 200:
        fail([str(answer.get("detail") or f"refused with {status}")])
    return answer


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    names = ("handle", "created", "last_seen", "expires", "address", "device")
    return tuple(str(entry[name]) or "-" for name in names)
