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


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks whose forwarded headers are believed; empty believes nobody."""

    networks: tuple[Network, ...] = ()

    def trusts(self, peer: Address | None) -> bool:
        """Tell whether ``peer`` is one of ours."""
        return peer is not None and any(peer in network for network in self.networks)

    def client(self, peer: Address | None, forwarded_for: str) -> Address | None:
        """Walk the chain from the right past trusted hops; the first other one is the client.

        An entry that is no address ends the walk at the last good one: fail closed.
        """
        client = peer
        for entry in reversed(forwarded_for.split(",")):
            if not self.trusts(client):
                return client
            address = parse_address(entry.strip())
            if address is None:
                return client
            client = address
        return client
