"""What a provider says about itself (OIDC Discovery 1.0 §3, RFC 8414), checked before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.core.provider import ALGORITHMS, Provider
from gateway.errors import ProviderDown

LOOPBACK = ("localhost", "127.0.0.1", "::1")
TENANT = "{tenantid}"
"""Stands in the issuer of Entra ID where it serves several tenants."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of it that is used. Endpoints are empty where there are none."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    revocation_endpoint: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
    auth_methods: tuple[str, ...] = ("client_secret_basic",)
    names_itself: bool = False
    """Whether every answer of its authorization endpoint says ``iss`` (RFC 9207 §3)."""

    def may_be(self, issuer: str) -> bool:
        """Tell whether the provider may call itself so; which tenant's it is, the ID token says."""
        if TENANT not in self.issuer:
            return issuer == self.issuer
        before, _, after = self.issuer.partition(TENANT)
        return self.issuer_of({"tid": issuer.removeprefix(before).removesuffix(after)}) == issuer

    def issuer_of(self, claims: Mapping[str, object]) -> str:
        """Return the issuer that a token with these claims must have."""
        if TENANT not in self.issuer:
            return self.issuer
        tenant = claims.get("tid")
        # Only what is a plain word can stand in for the tenant; an issuer has no other freedom.
        plain = isinstance(tenant, str) and tenant.replace("-", "").isalnum() and tenant.isascii()
        return self.issuer.replace(TENANT, str(tenant)) if plain else ""


def metadata_url(issuer: str) -> str:
    """Return where a provider describes itself (OIDC Discovery §4)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def parse_metadata(fields: Mapping[str, object], provider: Provider) -> Metadata:
    """Return a provider's description. Raises ProviderDown where it is not the one that was asked, or not whole."""
    issuer = _text(fields, "issuer")
    if not _is_issuer(issuer, provider):
        raise ProviderDown(f"calls itself {issuer[:200]!r}, not {provider.issuer!r}", 503)
    algorithms = _texts(fields, "id_token_signing_alg_values_supported", ("RS256",))
    return Metadata(
        issuer=issuer,
        authorization_endpoint=_endpoint(fields, "authorization_endpoint", provider, needed=True),
        token_endpoint=_endpoint(fields, "token_endpoint", provider, needed=True),
        jwks_uri=_endpoint(fields, "jwks_uri", provider, needed=True),
        userinfo_endpoint=_endpoint(fields, "userinfo_endpoint", provider),
        end_session_endpoint=_endpoint(fields, "end_session_endpoint", provider),
        revocation_endpoint=_endpoint(fields, "revocation_endpoint", provider),
        algorithms=tuple(name for name in ALGORITHMS if name in (provider.algorithms or algorithms)),
        auth_methods=_texts(fields, "token_endpoint_auth_methods_supported", ("client_secret_basic",)),
        names_itself=fields.get("authorization_response_iss_parameter_supported") is True,
    )


def _is_issuer(issuer: str, provider: Provider) -> bool:
    if issuer == provider.issuer:
        return True
    if not provider.any_tenant_issuer or TENANT not in issuer:
        return False
    # Entra ID answers for "common" and the like with a place for the tenant, under the same address.
    before, _, after = issuer.partition(TENANT)
    tenant = provider.issuer.removeprefix(before).removesuffix(after)
    return provider.issuer == before + tenant + after and tenant.isalnum()


def is_safe_url(url: str, issuer: str) -> bool:
    """Tell whether an endpoint is on https; on http only if the issuer is, on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError:
        return False
    if not host or port == 0 or parts.username is not None or parts.fragment or not url.isascii():
        return False
    if any(character <= " " for character in url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and issuer.startswith("http://") and host in LOOPBACK)


def _endpoint(fields: Mapping[str, object], name: str, provider: Provider, *, needed: bool = False) -> str:
    url = _text(fields, name) if needed or name in fields else ""
    if url and not is_safe_url(url, provider.issuer):
        raise ProviderDown(f"names a {name} that is not safe to use: {url[:200]!r}", 503)
    return url


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ProviderDown(f"does not tell its {name}", 503)
    return value


def _texts(fields: Mapping[str, object], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = fields.get(name)
    if not isinstance(value, list):
        return default
    return tuple(entry for entry in value if isinstance(entry, str))
