"""The YAML that operators write: reading it, checking it, saying what is wrong and where.

`load_settings` and `load_users` are the ways in; both raise ConfigError with every problem at once.
"""

from __future__ import annotations

from gateway.settings.addresses import ListenAddress, listen_address
from gateway.settings.files import check_files
from gateway.settings.load import load_settings, parse_settings
from gateway.settings.misfit import Misfit
from gateway.settings.schema import json_schema
from gateway.settings.secrets import new_key
from gateway.settings.settings import LogTargets, Settings, TlsFiles
from gateway.settings.users import load_users, parse_users

__all__ = [
    "ListenAddress",
    "LogTargets",
    "Misfit",
    "Settings",
    "TlsFiles",
    "check_files",
    "json_schema",
    "listen_address",
    "load_settings",
    "load_users",
    "new_key",
    "parse_settings",
    "parse_users",
]
