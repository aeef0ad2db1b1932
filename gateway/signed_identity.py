"""The signed identity out of settings: who keeps the keys, and who makes tokens with them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from gateway.sessions.seal import KeyRing
from gateway.settings.settings import Settings
from gateway.signing.keeper import KeyKeeper
from gateway.signing.keys import Keys
from gateway.signing.mint import TokenMint
from gateway.signing.redis_vault import RedisVault
from gateway.signing.vault import FileVault, Vault
from gateway.stores import redis_client


def make_keeper(settings: Settings, changed: Callable[[Keys], None]) -> KeyKeeper | None:
    """Return who keeps the signing keys, or None where there is no token. Raises ConfigError.

    They lie where sessions do: in Redis for all hosts, else in ``state_dir`` for this one.
    """
    policy = settings.identity_token
    if policy is None:
        return None
    return KeyKeeper(_vault(settings), KeyRing(settings.keys, os.urandom), policy, changed, time.time)


def make_mint(settings: Settings) -> TokenMint | None:
    """Return who makes tokens, or None."""
    policy = settings.identity_token
    return TokenMint(policy, settings.public_url, time.time, os.urandom) if policy else None


def _vault(settings: Settings) -> Vault:
    if settings.redis is None:
        return FileVault(settings.state_dir / "signing-keys")
    return RedisVault(redis_client(settings, settings.redis))
