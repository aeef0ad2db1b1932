"""What is checked of the proxies that may ask by forward auth."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.policy import Network
from gateway.settings.document import Found
from gateway.settings.model import Config
from gateway.settings.validation import Draft


def check_forward_auth(draft: Draft[Config]) -> Iterator[Found]:
    """Refuse a list of everybody."""
    part = draft.config.forward_auth
    if part is None or not draft.sound("forward_auth"):
        return
    for index, network in enumerate(part.networks):
        if network.prefixlen == 0:
            text = "would let everybody ask who somebody is: name the proxies that ask, as 10.0.0.2 or 172.18.0.0/16"
            yield Found(("forward_auth", "from", index), text)


def warn_forward_auth(draft: Draft[Config]) -> Iterator[Found]:
    """Name a proxy that is believed when it asks, but not when it passes on the login page."""
    part = draft.config.forward_auth
    for index, network in enumerate(part.networks if part else ()):
        if not any(_is_within(network, trusted) for trusted in draft.config.trusted_proxies):
            text = (
                "is not in trusted_proxies: the login pages that this proxy passes on seem to be asked for by itself, "
                "over http"
            )
            yield Found(("forward_auth", "from", index), text)


def _is_within(network: Network, other: Network) -> bool:
    return (
        network.version == other.version and network.network_address in other and (network.prefixlen >= other.prefixlen)
    )
