"""Where the tokens of providers are kept, apart from the sessions they belong to: for the control plane alone.

An entry lies under a session's handle, sealed under the key ring and the session's id together: it opens
only for whoever shows the session's cookie. No data plane reads one.
"""

from __future__ import annotations

import json
import logging
from dataclasses import astuple, dataclass
from typing import Protocol

from gateway.core.identity import Identity
from gateway.core.provider import ProviderSession, ProviderTokens
from gateway.core.session import Session
from gateway.errors import BadToken
from gateway.sessions.payload import parse_login
from gateway.sessions.seal import KeyRing

VERSION = b"\x01"
_log = logging.getLogger("gateway.sessions")


@dataclass(frozen=True, slots=True)
class KeptLogin:
    """What a provider told last of a session's login, and the tokens to ask it again."""

    identity: Identity
    login: ProviderSession
    tokens: ProviderTokens


class TokenVault(Protocol):
    """Where they are kept. Each call but `close` may raise StoreUnavailable."""

    async def put(self, session: Session, kept: KeptLogin) -> None:
        """Keep what belongs to a session, until the session's absolute end, in place of what was there."""

    async def renew(self, session: Session, kept: KeptLogin) -> bool:
        """Do the same if anything is there; tell whether it was: where somebody has logged out, nothing is any more."""

    async def get(self, session: Session) -> KeptLogin | None:
        """Return what is kept for a session; None where there is nothing, or nothing that opens."""

    async def drop(self, session: Session) -> KeptLogin | None:
        """Forget what is kept for a session, and return it; nothing that is kept meanwhile is lost in between."""

    async def lease(self, handle: str, seconds: float) -> bool:
        """Tell whether nobody else is at a session's tokens; then nobody else gets them for so long."""

    async def release(self, handle: str) -> None:
        """Let others at a session's tokens, if it is we who have them still."""

    async def close(self) -> None:
        """Give back what is held open."""


def seal_kept(keys: KeyRing, session: Session, kept: KeptLogin) -> bytes:
    """Return an entry as it lies in a vault."""
    fields = [astuple(kept.identity), astuple(kept.login), astuple(kept.tokens)]
    payload = VERSION + json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii")
    return keys.seal_record(_purpose(session), session.id, payload)


def open_kept(keys: KeyRing, session: Session, record: bytes) -> KeptLogin | None:
    """Return what an entry holds; None, and a line in the log, where it is another session's, or of a newer version."""
    try:
        payload = keys.open_record(_purpose(session), session.id, record)
        if payload[:1] != VERSION:
            raise BadToken("tokens in a format this version does not know")
        identity, login, tokens = json.loads(payload[1:])
        user, name, email, groups, method, claims = identity
        return KeptLogin(
            Identity(user, name, email, tuple(groups), method, claims), parse_login(login), ProviderTokens(*tokens)
        )
    except (BadToken, ValueError, TypeError, KeyError) as error:
        _log.error("the tokens of the session %s cannot be used: %s", session.handle, error)
        return None


def _purpose(session: Session) -> str:
    return f"tokens {session.handle}"
