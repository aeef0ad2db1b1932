"""The part of the configuration that says what programs may send to prove who they are, as pydantic models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from gateway.core.programs import API_KEY, BASIC
from gateway.settings import fields as f
from gateway.settings import program_values
from gateway.settings import provider_model as p
from gateway.settings.part import Part, default

Url = Annotated[
    str,
    PlainValidator(program_values.endpoint),
    WithJsonSchema({"type": "string", "pattern": "^https?://", "examples": ["https://sso.example.com/introspect"]}),
]
ProgramSource = Annotated[
    str,
    PlainValidator(program_values.program_source),
    WithJsonSchema({"type": "string", "pattern": f"^{f.values.NAME_PATTERN}$", "examples": [BASIC, API_KEY, "ci"]}),
]


class BearerPart(Part):
    """An issuer whose signed tokens (JWT) programs may send as ``Authorization: Bearer``."""

    id: p.ProviderId
    """Its id, for routes; and what ``{method}`` says."""
    issuer: p.Issuer
    """Its address, exactly as it writes it in tokens (``iss``)."""
    audience: Annotated[list[f.Text], f.OneOrMany()]
    """Whom its tokens must be for (``aud``): one of these."""
    jwks: Url | None = None
    """Where its keys are; null finds them by its description."""
    claims: p.ClaimsPart = Field(default_factory=p.ClaimsPart)
    allow: p.ProviderAllowPart = Field(default_factory=p.ProviderAllowPart)
    user_prefix: p.Prefix = default("auto")
    """What goes in front of user names; ``auto``: ``ID:``."""
    group_prefix: p.Prefix = default("auto")
    """The same for groups; ``auto``: nothing."""
    algorithms: list[p.Algorithm] = Field(default_factory=list)
    """Signatures that are believed; empty: all that are safe."""
    ca: f.FileName | None = None
    """PEM file of the authorities to trust in place of the system's."""
    insecure_unverified_email: f.Switch = False
    """Whether an address is believed of which the token does not say that it was verified."""


class IntrospectionPart(Part):
    """Where to ask about opaque tokens that programs send as ``Authorization: Bearer`` (RFC 7662)."""

    id: p.ProviderId
    """Its id, for routes; and what ``{method}`` says."""
    url: Url
    """The introspection endpoint."""
    client_id: p.ClientId
    """What the gateway is called there."""
    client_secret: p.ClientSecret | None = None
    """The secret that belongs to ``client_id``."""
    private_key: p.PrivateKey | None = None
    """A private key in PEM, in place of a secret (``private_key_jwt``)."""
    key_id: f.Text | None = None
    """What is the name of that key there; null for its thumbprint."""
    client_auth: p.ClientAuth | None = None
    """How the gateway proves to be ``client_id``; null picks what fits."""
    audience: list[f.Text] = Field(default_factory=list)
    """Whom tokens must be for (``aud``): one of these."""
    cache: f.Duration = default("60s")
    """How long an answer is believed."""
    claims: p.ClaimsPart = Field(default_factory=p.ClaimsPart)
    allow: p.ProviderAllowPart = Field(default_factory=p.ProviderAllowPart)
    user_prefix: p.Prefix = default("auto")
    """What goes in front of user names; ``auto``: ``ID:``."""
    group_prefix: p.Prefix = default("auto")
    """The same for groups; ``auto``: nothing."""
    ca: f.FileName | None = None
    """PEM file of the authorities to trust in place of the system's."""
    insecure_any_audience: f.Switch = False
    """Whether tokens for anybody are believed, where the endpoint does not tell whom they are for."""
    insecure_unverified_email: f.Switch = False
    """Whether an address is believed of which the answer does not say that it was verified."""


class ProgramsPart(Part):
    """What programs may send to prove who they are. A route names what it accepts; by itself nothing is."""

    bearer: list[BearerPart] = Field(default_factory=list)
    """Issuers of signed tokens."""
    introspection: list[IntrospectionPart] = Field(default_factory=list)
    """Places to ask about other tokens."""
