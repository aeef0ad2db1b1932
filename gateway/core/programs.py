"""How programs prove who they are: what a route accepts, a credential, and what became of it.

A program has no session: it sends its credential with every request. Verifying one is done in
`login.programs`; nothing here waits or reads a clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.core.identity import Identity
from gateway.core.provider import Provider, ProviderSession

BASIC: Final = "basic"
"""The source that is the local users' passwords (RFC 7617)."""
API_KEY: Final = "api-key"
"""The source that is `gateway api-key`."""
KEY_PREFIX: Final = "gwk_"
"""What an API key begins with; no other bearer token is taken for one, and none of these is shown to anybody else."""


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Somebody whose signed tokens (JWT) are believed."""

    people: Provider
    """Whom its tokens are about: claims, prefixes, ``allow``, algorithms; its id is that of the source."""
    audiences: tuple[str, ...]
    """Names of ours, one of which a token must be for."""
    jwks: str = ""
    """Where its keys are; empty: where its description says (OIDC Discovery §3)."""


@dataclass(frozen=True, slots=True)
class Introspector:
    """Somebody who is asked what a token is worth (RFC 7662)."""

    people: Provider
    """As for a `TokenIssuer`; its ``client_id`` and secret are what we ask with."""
    url: str
    audiences: tuple[str, ...]
    """As for a `TokenIssuer`; empty believes tokens for anybody."""
    cache: float = 60.0
    """Seconds that an answer is believed, if the token does not end before."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a program sent."""

    scheme: str
    """``bearer`` or ``basic``."""
    text: str = field(repr=False)
    """What came after the scheme: a token68 (RFC 9110 §11.2)."""
    sources: tuple[str, ...]
    """Who may vouch for it: what the route accepts."""
    route: str
    """The route that it is to open."""
    client: str = ""
    """The address it came from; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Somebody vouched for a credential."""

    identity: Identity
    source: str
    at: float
    """When that was found out, seconds since the epoch."""
    until: float
    """How long it may be remembered."""
    login: ProviderSession | None = None
    """The login that it comes from, for a token or key; None for a password, which proves anew who sends it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody vouched for a credential."""

    status: int
    """401; 403 where it is sound, but not let in; 429; 503 where nothing could be found out."""
    reason: str
    """For the log alone."""
    retry_after: int = 0
    """Seconds, with 429 and 503."""
    at: float = 0.0
    """When that was found out, seconds since the epoch; 0 where it is not to be remembered."""


Verdict = Verified | Refused
Verify = Callable[[Credential], Awaitable[Verdict]]
"""Asks whoever verifies credentials; never raises."""
