"""From the settings of identity providers to `Provider` values: presets filled in, names kept apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from gateway.core.policy import Allow
from gateway.core.provider import ClaimPaths, Provider, ProviderAllow, ProviderKind
from gateway.settings.provider_model import ClaimsPart, ProviderAllowPart, ProviderPart

ENTRA_ANY_TENANT = ("common", "organizations", "consumers")


@dataclass(frozen=True, slots=True)
class Preset:
    """What is the same for everybody who uses a provider."""

    title: str
    kind: ProviderKind = "oidc"
    issuer: str = ""
    """Empty where everybody has another."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    claims: ClaimPaths = field(default_factory=ClaimPaths)
    open_groups: bool = False
    """Whether anybody can make a group of any name there."""
    open_to_all: bool = False
    """Whether anybody can have an account at that issuer."""


NO_PRESET = Preset("")
PRESETS: Mapping[str, Preset] = {
    "github": Preset(
        "GitHub",
        kind="github",
        issuer="https://github.com",
        scopes=("read:user", "user:email", "read:org"),
        open_groups=True,
        open_to_all=True,
    ),
    "google": Preset("Google", issuer="https://accounts.google.com", claims=ClaimPaths(user="email"), open_to_all=True),
    "gitlab": Preset("GitLab", issuer="https://gitlab.com", open_groups=True, open_to_all=True),
    # Its addresses are whatever a tenant's administrator writes, unless this claim says otherwise.
    "entra": Preset("Microsoft", claims=ClaimPaths(email_verified="xms_edov")),
    "keycloak": Preset("Keycloak"),
}


def preset_of(part: ProviderPart) -> Preset:
    """Return the preset of a provider; an empty one where it names none."""
    return PRESETS[part.preset] if part.preset else NO_PRESET


def issuer_of(part: ProviderPart) -> str:
    """Return a provider's issuer, or nothing where neither it nor its preset has one."""
    found = part.issuer or preset_of(part).issuer
    return found.rstrip("/") if preset_of(part).kind == "github" else found


def is_any_tenant(part: ProviderPart) -> bool:
    """Tell whether Entra ID is asked for people of several tenants."""
    return part.preset == "entra" and any(f"/{word}/" in issuer_of(part) + "/" for word in ENTRA_ANY_TENANT)


def user_prefix(part: ProviderPart, *, alone: bool) -> str:
    """Return what goes in front of user names; ``alone`` tells whether there is no other source of users."""
    if part.user_prefix is not None:
        return part.user_prefix
    return "" if alone else f"{part.id}:"


def group_prefix(part: ProviderPart, *, alone: bool) -> str:
    """Return what goes in front of groups' names."""
    if part.group_prefix is not None:
        return part.group_prefix
    return f"{part.id}:" if preset_of(part).open_groups and not alone else ""


def make_provider(part: ProviderPart, file: Callable[[str], str], *, alone: bool) -> Provider:
    """Return what a checked part says; ``file`` makes an absolute name of one."""
    preset, claims = preset_of(part), part.claims
    return Provider(
        id=part.id,
        name=part.name or preset.title or part.id,
        kind=preset.kind,
        issuer=issuer_of(part),
        client_id=part.client_id,
        client_secret=part.client_secret or "",
        private_key=part.private_key or "",
        key_id=part.key_id or "",
        client_auth=part.client_auth or "",
        scopes=preset.scopes if part.scopes is None else tuple(part.scopes),
        claims=replace(preset.claims, **given_paths(claims), other=tuple(claims.other.items())),
        allow=allow_of(part.allow),
        user_prefix=user_prefix(part, alone=alone),
        group_prefix=group_prefix(part, alone=alone),
        algorithms=tuple(part.algorithms),
        acr_values=tuple(part.acr_values),
        max_age=part.max_age,
        prompt=part.prompt or "",
        parameters=tuple(part.parameters.items()),
        any_tenant_issuer=is_any_tenant(part),
        unverified_email=part.insecure_unverified_email,
        ca=file(part.ca) if part.ca else "",
        refresh=part.refresh,
        refresh_grace=part.refresh_grace,
    )


def given_paths(part: ClaimsPart) -> dict[str, str]:
    """Return the paths that are not left to a preset."""
    names = ("user", "name", "email", "email_verified", "groups")
    return {name: path for name in names if (path := getattr(part, name))}


def allow_of(part: ProviderAllowPart) -> ProviderAllow:
    """Return who is let in."""
    people = Allow(groups=frozenset(part.groups), users=frozenset(part.users), emails=tuple(part.emails))
    return ProviderAllow(people, tuple((path, frozenset(values)) for path, values in part.claims.items()))
