"""The two keys that a command needs to speak to a running gateway. Nothing else of the file is judged.

Reading them costs a tenth of reading the whole configuration, for pydantic is not imported; a health check
runs every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from gateway.errors import ConfigError
from gateway.settings.addresses import ADMIN_LISTEN, ListenAddress, listen_address
from gateway.settings.document import Document, Found, read_document
from gateway.settings.interpolation import Interpolation
from gateway.settings.misfit import Misfit
from gateway.settings.reading import MAX_BYTES, read_file
from gateway.settings.secrets import admin_token
from gateway.settings.text import printable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """Where the admin listener is, and the token it asks for."""

    address: ListenAddress | None
    token: str | None = field(default=None, repr=False)


def load_admin_access(path: Path, environ: Mapping[str, str]) -> AdminAccess:
    """Read ``admin_listen`` and ``admin_token`` of the configuration file at ``path``. Raises ConfigError."""
    document = read_document(read_file(path, MAX_BYTES), str(path), Interpolation(environ, path.parent))
    keys = {("admin_listen",), ("admin_token",)}
    found = [entry for entry in document.found if entry.path in keys]
    address = _value(document, "admin_listen", ADMIN_LISTEN, listen_address, found)
    token = _value(document, "admin_token", None, admin_token, found)
    if found:
        raise ConfigError(document.problems(found))
    if address and address.path:
        address = replace(address, path=str(path.parent.absolute() / address.path))
    return AdminAccess(address, token)


def _value(
    document: Document, key: str, default: str | None, parse: Callable[[object], T], found: list[Found]
) -> T | None:
    """Return the value of a key, parsed; None for null. What is wrong goes to ``found``."""
    path = (key,)
    value = document.get(path) if path in document.keys else default
    if value is None or path in document.unknown:
        return None
    try:
        return parse(value)
    except Misfit as error:
        shown = f'"{printable(value)}"' if isinstance(value, str) and path not in document.outside else "the value"
        found.append(Found(path, f"{shown} is not {error.text}" if error.quotes else error.text))
        return None
