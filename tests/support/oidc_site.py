"""A running gateway that knows identity providers, and they its callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Truncated
from tests.support.ports import free_port
from tests.support.raw import RawClient
from tests.support.upstream import RecorderUpstream
from tests.support.waiting import wait_for

Entry = Mapping[str, Any]


def start_with_providers(
    start_gateway: Callable[..., GatewayProcess],
    upstream: RecorderUpstream,
    *entries: Entry,
    port: int = 0,
    **more: Any,
) -> GatewayProcess:
    """Start a gateway with these providers; ``port`` is that of `callback_at`, where they know it already."""
    port = port or free_port()
    address = {"listen": f"127.0.0.1:{port}", "public_url": f"http://localhost:{port}"}
    config = gateway_config(route("app", "/", upstream.url), **{**address, **more})
    config["login"] = {**config["login"], "oidc": [dict(entry) for entry in entries]}
    return start_gateway(config)


def tell_providers(gateway: GatewayProcess, *entries: Entry) -> None:
    """Reload with these providers, and wait until that is in force."""
    login = {**gateway.config["login"], "oidc": [dict(entry) for entry in entries]}
    said = gateway.errors().count("configuration reloaded")
    gateway.reload({**gateway.config, "public_url": url_of(gateway), "login": login})
    wait_for(lambda: gateway.errors().count("configuration reloaded") > said, what="the reload")
    links = [f"/_gateway/oidc/{entry['id']}/start" for entry in entries]
    # The workers of before may accept a few connections more until they have closed their listeners.
    wait_for(lambda: all(_shows(gateway, links) for _ in range(16)), what="the providers' buttons")


def url_of(gateway: GatewayProcess) -> str:
    """Return the gateway's address for browsers: not the provider's site, though the same machine."""
    return f"http://localhost:{gateway.port}"


def callback_of(gateway: GatewayProcess, provider: str = "sso") -> str:
    """Return the address that a provider leads back to."""
    return callback_at(gateway.port, provider)


def callback_at(port: int, provider: str = "sso") -> str:
    """Return the same for a gateway that is yet to start."""
    return f"http://localhost:{port}/_gateway/oidc/{provider}/callback"


def _shows(gateway: GatewayProcess, links: Sequence[str]) -> bool:
    try:
        page = page_of(gateway, "/_gateway/login")
    except (Truncated, OSError):
        return False
    return all(link in page for link in links)


def page_of(gateway: GatewayProcess, path: str) -> str:
    """Return a page of the gateway as nobody sees it."""
    with RawClient(gateway.port) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: localhost:{gateway.port}\r\nConnection: close\r\n\r\n")
        return client.answer().text()


def audited(gateway: GatewayProcess, event: str) -> list[dict[str, Any]]:
    """Return the audit lines of a kind so far."""
    return [line for line in gateway.audit_log() if line["event"] == event]


def only_audited(gateway: GatewayProcess, event: str) -> dict[str, Any]:
    """Return the one audit line of a kind, waiting for it."""
    (line,) = wait_for(lambda: audited(gateway, event), what=f"an audit line {event}")
    return line
