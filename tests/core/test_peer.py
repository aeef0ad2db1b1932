"""Whose X-Forwarded-For is believed, and how far."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.peer import TrustedProxies, parse_address, parse_hop

OURS = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
PROXY = ip_address("10.0.0.1")

ADDRESSES = [
    ("192.0.2.1", "192.0.2.1"), ("::1", "::1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1"),
    ("", None), ("192.0.2.1:80", None), ("[::1]", None), ("localhost", None), ("192.0.2.256", None), ("192.0.2.01",
    None),
    ("0x7f000001", None), ("2130706433", None), (" 192.0.2.1", None), ("192.0.2.1\n", None), ("unknown", None),
    ("_hidden", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_an_address(text: str, address: str | None) -> None:
    """Only an address is an address; an IPv4 one in IPv6 clothes is IPv4, so that networks match it."""
    assert parse_address(text) == (ip_address(address) if address else None)


CHAINS = [
    ("192.0.2.1", ["192.0.2.1", "10.0.0.1"]),
    ("198.51.100.9, 192.0.2.1", ["192.0.2.1", "10.0.0.1"]),
    ("192.0.2.1, 10.0.0.2", ["192.0.2.1", "10.0.0.2", "10.0.0.1"]),
    ("192.0.2.1,fd00::2 ,\t10.0.0.2", ["192.0.2.1", "fd00::2", "10.0.0.2", "10.0.0.1"]),
    ("10.0.0.3, 10.0.0.2", ["10.0.0.3", "10.0.0.2", "10.0.0.1"]),
    ("192.0.2.1, ::ffff:10.0.0.2", ["192.0.2.1", "10.0.0.2", "10.0.0.1"]),
    ("192.0.2.1:5123", ["192.0.2.1", "10.0.0.1"]),
    ("192.0.2.1, [fd00::2]:443, 10.0.0.2:80", ["192.0.2.1", "fd00::2", "10.0.0.2", "10.0.0.1"]),
    ("192.0.2.1, unknown", ["None", "10.0.0.1"]),
    ("192.0.2.1, nonsense, 10.0.0.2", ["None", "10.0.0.2", "10.0.0.1"]),
    ("10.0.0.3, 10.0.0.2:x", ["None", "10.0.0.1"]),
    ("192.0.2.1,", ["None", "10.0.0.1"]),
    ("", ["None", "10.0.0.1"]),
]
HOPS = [
    ("192.0.2.1", "192.0.2.1"), ("192.0.2.1:5123", "192.0.2.1"), ("[2001:db8::1]:443", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"), ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
    ("[fe80::1%eth0]:1", "fe80::1"),
    ("192.0.2.1:", None), ("192.0.2.1:http", None), ("192.0.2.1:123456", None), ("192.0.2.1:-1", None),
    ("192.0.2.1:\u0661", None), ("[192.0.2.1]:80", None), ("[2001:db8::1", None), ("[2001:db8::1]443", None),
    ("[2001:db8::1]:", None), ("[]:80", None), (":80", None), ("unknown", None), ("unknown:80", None), ("", None),
    ("unix:", None), ("_hidden", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "address"), HOPS)
def test_an_entry_may_have_a_port(text: str, address: str | None) -> None:
    """Some proxies write it; what is no address with it is none without it."""
    assert parse_hop(text) == (ip_address(address) if address else None)


@pytest.mark.parametrize(("chain", "hops"), CHAINS)
def test_the_chain_is_walked_from_the_right(chain: str, hops: list[str]) -> None:
    """The first address that is not ours is the client; what is no address is a client that nobody knows."""
    assert list(map(str, OURS.hops(PROXY, chain))) == hops


@pytest.mark.parametrize("peer", ["192.0.2.9", "127.0.0.1", "11.0.0.1"])
def test_a_stranger_is_not_believed(peer: str) -> None:
    """A peer that is no proxy of ours is the client, whatever it says."""
    address = ip_address(peer)
    assert OURS.hops(address, "10.0.0.1, 192.0.2.1") == [address]
    assert not OURS.trusts(address)
    assert not TrustedProxies().trusts(PROXY)
    assert not OURS.trusts(None)


ENTRIES = st.sampled_from(
    ["192.0.2.1", "198.51.100.7", "10.0.0.2", "10.9.9.9", "fd00::1", "x", "", "10.0.0.1:80", "[::1]:1"]
)


@given(st.lists(ENTRIES, min_size=1, max_size=6))
def test_only_the_client_may_be_a_stranger(entries: list[str]) -> None:
    """All hops but the first are proxies of ours, and the list is the end of the chain as it was sent.

    A proxy of ours is the client only where the chain begins with it.
    """
    hops = OURS.hops(PROXY, ", ".join(entries))
    assert hops[-1] == PROXY
    assert all(OURS.trusts(hop) for hop in hops[1:])
    count = len(hops) - 1
    assert hops[:-1] == [parse_hop(entry) for entry in (entries[-count:] if count else [])]
    assert not OURS.trusts(hops[0]) or count == len(entries)
