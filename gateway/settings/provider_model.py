"""The part of the configuration that describes identity providers, as pydantic models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from gateway.core.provider import ALGORITHMS, CLIENT_AUTH
from gateway.settings import fields as f
from gateway.settings import provider_values as p
from gateway.settings.part import Part, default

JsonSchema = dict[str, object]


def _text(pattern: str = "", *examples: str) -> JsonSchema:
    schema: JsonSchema = {"type": "string"}
    return (
        schema | ({"pattern": f"^{pattern}$"} if pattern else {}) | ({"examples": list(examples)} if examples else {})
    )


ProviderId = Annotated[str, PlainValidator(p.provider_id), WithJsonSchema(_text(f.values.NAME_PATTERN, "keycloak"))]
Issuer = Annotated[
    str, PlainValidator(p.issuer), WithJsonSchema(_text(p.ISSUER_PATTERN, "https://sso.example.com/realms/main"))
]
ClientId = Annotated[str, PlainValidator(p.client_text), WithJsonSchema(_text())]
ClientSecret = Annotated[str, PlainValidator(p.client_secret), WithJsonSchema(_text())]
PrivateKey = Annotated[str, PlainValidator(p.private_key), WithJsonSchema(_text())]
Preset = Annotated[str, PlainValidator(f.word(*p.PRESET_NAMES)), WithJsonSchema({"enum": list(p.PRESET_NAMES)})]
ClientAuth = Annotated[str, PlainValidator(f.word(*CLIENT_AUTH)), WithJsonSchema({"enum": list(CLIENT_AUTH)})]
Prompt = Annotated[str, PlainValidator(f.word(*p.PROMPTS)), WithJsonSchema({"enum": list(p.PROMPTS)})]
Algorithm = Annotated[str, PlainValidator(p.algorithm), WithJsonSchema({"enum": list(ALGORITHMS)})]
AcrValue = Annotated[str, PlainValidator(p.acr_value), WithJsonSchema(_text(p.SCOPE_PATTERN, "urn:example:mfa"))]
Scope = Annotated[str, PlainValidator(p.scope), WithJsonSchema(_text(p.SCOPE_PATTERN, "openid"))]
ClaimPath = Annotated[str, PlainValidator(p.claim_path), WithJsonSchema(_text("", "groups", "realm_access.roles"))]
ClaimName = Annotated[str, PlainValidator(p.claim_name), WithJsonSchema(_text(p.CLAIM_NAME_PATTERN))]
Prefix = Annotated[str | None, PlainValidator(p.prefix), WithJsonSchema(_text("", "auto", "sso:", ""))]
ParameterName = Annotated[str, PlainValidator(p.parameter_name), WithJsonSchema(_text(p.SCOPE_PATTERN))]


class ClaimsPart(Part):
    """Where things are in a provider's claims; null leaves it to the preset."""

    user: ClaimPath | None = None
    """The name of the user; must be one that nobody can choose who is not the same person."""
    name: ClaimPath | None = None
    """The name that people know."""
    email: ClaimPath | None = None
    """The address."""
    email_verified: ClaimPath | None = None
    """What says that the address is the user's."""
    groups: ClaimPath | None = None
    """The groups: a list, or one."""
    other: dict[ClaimName, ClaimPath] = Field(default_factory=dict)
    """Further claims for ``{claims.NAME}``, by the name they are to have."""


class ProviderAllowPart(Part):
    """Who of a provider's people may log in, in the provider's own names. As for a route."""

    groups: list[f.GroupName] = Field(default_factory=list)
    """Groups, one of which they must be in."""
    users: list[f.UserName] = Field(default_factory=list)
    """Users by name."""
    emails: list[f.EmailPattern] = Field(default_factory=list)
    """Verified addresses, or patterns as ``*@example.com``."""
    claims: dict[ClaimPath, Annotated[list[f.Text], f.OneOrMany()]] = Field(default_factory=dict)
    """Claims by path, each with the values of which it must have one."""

    def is_empty(self) -> bool:
        """Tell whether everybody there is let in."""
        return not (self.groups or self.users or self.emails or self.claims)


class ProviderPart(Part):
    """An identity provider: OpenID Connect, or GitHub."""

    id: ProviderId
    """Its id: part of the callback's address, and what ``{method}`` says."""
    name: f.OptionalText = ""
    """What its button says; the preset's name, or the id."""
    preset: Preset | None = None
    """Fills in what is the same for everybody: ``github``, ``google``, ``gitlab``, ``entra`` or ``keycloak``."""
    issuer: Issuer | None = None
    """Its address as it writes it in tokens; may be left out where the preset has one."""
    client_id: ClientId
    """What it calls this gateway."""
    client_secret: ClientSecret | None = None
    """The secret that belongs to ``client_id``."""
    private_key: PrivateKey | None = None
    """A private key in PEM, in place of a secret (``private_key_jwt``)."""
    key_id: f.Text | None = None
    """What the provider calls that key; null for its thumbprint."""
    client_auth: ClientAuth | None = None
    """How the gateway proves to be ``client_id``; null picks what fits."""
    scopes: list[Scope] | None = None
    """What is asked for; null for ``openid``, ``profile`` and ``email``, or the preset's."""
    claims: ClaimsPart = Field(default_factory=ClaimsPart)
    allow: ProviderAllowPart = Field(default_factory=ProviderAllowPart)
    user_prefix: Prefix = default("auto")
    """What goes in front of its users' names; ``auto``: nothing if it is the only source of users, else ``ID:``."""
    group_prefix: Prefix = default("auto")
    """The same for groups; ``auto``: nothing, but at GitHub and GitLab as for users."""
    algorithms: list[Algorithm] = Field(default_factory=list)
    """Signatures that are believed; empty: all that are safe and that the provider says it uses."""
    acr_values: list[f.Text] = Field(default_factory=list)
    """Ways to log in there, one of which is demanded."""
    max_age: f.Duration | None = None
    """How long ago they may have logged in there."""
    prompt: Prompt | None = None
    """What the provider asks people each time: ``login``, ``consent`` or ``select_account``."""
    parameters: dict[ParameterName, f.Text] = Field(default_factory=dict)
    """Further parameters of the request, as the provider documents them."""
    refresh: f.Switch = True
    """Whether what the provider tells of people is refreshed while their sessions are in use, if it lets us."""
    refresh_grace: f.Grace = default("1h")
    """How long sessions go on without that while the provider does not answer."""
    ca: f.FileName | None = None
    """PEM file of the authorities to trust in place of the system's."""
    insecure_unverified_email: f.Switch = False
    """Whether an address is believed of which the provider does not say that it is the user's."""
