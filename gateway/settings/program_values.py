"""The values of the settings about programs: from what YAML says to what is used, or a Misfit."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from gateway.core.programs import API_KEY, BASIC
from gateway.core.route import LOOPBACK_NAMES
from gateway.settings.addresses import host_name
from gateway.settings.misfit import Misfit, not_a
from gateway.settings.values import NAME_PATTERN

_NAME = re.compile(NAME_PATTERN)


def endpoint(value: object) -> str:
    """Return the address of an endpoint: on https, but on this machine."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise not_a("a URL: write https://sso.example.com/path")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise not_a("a URL: write https://sso.example.com/path") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise not_a("a URL: write https://sso.example.com/path")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Misfit("a URL with a user name, a password or a fragment; leave them out")
    host = host_name(f"[{host}]" if ":" in host else host)
    if parts.scheme == "http" and host not in LOOPBACK_NAMES:
        raise not_a("a URL on https; plain http is for this machine alone")
    return value


def program_source(value: object) -> str:
    """Return what a route accepts from programs: one of two words, or an id."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise not_a(f"something that programs can send: write {BASIC}, {API_KEY}, or an id of programs")
