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

    def hops(self, peer: Address, forwarded_for: str) -> list[Address]:
        """Return the believed addresses, from the client to the peer.

        The chain is walked from the right past trusted hops; the first other address is the client.
        What it claims of those before it is dropped, and an entry that is no address ends the walk.
        """
        found = [peer]
        for entry in reversed(forwarded_for.split(",")):
            if not self.trusts(found[0]):
                break
            address = parse_address(entry.strip())
            if address is None:
                break
            found.insert(0, address)
        return found
