"""From the settings about programs to values of `core`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.core.programs import Introspector, TokenIssuer
from gateway.core.provider import ClaimPaths, Provider
from gateway.settings.program_model import BearerPart, IntrospectionPart
from gateway.settings.providers import allow_of, given_paths


def make_issuer(part: BearerPart, file: Callable[[str], str]) -> TokenIssuer:
    """Return whose tokens are believed; ``file`` makes an absolute name of one."""
    people = replace(_people(part, file), issuer=part.issuer, algorithms=tuple(part.algorithms))
    return TokenIssuer(people, tuple(part.audience), part.jwks or "")


def make_introspector(part: IntrospectionPart, file: Callable[[str], str]) -> Introspector:
    """Return whom to ask about tokens."""
    people = replace(
        _people(part, file),
        client_id=part.client_id,
        client_secret=part.client_secret or "",
        private_key=part.private_key or "",
        key_id=part.key_id or "",
        client_auth=part.client_auth or "",
    )
    return Introspector(people, part.url, tuple(part.audience), part.cache)


def _people(part: BearerPart | IntrospectionPart, file: Callable[[str], str]) -> Provider:
    # The subject is the one name that every token has, and that nobody can choose (RFC 9068 §2.2).
    paths = replace(ClaimPaths(user="sub"), **given_paths(part.claims), other=tuple(part.claims.other.items()))
    return Provider(
        id=part.id,
        issuer="",
        client_id="",
        claims=paths,
        allow=allow_of(part.allow),
        user_prefix=f"{part.id}:" if part.user_prefix is None else part.user_prefix,
        group_prefix=part.group_prefix or "",
        unverified_email=part.insecure_unverified_email,
        ca=file(part.ca) if part.ca else "",
    )
