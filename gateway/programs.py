"""Verifying credentials of programs, out of settings."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable

from gateway.core.audit import AuditEvent
from gateway.core.programs import API_KEY, BASIC
from gateway.errors import ConfigError, Problem, StoreUnavailable
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.password import PasswordLogin
from gateway.login.programs.api_keys import FILE_NAME, ApiKeyFile
from gateway.login.programs.introspection import IntrospectionSource
from gateway.login.programs.key_source import ApiKeySource
from gateway.login.programs.passwords import PasswordSource
from gateway.login.programs.source import Source
from gateway.login.programs.tokens import IssuerKeys, TokenSource
from gateway.login.programs.verifier import CredentialVerifier
from gateway.login.throttle import LoginThrottle
from gateway.settings.settings import Settings


def open_api_keys(settings: Settings) -> ApiKeyFile:
    """Open the file of API keys. Raises ConfigError where it cannot be used."""
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return ApiKeyFile(settings.state_dir / FILE_NAME)
    except (StoreUnavailable, OSError) as error:
        raise ConfigError([Problem(settings.where("state_dir"), "state_dir", str(error))]) from error


def make_verifier(
    settings: Settings,
    login: PasswordLogin | None,
    throttle: LoginThrottle,
    audit: Callable[[AuditEvent], None],
    changed: Callable[[], Awaitable[None]],
) -> CredentialVerifier:
    """Return what verifies the credentials that the routes accept. Raises ConfigError for unusable files.

    ``changed`` is awaited when what was verified before may be so no more.
    """
    wanted = {name for route in settings.routes for name in route.programs}
    sources: dict[str, Source] = {}
    if login is not None and BASIC in wanted:
        sources[BASIC] = PasswordSource(login, throttle, audit, time.time)
    if login is not None and API_KEY in wanted:
        sources[API_KEY] = ApiKeySource(open_api_keys(settings), login.find, changed, time.time, time.monotonic)
    try:
        sources |= _token_sources(settings, wanted)
    except (OSError, ssl.SSLError, ValueError) as error:
        text = f"a certificate or key file cannot be used: {error}"
        raise ConfigError([Problem(settings.where("programs"), "programs", text)]) from error
    return CredentialVerifier(sources, time.time)


def _token_sources(settings: Settings, wanted: set[str]) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    keys: dict[tuple[str, str, str], IssuerKeys] = {}
    for issuer in settings.issuers:
        people = issuer.people
        if people.id in wanted:
            # Sources of one issuer, for several audiences, have its keys in common.
            place = (people.issuer, issuer.jwks, people.ca)
            if place not in keys:
                keys[place] = IssuerKeys(issuer, ProviderHttp(people.ca), time.monotonic)
            sources[people.id] = TokenSource(issuer, keys[place], time.time)
    for place_to_ask in settings.introspectors:
        people = place_to_ask.people
        if people.id in wanted:
            sources[people.id] = IntrospectionSource(place_to_ask, ProviderHttp(people.ca), time.time)
    return sources
