"""The files that the configuration names: are they there, can they be used? Looked at, never changed."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gateway.core.upstream import UpstreamTls
from gateway.errors import ConfigError, Problem
from gateway.settings.addresses import ListenAddress
from gateway.settings.reading import read_file
from gateway.settings.settings import Settings
from gateway.settings.users import load_users
from gateway.tls import client_context

MAX_PEM_BYTES = 4 * 1024 * 1024
MAX_SOCKET_PATH = 107
"""Bytes of a unix socket's path on Linux (unix(7))."""
_PLACE = re.compile(r"(.*):([0-9]+):([0-9]+)")


def check_files(settings: Settings, positions: Sequence[int] = ()) -> list[Problem]:
    """Return what is wrong with the files and folders that the settings name, the users file's content included.

    ``positions`` are those of the routes in the configuration file, where the settings do not hold them all.
    """
    problems = [
        *_users(settings),
        *_tls(settings),
        *_redis(settings),
        *_providers(settings),
        *_folders(settings),
        *_sockets(settings),
    ]
    for index, route in zip(positions or range(len(settings.routes)), settings.routes, strict=True):
        for number, upstream in enumerate(route.upstreams):
            if upstream.tls:
                problems += _upstream_tls(settings, f"routes[{index}].upstream[{number}]", upstream.tls)
            problems += _socket(settings, f"routes[{index}].upstream", upstream.path)
    return in_order(problems, settings.path)


def warn_files(settings: Settings) -> list[Problem]:
    """Return what is right with the files, but hardly what is meant. Raises ConfigError if one cannot be read."""
    if settings.users_file is None or settings.providers:
        return []
    if not all(user.disabled for user in load_users(settings.users_file).values()):
        return []
    text = f"{settings.users_file} names no user who may log in, and there is no provider (login.oidc), so nobody can"
    return [_problem(settings, "login.local.users", text)]


def in_order(problems: Iterable[Problem], path: Path) -> list[Problem]:
    """Return problems by line and column, those of the configuration at ``path`` first."""

    def place(problem: Problem) -> tuple[bool, str, int, int]:
        match = _PLACE.fullmatch(problem.where)
        file, line, column = match.groups() if match else (problem.where, 0, 0)
        return file != str(path), file, int(line), int(column)

    return sorted(problems, key=place)


def _users(settings: Settings) -> list[Problem]:
    if settings.users_file is None:
        return []
    try:
        load_users(settings.users_file)
    except ConfigError as error:
        first = error.problems[0]
        if len(error.problems) == 1 and first.where == str(settings.users_file):
            return [_problem(settings, "login.local.users", str(first))]
        return error.problems
    return []


def _tls(settings: Settings) -> list[Problem]:
    if settings.tls is None:
        return []
    files = {"tls.certificate": settings.tls.certificate, "tls.key": settings.tls.key}
    problems = [problem for key, path in files.items() for problem in _readable(settings, key, path)]
    return problems or _pair(settings, "tls", settings.tls.certificate, settings.tls.key)


def _upstream_tls(settings: Settings, key: str, tls: UpstreamTls) -> list[Problem]:
    """Check the files of one upstream. ``key`` may name an entry that the file has as a single value."""
    files = {"ca": tls.ca, "cert": tls.certificate, "key": tls.key}
    key = key if key in settings.marks else key[: key.rfind("[")]
    problems = [
        problem for name, path in files.items() if path for problem in _readable(settings, f"{key}.{name}", Path(path))
    ]
    if problems:
        return problems
    if tls.ca:
        problems += _authorities(settings, f"{key}.ca", tls.ca)
    if tls.certificate and tls.key:
        problems += _pair(settings, f"{key}.cert", Path(tls.certificate), Path(tls.key))
    return problems


def _redis(settings: Settings) -> list[Problem]:
    """Check the files that Redis is reached with."""
    address = settings.redis
    if address is None:
        return []
    files = {"ca": address.ca, "cert": address.certificate, "key": address.key}
    problems = [
        problem
        for name, path in files.items()
        if path
        for problem in _readable(settings, f"session.redis.{name}", Path(path))
    ]
    if problems:
        return problems
    if address.ca:
        problems += _authorities(settings, "session.redis.ca", address.ca)
    if address.certificate and address.key:
        problems += _pair(settings, "session.redis.cert", Path(address.certificate), Path(address.key))
    return problems


def _providers(settings: Settings) -> list[Problem]:
    """Check the authorities that providers are trusted by."""
    problems: list[Problem] = []
    for index, provider in enumerate(settings.providers):
        key = f"login.oidc[{index}].ca"
        if provider.ca:
            problems += _readable(settings, key, Path(provider.ca)) or _authorities(settings, key, provider.ca)
    return problems


def _authorities(settings: Settings, key: str, file: str) -> list[Problem]:
    try:
        client_context(file)
    except (ssl.SSLError, OSError):
        return [_problem(settings, key, f"{file} holds no usable certificate (PEM)")]
    return []


def _pair(settings: Settings, key: str, certificate: Path, private: Path) -> list[Problem]:
    """Check that a certificate and its key are such, and belong together."""
    try:
        # An encrypted key gets no password, for without a terminal nobody could type one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return [_problem(settings, key, f"{private} is not the key of {certificate}")]
        text = f"{certificate} and {private} are not a certificate and its key (PEM, the key not encrypted)"
        return [_problem(settings, key, text)]
    return []


def _readable(settings: Settings, key: str, path: Path) -> list[Problem]:
    try:
        read_file(path, MAX_PEM_BYTES)
    except ConfigError as error:
        return [_problem(settings, key, f"{problem.where} {problem.text}") for problem in error.problems]
    return []


def _folders(settings: Settings) -> Iterator[Problem]:
    """Check that the state folder can be made and written, and that log files can be written."""
    folder = settings.state_dir
    existing = next(parent for parent in (folder, *folder.parents) if _exists(parent))
    if not existing.is_dir():
        yield _problem(settings, "state_dir", f"{folder} cannot be made: {existing} is not a folder")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield _problem(settings, "state_dir", f"{folder} cannot be written: no permission in {existing}")
    for key, target in (("log.access", settings.log.access), ("log.audit", settings.log.audit)):
        path = Path(target)
        if not path.is_absolute():
            continue
        if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            yield _problem(settings, key, f"{target} cannot be written")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _sockets(settings: Settings) -> Iterator[Problem]:
    """Check the paths of unix sockets to listen on; their folder must be there."""
    listeners: list[tuple[str, ListenAddress]] = [("listen", address) for address in settings.listen]
    if settings.admin_listen:
        listeners.append(("admin_listen", settings.admin_listen))
    for key, address in listeners:
        yield from _socket(settings, key, address.path)
        if 0 < len(os.fsencode(address.path)) <= MAX_SOCKET_PATH and not Path(address.path).parent.is_dir():
            yield _problem(settings, key, f"{address.path} cannot be made: its folder does not exist")


def _socket(settings: Settings, key: str, path: str) -> Iterator[Problem]:
    """Check the length of a unix socket's path, which has a limit."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        text = f"{path} is longer than the {MAX_SOCKET_PATH} bytes that a socket's path may have"
        yield _problem(settings, key, text)


def _problem(settings: Settings, key: str, text: str) -> Problem:
    return Problem(settings.where(key), key, text)
