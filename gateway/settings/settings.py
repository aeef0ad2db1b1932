"""The configuration as the program uses it: values of `core`, absolute paths, seconds and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.cookie import CookiePolicy
from gateway.core.limits import Limits
from gateway.core.peer import TrustedProxies
from gateway.core.programs import Introspector, TokenIssuer
from gateway.core.provider import Provider
from gateway.core.redis_address import RedisAddress
from gateway.core.route import Route
from gateway.core.session import Lifetimes
from gateway.core.token_policy import TokenPolicy
from gateway.errors import Problem
from gateway.settings.addresses import ListenAddress


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What TLS on the public listener needs: PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class LogTargets:
    """Where the logs go: ``stdout``, ``stderr``, ``off`` or an absolute file name."""

    access: str
    audit: str
    level: str
    """``debug``, ``info``, ``warning`` or ``error``."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the configuration file says, checked."""

    path: Path
    """The file it came from."""
    listen: tuple[ListenAddress, ...]
    admin_listen: ListenAddress | None
    admin_token: str | None = field(repr=False)
    """What the admin API asks for; None lets in programs of this machine."""
    public_url: str
    """An origin, as ``https://gateway.example.com``: without a final slash, and without the scheme's own port."""
    public_scheme: str
    public_host: str
    """Lower case, without port; an IPv6 address in brackets."""
    state_dir: Path
    trusted_proxies: TrustedProxies
    tls: TlsFiles | None
    keys: tuple[bytes, ...] = field(repr=False)
    """The first seals, all open."""
    lifetimes: Lifetimes
    store: str
    """Where sessions live: ``cookie``, ``sqlite`` or ``redis``."""
    redis: RedisAddress | None
    """Where they live in Redis."""
    grace: float
    """Seconds that known sessions go on while the store does not answer."""
    session_cookie: CookiePolicy
    memory: int
    """Opened sessions kept in memory, by each worker."""
    websocket_activity: bool
    """Whether messages that come over a WebSocket count as use of its session."""
    workers: int
    """Processes that proxy."""
    users_file: Path | None
    """Relative to where the program was started, if the configuration file is; so messages stay short."""
    providers: tuple[Provider, ...]
    issuers: tuple[TokenIssuer, ...]
    """Whose signed tokens programs may send."""
    introspectors: tuple[Introspector, ...]
    """Whom to ask about opaque tokens of programs."""
    identity_headers: tuple[tuple[str, str], ...]
    """Names and templates."""
    identity_token: TokenPolicy | None
    """The signed identity, where there is one."""
    drop_response_headers: frozenset[str]
    """Lower case."""
    routes: tuple[Route, ...] = field(repr=False)
    limits: Limits
    log: LogTargets
    forward_auth: TrustedProxies = field(default_factory=TrustedProxies)
    """Which proxies may ask about the requests that they hold; empty where none may."""
    warnings: tuple[Problem, ...] = ()
    """What works, but is hardly what is meant, or less safe than it could be."""
    marks: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The place of each key of the file, as ``routes[1].upstream`` → ``gateway.yaml:12:5``."""

    def where(self, key: str) -> str:
        """Return the place of a key, or of what is around it, as ``gateway.yaml:12:5``."""
        while key and key not in self.marks:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self.marks.get(key, str(self.path))
