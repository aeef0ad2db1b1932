"""Identity providers as values: who they are, what they are asked, and whom of theirs we let in.

What is done with them is in `login.oidc`; nothing here waits or reads a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from gateway.core.claims import as_texts, claim_at
from gateway.core.identity import Identity
from gateway.core.policy import Allow

ProviderKind = Literal["oidc", "github"]

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Signatures that are believed at all: asymmetric ones. Never ``none``, never ``HS…`` (RFC 8725 §3.1, §3.2)."""
CLIENT_AUTH: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
"""Ways in which we prove to a provider who we are (OIDC Core §9)."""


@dataclass(frozen=True, slots=True)
class ClaimPaths:
    """Where in a provider's claims things are. A path is a name, or names with dots, as ``realm_access.roles``."""

    user: str = "preferred_username"
    name: str = "name"
    email: str = "email"
    email_verified: str = "email_verified"
    groups: str = "groups"
    other: tuple[tuple[str, str], ...] = ()
    """Our names of further claims, and their paths."""

    def paths(self) -> tuple[str, ...]:
        """Return every path without which an identity is not whole."""
        return (self.user, self.name, self.email, self.groups, *(path for _, path in self.other))


@dataclass(frozen=True, slots=True)
class ProviderAllow:
    """Which of a provider's people may log in, in the provider's own names; empty conditions always hold."""

    people: Allow = field(default_factory=Allow)
    """Its groups, users and emails; methods and networks are not asked."""
    claims: tuple[tuple[str, frozenset[str]], ...] = ()
    """Paths of claims, each with its accepted values."""

    def missing(self, identity: Identity, claims: Mapping[str, object]) -> str | None:
        """Return the name of the first condition that does not hold, or None."""
        for path, accepted in self.claims:
            if accepted.isdisjoint(as_texts(claim_at(claims, path))):
                return f"claims.{path}"
        return self.people.missing(identity, "GET", None)


@dataclass(frozen=True, slots=True)
class Provider:
    """One identity provider. Times are seconds."""

    id: str
    """Ours; part of the callback's address, and the `Identity.method` of its people."""
    issuer: str
    """As the provider writes it in its tokens; for GitHub its address."""
    client_id: str
    name: str = ""
    """For the button."""
    kind: ProviderKind = "oidc"
    client_secret: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    """A PEM, for ``private_key_jwt``."""
    key_id: str = ""
    """What the provider calls that key; its thumbprint (RFC 7638) where empty."""
    client_auth: str = ""
    """One of `CLIENT_AUTH`; empty: what fits and the provider offers."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    claims: ClaimPaths = field(default_factory=ClaimPaths)
    allow: ProviderAllow = field(default_factory=ProviderAllow)
    user_prefix: str = ""
    """Put in front of its users' names, so that they are nobody else's."""
    group_prefix: str = ""
    algorithms: tuple[str, ...] = ()
    """Of `ALGORITHMS`; empty: those of them that the provider says it uses."""
    acr_values: tuple[str, ...] = ()
    """How people must have logged in there, one of these; empty: in any way."""
    max_age: float | None = None
    """How long ago that may have been."""
    prompt: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    """Further ones of the authorization request."""
    any_tenant_issuer: bool = False
    """Whether the issuer has a place for the tenant, as Entra ID's of several tenants does."""
    unverified_email: bool = False
    ca: str = ""
    """PEM file of the authorities to trust in place of the system's."""
    refresh: bool = True
    """Whether a refresh token is kept and used, where one is given."""
    refresh_grace: float = 3600.0
    """How long after its access token's end a session goes on while the provider does not answer."""


@dataclass(frozen=True, slots=True)
class ProviderSession:
    """What remains of a login at a provider: for logging out there, for being logged out from there.

    Times are seconds since the epoch. Nothing here is secret: the tokens are kept apart, as `ProviderTokens`.
    """

    provider: str
    """Its id."""
    issuer: str
    """From the ID token."""
    subject: str
    sid: str = ""
    """The provider's own session (OIDC Back-Channel Logout §2.1)."""
    acr: str = ""
    auth_time: float | None = None
    """When they logged in there, where it said so."""
    access_expires: float | None = None
    """When what the provider told is no longer to be relied on; None where it cannot be refreshed."""
    refresh_at: float | None = None
    """From when on the provider is to be asked again; None with `access_expires`."""

    def marks(self) -> tuple[str, str]:
        """Return by what it is found when it ends there: a mark of the login, and one of the person."""
        login = "sid" if self.sid else NO_SID
        return (
            login_mark(self.provider, self.issuer, login, self.sid or self.subject),
            login_mark(self.provider, self.issuer, "sub", self.subject),
        )


@dataclass(frozen=True, slots=True)
class ProviderTokens:
    """What the token endpoint gave. All but the time is secret, and never part of a session."""

    id_token: str = field(default="", repr=False)
    """For ``id_token_hint``."""
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    access_expires: float | None = None
    """When the access token ends, seconds since the epoch, where the provider said so."""

    def worth_keeping(self, *, refresh: bool) -> ProviderTokens:
        """Return what is of use later; ``refresh`` tells whether a refresh token is.

        The access token only serves to end the login there, and that the refresh token does as well (RFC 7009 §2.1).
        """
        refresh_token = self.refresh_token if refresh else ""
        return replace(self, access_token="" if refresh_token else self.access_token, refresh_token=refresh_token)

    def is_empty(self) -> bool:
        """Tell whether there is nothing to keep."""
        return not (self.id_token or self.access_token or self.refresh_token)


NO_SID: Final = "sub without sid"


def ended_marks(provider: str, issuer: str, subject: str, sid: str) -> list[str]:
    """Return the marks of what is over when a provider says so of a session there, a person, or both.

    With both it is that session; one of the person's that began without a name may be the very one.
    """
    if not sid:
        return [login_mark(provider, issuer, "sub", subject)]
    marks = [login_mark(provider, issuer, "sid", sid)]
    return [*marks, login_mark(provider, issuer, NO_SID, subject)] if subject else marks


def login_mark(provider: str, issuer: str, kind: str, value: str) -> str:
    """Return the mark of a login: a hash, 32 hexadecimal digits, for such names may be anything.

    ``kind`` is ``sid`` for a session there, ``sub`` for everything of a person, and `NO_SID` for that of it
    which came without a session's name.
    """
    text = f"gateway login mark v1\0{provider}\0{issuer}\0{kind}\0{value}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
