"""Verifying credentials of programs, out of settings."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.core.audit import AuditEvent
from gateway.core.programs import API_KEY, BASIC
from gateway.errors import ConfigError, Problem, StoreUnavailable
from gateway.login.oidc.fetch import ProviderHttp
from gateway.login.password import PasswordLogin
from gateway.login.programs.api_keys import ApiKeyStore
from gateway.login.programs.introspection import IntrospectionSource
from gateway.login.programs.key_file import FILE_NAME, GRACE, ApiKeyFile
from gateway.login.programs.key_source import ApiKeySource
from gateway.login.programs.passwords import PasswordSource
from gateway.login.programs.source import Source
from gateway.login.programs.tokens import IssuerKeys, TokenSource
from gateway.login.programs.verifier import Count, CredentialVerifier
from gateway.login.throttle import LoginThrottle
from gateway.sessions.redis_api_keys import RedisApiKeys, api_keys_prefix
from gateway.sessions.seal import KeyRing
from gateway.settings.settings import Settings
from gateway.stores import redis_client

_log = logging.getLogger("gateway.login")


def open_api_keys(settings: Settings) -> ApiKeyStore:
    """Return where API keys are: in Redis where sessions are, else in a file of this host. Raises ConfigError."""
    if settings.redis is None:
        return open_key_file(settings)
    client = redis_client(settings, settings.redis, follow=api_keys_prefix(settings.redis))
    return RedisApiKeys(client, KeyRing(settings.keys, os.urandom), time.time)


def key_file_left(settings: Settings) -> Path | None:
    """Return the file whose keys open nothing, for sessions have been in Redis since; None where there is none."""
    file = settings.state_dir / FILE_NAME
    return file if settings.redis is not None and file.exists() else None


def open_key_file(settings: Settings) -> ApiKeyFile:
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
    count: Count,
) -> CredentialVerifier:
    """Return what verifies the credentials that the routes accept. Raises ConfigError for unusable files.

    ``changed`` is awaited when API keys that were verified before may be so no more; ``count`` counts verdicts.
    """
    wanted = {name for route in settings.routes for name in route.programs}
    sources: dict[str, Source] = {}
    if login is not None and BASIC in wanted:
        sources[BASIC] = PasswordSource(login, throttle, audit, time.time)
    if login is not None and API_KEY in wanted:
        sources[API_KEY] = _key_source(settings, login, changed)
    try:
        sources |= _token_sources(settings, wanted)
    except (OSError, ssl.SSLError, ValueError) as error:
        text = f"a certificate or key file cannot be used: {error}"
        raise ConfigError([Problem(settings.where("programs"), "programs", text)]) from error
    return CredentialVerifier(sources, time.time, count)


def _key_source(settings: Settings, login: PasswordLogin, changed: Callable[[], Awaitable[None]]) -> ApiKeySource:
    graces = {route.name: route.store_grace for route in settings.routes if route.store_grace is not None}

    def grace(route: str) -> float:
        """Return for how long keys are good on a route while they cannot be read, as sessions are."""
        return GRACE if settings.redis is None else min(settings.grace, graces.get(route, settings.grace))

    if (left := key_file_left(settings)) is not None:
        _log.warning("the API keys in %s open nothing: see `gateway api-key list`", left)
    return ApiKeySource(open_api_keys(settings), login.find, changed, grace, time.time, time.monotonic)


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
