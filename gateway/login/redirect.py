"""What a way to log in is that sends people elsewhere and gets them back with a code (RFC 6749 §4.1).

Knows nothing of pages and cookies: it makes the address to go to, and judges what comes back.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from gateway.core.identity import Identity
from gateway.core.provider import Provider, ProviderSession, ProviderTokens

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """What one login asks for beyond what the provider is always asked, as for a route that needs a stronger one."""

    acr_values: tuple[str, ...] = ()
    max_age: float | None = None
    prompt: str = ""
    step_up: str = ""
    """For what, as `StepUp.name` has it."""


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A login in progress: known to the browser that began it, and to nobody else."""

    provider: str
    secret: bytes = field(repr=False)
    """`SECRET_BYTES` at random; everything that must be unguessable follows from it."""
    next_url: str
    begun: float
    """Seconds since the epoch."""
    asked: Asked = field(default_factory=Asked)
    remember: bool = False
    """Whether it was chosen that whoever comes back is remembered."""
    remembered: str = ""
    """Who was remembered before, where nothing was chosen; nobody else is by that."""

    def remembers(self, user: str) -> bool:
        """Tell whether the session of who came back is to be remembered."""
        return self.remember or self.remembered == user

    @property
    def state(self) -> str:
        """What the provider sends back, so that the answer is known to belong here (RFC 6749 §10.12)."""
        return self._derived("state")[:32]

    @property
    def nonce(self) -> str:
        """What the ID token must repeat (OIDC Core §15.5.2)."""
        return self._derived("nonce")[:32]

    @property
    def verifier(self) -> str:
        """What proves to the token endpoint that we began this (RFC 7636 §4.1)."""
        return self._derived("verifier")

    def challenge(self) -> str:
        """Return what the provider is told of the verifier beforehand: its S256 (RFC 7636 §4.2)."""
        return encoded(sha256(self.verifier.encode("ascii")).digest())

    def _derived(self, use: str) -> str:
        return encoded(hmac.digest(self.secret, f"gateway login {use} v1".encode("ascii"), "sha256"))


@dataclass(frozen=True, slots=True)
class Proof:
    """Who logged in, and what remains of the login at the provider."""

    identity: Identity
    session: ProviderSession
    tokens: ProviderTokens = field(default_factory=ProviderTokens)


Keep = Callable[[ProviderTokens], Awaitable[None]]
"""Takes new tokens into safety: the ones before may be good no more."""


async def keep_nothing(_: ProviderTokens) -> None:
    """Keep nothing."""


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """What is over: everything of a subject, or the one session ``sid``; one of both may be empty."""

    issuer: str
    subject: str
    sid: str
    id: str
    """Its ``jti``: whoever acts on it remembers that until `until`, and acts once."""
    until: float
    """Seconds since the epoch after which it is refused by its age."""


class RedirectLogin(Protocol):
    """One identity provider."""

    @property
    def provider(self) -> Provider:
        """Return its settings."""

    def is_up(self) -> bool:
        """Tell whether a login could begin now, as far as is known."""

    async def start(self) -> None:
        """Begin to look for it, without waiting for an answer."""

    async def close(self) -> None:
        """Stop, and close every connection."""

    async def begin(self, pending: PendingLogin, redirect_uri: str) -> str:
        """Return where to send the browser. Raises ProviderDown."""

    async def finish(self, pending: PendingLogin, answer: Mapping[str, str], redirect_uri: str) -> Proof:
        """Return who came back with ``answer``, the parameters of the callback, whose state was checked.

        Raises LoginDenied where that is nobody, or nobody we let in; LoginRefused where the answer is not to be
        believed; ProviderDown where the provider does not do its part within `FINISH_SECONDS`.
        """

    async def refresh(
        self, session: ProviderSession, tokens: ProviderTokens, identity: Identity, keep: Keep = keep_nothing
    ) -> Proof:
        """Return who somebody is now, out of what their login left behind (RFC 6749 §6, OIDC Core §12).

        ``keep`` is awaited as soon as there are new tokens, whatever becomes of the rest. Raises GrantOver where the
        provider refreshes the login no more; LoginDenied where that is nobody we let in any more, or somebody else;
        LoginRefused and ProviderDown as `finish` does, and then nothing is known.
        """

    def end_session_url(
        self, session: ProviderSession, tokens: ProviderTokens, return_to: str, state: str = ""
    ) -> str | None:
        """Return where a browser ends its session at the provider too, or None where there is no such place.

        From there it comes to ``return_to``, with the ``state`` if there is one.
        """

    async def logout_token(self, text: str) -> LogoutToken:
        """Return what a logout token ends (OIDC Back-Channel Logout §2.6).

        Raises LoginRefused where it is not to be believed, ProviderDown where that cannot be found out.
        """

    async def revoke(self, tokens: ProviderTokens) -> None:
        """Give back the tokens of a login (RFC 7009), where the provider takes them. Raises ProviderDown."""


FINISH_SECONDS = 4.5
"""For all that has to be asked of a provider while somebody waits."""


def encoded(value: bytes) -> str:
    """Return bytes as base64url without padding."""
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
