"""A running gateway with three hosts under two domains, which share no cookie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.ports import free_port
from tests.support.upstream import RecorderUpstream
from tests.support.waiting import wait_for

PUBLIC = "apps.example.com"
WIKI = "wiki.example.org"
TENANT = "acme.tenants.example.org"
HOSTS = (PUBLIC, WIKI, TENANT)


def start_hosts(
    start_gateway: Callable[..., GatewayProcess], upstream: RecorderUpstream, scheme: str = "http", **more: Any
) -> GatewayProcess:
    """Start it with its own address in its configuration."""
    port = free_port()
    return start_gateway(
        gateway_config(
            *routes_of(upstream),
            **{"listen": f"127.0.0.1:{port}", "public_url": f"{scheme}://{PUBLIC}:{port}", **more},
        )
    )


def routes_of(upstream: RecorderUpstream) -> list[dict[str, object]]:
    return [
        route("apps", "/", upstream.url, host=PUBLIC),
        route("wiki", "/", upstream.url, host=WIKI),
        route("tenants", "/", upstream.url, host="*.tenants.example.org", transfer=True),
    ]


def reload(gateway: GatewayProcess, **more: Any) -> None:
    """Change keys of the configuration, and wait until that is in force."""
    said = gateway.errors().count("configuration reloaded")
    gateway.reload({**gateway.config, **more})
    wait_for(lambda: gateway.errors().count("configuration reloaded") > said, what="the reload")
