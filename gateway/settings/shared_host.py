"""Apps on the host of ``public_url``: to a browser they and the login page are one site."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.route import LOOPBACK_NAMES
from gateway.settings.document import Found, KeyPath
from gateway.settings.model import Config, RoutePart
from gateway.settings.validation import Draft


def warn_shared_host(draft: Draft[Config]) -> Iterator[Found]:
    """Name routes whose scripts run where people log in; this machine's own names are for trying things out."""
    config = draft.config
    host = config.public_url.host
    if host in LOOPBACK_NAMES:
        return
    for index, route in enumerate(config.routes):
        if not _is_served_on(route, host):
            continue
        path: KeyPath = ("routes", index)
        place: KeyPath = (*path, "host") if route.host else path
        text = (
            f"is served on {host}, the host of public_url: scripts of the app run on the site on which people log in; "
            f"give public_url a host of its own, as https://login.example.com, and the route another one"
        )
        yield Found(place, text)
        if route.service_worker:
            yield Found((*path, "service_worker"), "lets workers of the app answer in place of the login page")


def is_local(host: str) -> bool:
    """Tell whether a host is this machine under one of its own names (RFC 6761 §6.3)."""
    return host in LOOPBACK_NAMES or host.endswith(".localhost")


def _is_served_on(route: RoutePart, host: str) -> bool:
    if route.host is None:
        return True
    return route.host == host or (route.host.startswith("*.") and host.endswith(route.host[1:]))
