"""The YAML that operators write: reading it, checking it, saying what is wrong and where.

`load_settings` and `load_users` are the ways in; both raise ConfigError with every problem at once. Modules
are imported when a name of theirs is first used: pydantic costs more time than what some commands do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.settings.addresses import ListenAddress, listen_address, tcp_address
    from gateway.settings.admin import AdminAccess, load_admin_access
    from gateway.settings.files import check_files, warn_files
    from gateway.settings.load import load_settings, parse_settings
    from gateway.settings.misfit import Misfit
    from gateway.settings.schema import json_schema
    from gateway.settings.secrets import new_key
    from gateway.settings.settings import LogTargets, Settings, TlsFiles
    from gateway.settings.users import load_users, parse_users

_MODULES = {
    "AdminAccess": "admin",
    "ListenAddress": "addresses",
    "LogTargets": "settings",
    "Misfit": "misfit",
    "Settings": "settings",
    "TlsFiles": "settings",
    "check_files": "files",
    "json_schema": "schema",
    "listen_address": "addresses",
    "load_admin_access": "admin",
    "load_settings": "load",
    "load_users": "users",
    "new_key": "secrets",
    "parse_settings": "load",
    "parse_users": "users",
    "tcp_address": "addresses",
    "warn_files": "files",
}
"""Where each public name is."""

__all__ = [
    "AdminAccess",
    "ListenAddress",
    "LogTargets",
    "Misfit",
    "Settings",
    "TlsFiles",
    "check_files",
    "json_schema",
    "listen_address",
    "load_admin_access",
    "load_settings",
    "load_users",
    "new_key",
    "parse_settings",
    "parse_users",
    "tcp_address",
    "warn_files",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
