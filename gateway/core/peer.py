"""Whose X-Forwarded-* is believed, and which address the client has then."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from gateway.core.policy import Address, Network


def parse_address(text: str) -> Address | None:
    """Return the address in ``text``, an IPv4-mapped one as IPv4, or None. Zones are dropped."""
    try:
        address = ip_address(text.split("%", 1)[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def parse_hop(entry: str) -> Address | None:
    """Return the address in one entry of X-Forwarded-For, or None.

    Some proxies add the port, as Azure's do: ``192.0.2.1:5123``, ``[2001:db8::1]:443``.
    """
    if entry.startswith("["):
        text, bracket, port = entry[1:].partition("]")
        if not bracket or ":" not in text or (port and not _is_port(port)):
            return None
        return parse_address(text)
    text, colon, port = entry.partition(":")
    if not colon or ":" in port:
        return parse_address(entry)
    return parse_address(text) if _is_port(colon + port) else None


def _is_port(text: str) -> bool:
    """Tell whether a text is a colon and a port."""
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks whose forwarded headers are believed; empty believes nobody."""

    networks: tuple[Network, ...] = ()

    def trusts(self, peer: Address | None) -> bool:
        """Tell whether ``peer`` is one of ours."""
        return peer is not None and any(peer in network for network in self.networks)

    def hops(self, peer: Address, forwarded_for: str) -> list[Address | None]:
        """Return the believed addresses, from the client to the peer; None in place of a client that is not known.

        The chain is walked from the right past trusted hops; the first other address is the client.
        What it claims of those before it is dropped. An entry that is no address, as ``unknown`` or none at
        all, is a client whom a proxy of ours does not name: that proxy is not taken for it, for its address
        may be in a network that is let in (authentik CVE-2024-47070).
        """
        found: list[Address | None] = [peer]
        for entry in reversed(forwarded_for.split(",")):
            if not self.trusts(found[0]):
                break
            found.insert(0, parse_hop(entry.strip()))
        return found
