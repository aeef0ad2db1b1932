"""The configuration file as pydantic models: every key, its type, its default and what it is for.

What holds between keys is in `checks`; what the program uses is made of this in `build`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model

from gateway.core.limits import Limits
from gateway.settings import fields as f
from gateway.settings.addresses import ADMIN_LISTEN
from gateway.settings.attribute_docs import attribute_docs
from gateway.settings.forward_auth_model import ForwardAuthPart
from gateway.settings.part import Part, default
from gateway.settings.program_model import ProgramSource, ProgramsPart
from gateway.settings.provider_model import AcrValue, ClaimPath, Prompt, ProviderPart
from gateway.settings.values import duration_text, size_text


class TlsPart(Part):
    """TLS on the public listener."""

    certificate: f.FileName
    """PEM file of the certificate and its chain."""
    key: f.FileName
    """PEM file of the private key, not encrypted."""


class CookiePart(Part):
    """How the session cookie is written."""

    name: f.CookieName = "gateway_session"
    """Its name, which no app may have for its own. On https without a domain ``__Host-`` is put in front, with one
    ``__Secure-``."""
    domain: f.CookieDomain | None = None
    """A domain whose hosts share one login, as ``example.com``; null keeps each host to itself."""
    path: f.UrlPath = "/"
    """The path under which browsers send it."""
    same_site: f.SameSite = "lax"
    """When browsers send it along from other sites: ``lax``, ``strict`` or ``none`` (needs https)."""
    secure: f.Secure = default("auto")
    """Whether it travels on https alone; ``auto``: if public_url is https."""
    http_only: f.Switch = True
    """Whether scripts in the page are kept from it."""
    budget: f.Size = default("8KiB")
    """Bytes of all its parts together; a login whose session is larger fails."""


class RedisTimeoutPart(Part):
    """How long is waited for a Redis."""

    connect: f.Duration = default("500ms")
    """For a connection, TLS and login included."""
    call: f.Duration = default("250ms")
    """For a reply; also for how long silence goes unnoticed, and with it that a session was ended elsewhere."""
    request: f.Duration = default("500ms")
    """For all calls of one request; beyond: 503."""


class RedisPart(Part):
    """What the URL of a Redis does not say."""

    username: f.SecretText | None = None
    """Its user (ACL); null for the default one."""
    password: f.SecretText | None = None
    """The password."""
    sentinel_username: f.SecretText | None = None
    """The user at the Sentinels."""
    sentinel_password: f.SecretText | None = None
    """The password at the Sentinels; null where they want none."""
    ca: f.FileName | None = None
    """PEM file of the authorities to trust in place of the system's (rediss)."""
    cert: f.FileName | None = None
    """PEM file of a certificate to show (rediss)."""
    key: f.FileName | None = None
    """PEM file of the key that belongs to ``cert``."""
    prefix: f.KeyPrefix = "gateway:"
    """What the names of all keys begin with."""
    timeout: RedisTimeoutPart = default({})


class SessionPart(Part):
    """Sessions: where they live, their keys and lifetimes."""

    store: f.SessionStore = "cookie"
    """Where sessions live: ``cookie`` (sealed in the browser), ``sqlite`` or the URL of a Redis."""
    redis: RedisPart = Field(default_factory=RedisPart)
    grace: f.Grace = default("60s")
    """How long known sessions go on while Redis does not answer; ``0s`` for not at all."""
    keys: Annotated[list[f.SessionKey], Field(json_schema_extra={"minItems": 1})] = Field(default_factory=list)
    """32 random bytes each, as base64url, from ``gateway new-key``. The first seals, all open."""
    idle: f.Duration = default("30m")
    """A session without a request for so long ends."""
    lifetime: f.Duration = default("12h")
    """A session ends after so long in any case."""
    remember: f.Duration | None = default("30d")
    """The same with "remember me", which has no idle limit; null turns that off."""
    memory: f.Count = 100_000
    """Opened sessions kept in memory."""
    websocket_activity: f.Switch = True
    """Whether messages from the browser over a WebSocket count as use of the session, as requests do."""
    cookie: CookiePart = Field(default_factory=CookiePart)


class LocalPart(Part):
    """Users of a file."""

    users: f.FileName
    """The users file."""


class LoginPart(Part):
    """How people log in."""

    local: LocalPart | None = None
    oidc: list[ProviderPart] = Field(default_factory=list)
    """Identity providers, in the order of their buttons."""


class TokenPart(Part):
    """The signed token that tells upstreams the user in a way they can check."""

    header: f.HeaderName = "X-Identity-Token"
    """The header it is in."""
    algorithm: f.TokenAlgorithm = "ES256"
    """How it is signed: ``ES256`` or ``EdDSA`` (Ed25519)."""
    lifetime: f.Duration = default("5m")
    """For how long it is good; it is made anew when half of that is over."""
    rotate: f.Duration = default("30d")
    """For how long a key signs; the next one is published before."""


class IdentityPart(Part):
    """What upstreams get to know about the user."""

    headers: dict[f.HeaderName, f.Template] = Field(
        default={
            "X-Forwarded-User": "{user}",
            "X-Forwarded-Email": "{email}",
            "X-Forwarded-Groups": "{groups}",
        }
    )
    """Headers by name, as templates over ``{user} {name} {email} {groups} {method} {claims.NAME}``."""
    token: TokenPart | None = None
    """A signed token for upstreams; ``{}`` for one as the defaults say, null for none."""
    drop_response_headers: list[f.AnswerHeader] = Field(default_factory=list)
    """Headers that upstreams' answers lose."""


class AllowPart(Part):
    """Conditions that must all hold; within each, one match is enough. An empty one always holds."""

    groups: list[f.GroupName] = Field(default_factory=list)
    """Groups, one of which the user must be in."""
    users: list[f.UserName] = Field(default_factory=list)
    """Users by name."""
    emails: list[f.EmailPattern] = Field(default_factory=list)
    """Addresses, or patterns as ``*@example.com``."""
    methods: list[f.Method] = Field(default_factory=list)
    """Request methods, in upper case."""
    networks: list[f.NetworkField] = Field(default_factory=list)
    """Networks the client's address must be in."""
    providers: list[f.ProviderName] = Field(default_factory=list)
    """Ways to have logged in: ``password``, ids of login.oidc; for programs ``basic``, ``api-key`` and their ids."""
    claims: dict[ClaimPath, Annotated[list[f.ClaimValue], f.OneOrMany()]] = Field(default_factory=dict)
    """The provider's claims by path, each with the values of which it must have one."""

    def is_empty(self) -> bool:
        """Tell whether anybody who is logged in is let in."""
        people = self.groups or self.users or self.emails or self.providers or self.claims
        return not (people or self.methods or self.networks)


class StepUpPart(Part):
    """A stronger or fresher login than others have: ``acr_values``, ``max_age`` or both."""

    acr_values: list[AcrValue] = Field(default_factory=list)
    """Ways to have logged in at a provider, as it names them in ``acr``, one of which is needed."""
    max_age: f.Grace | None = None
    """How long ago people may have logged in; ``0s`` for just now."""
    prompt: Prompt | None = None
    """What the provider asks whoever is sent there for it: ``login``, ``consent`` or ``select_account``."""

    def is_empty(self) -> bool:
        """Tell whether any login will do."""
        return not self.acr_values and self.max_age is None


class RulePart(Part):
    """What holds for a part of a route; the first rule that matches decides."""

    path: f.RoutePath = "/"
    """The path, and all below it, as the browser names it: the route's own path is part of it."""
    methods: list[f.Method] = Field(default_factory=list)
    """The methods it speaks of; none means all."""
    public: f.Switch = False
    """Whether everybody is let in without a login."""
    allow: AllowPart = Field(default_factory=AllowPart)
    step_up: Annotated[StepUpPart | None, f.OrFalse()] = None
    """The login that it takes here; null for what the route asks for, false for any."""


class TimeoutPart(Part):
    """How long an upstream may take."""

    connect: f.Duration = default("5s")
    """To accept a connection; beyond: 504."""
    response: f.Duration = default("60s")
    """From the request to the head of the answer; beyond: 504."""


class UpstreamPart(Part):
    """One address of an app."""

    url: f.UpstreamUrl
    """``http://host:port``, ``https://host:port`` or ``unix:/path.sock``."""
    ca: f.FileName | None = None
    """PEM file of the authorities to trust in place of the system's (https)."""
    cert: f.FileName | None = None
    """PEM file of a certificate to show the upstream (https)."""
    key: f.FileName | None = None
    """PEM file of the key that belongs to ``cert``."""
    server_name: f.ServerName | None = None
    """The name to ask for and to find in the certificate, where it is not the address's own (https)."""


class RoutePart(Part):
    """One app behind the gateway."""

    name: f.RouteName
    """Its name in logs and metrics."""
    title: f.OptionalText = ""
    """Its name on the portal; the name where there is none."""
    host: f.RouteHost | None = None
    """The host it is served on, also as ``*.example.com``; every configured host where there is none."""
    path: f.RoutePath = "/"
    """The path below which it is served; the longest one wins, at a segment boundary."""
    upstream: Annotated[list[Annotated[UpstreamPart, f.ShortForm("url")]], f.OneOrMany()]
    """Where requests go: one address or a list, each a URL or a mapping."""
    strip_prefix: f.Switch = False
    """Whether the app sees paths without the route's own."""
    preserve_host: f.Switch = True
    """Whether the app sees the browser's Host; else its own."""
    websocket: f.Switch = True
    """Whether WebSockets are let through."""
    allow: AllowPart = Field(default_factory=AllowPart)
    public: f.Switch = False
    """Whether everybody is let in without a login; identity is still told where there is a session."""
    rules: list[RulePart] = Field(default_factory=list)
    """Exceptions for paths and methods; the first that matches decides, before ``allow`` and ``public``."""
    step_up: StepUpPart | None = None
    """The login that it takes to open the app, and all its rules that do not say otherwise; null for any."""
    headers: dict[f.HeaderName, f.HeaderValue | None] = Field(default_factory=dict)
    """Headers that requests to the app gain, or with null lose."""
    token: f.RouteToken = True
    """Whether the app gets the signed token (identity.token), or the audience that is written into it."""
    pass_headers: list[f.PassedHeader] = Field(default_factory=list)
    """Headers that browsers may send to this app although they are stripped elsewhere."""
    timeout: TimeoutPart = Field(default_factory=TimeoutPart)
    encoded_slashes: f.EncodedSlashes = "reject"
    """What happens to ``%2F`` and ``%5C`` in paths: ``reject`` or ``pass``."""
    origins: list[f.OriginField] = Field(default_factory=list)
    """Further Origins that may open WebSockets here."""
    max_body: f.Size | None = None
    """The largest request body; null leaves it to ``limits.body``."""
    programs: list[ProgramSource] = Field(default_factory=list)
    """Who vouches for programs here: ``basic``, ``api-key``, and ids of programs.bearer and programs.introspection."""
    cache: f.RouteCache = "private"
    """What becomes of responses that say nothing about caches, where there is a session: ``private`` or ``as-is``."""
    store_grace: f.Grace | None = None
    """How long known sessions go on here while the store does not answer; null leaves it to ``session.grace``."""
    service_worker: f.Switch = False
    """Whether the app's service workers may take in the login page, on the host of ``public_url``."""
    transfer: f.Switch = False
    """Whether the hosts of a wildcard get sessions that began on ``public_url``; all others do."""


class LogPart(Part):
    """Where the logs go."""

    access: f.LogTarget = "stdout"
    """One line of JSON per request: ``stdout``, ``stderr``, ``off`` or a file."""
    audit: f.LogTarget = "stderr"
    """One line of JSON per login, failure and logout: the same."""
    level: f.LogLevel = "info"
    """How much the gateway says about itself on stderr: ``debug``, ``info``, ``warning``, ``error``."""


_COUNTS = frozenset(
    {"connections", "headers", "keep_alive_requests", "upstream_connections", "upstream_waiting", "answer_headers"}
)


def _limit_field(name: str, value: Any, description: str | None) -> tuple[Any, Any]:
    """Return type and default of a limit: times are durations, the rest counts or sizes."""
    if name in _COUNTS:
        return f.Count, Field(default=value, description=description)
    if name == "leave_time":
        return f.Grace, Field(default=duration_text(value), description=description)
    if name.endswith("_time"):
        return f.Duration, Field(default=duration_text(value), description=description)
    return f.Size, Field(default=size_text(value), description=description)


def _limit_fields() -> dict[str, Any]:
    docs = attribute_docs(Limits)
    return {limit.name: _limit_field(limit.name, limit.default, docs.get(limit.name)) for limit in fields(Limits)}


if TYPE_CHECKING:

    class LimitsPart(Part):
        """Every limit of the data plane; named here are those that checks compare."""

        target: int
        line: int
        cookie: int
        head: int
        body: int
else:
    LimitsPart = create_model("LimitsPart", __base__=Part, __doc__="Every limit of the data plane.", **_limit_fields())


class Config(Part):
    """The gateway's configuration."""

    listen: Annotated[list[f.Listen], f.OneOrMany()] = default("127.0.0.1:8080")
    """Where browsers connect: ``host:port`` or ``unix:/path.sock``, or a list of those."""
    admin_listen: f.Listen | None = default(ADMIN_LISTEN)
    """Where health, metrics and the admin API are, never on the public listener; null for nowhere."""
    admin_token: f.AdminToken | None = None
    """What the admin API asks for as a bearer token; null lets in this machine's own programs, and nobody else."""
    public_url: f.PublicUrl = default("http://localhost:8080")
    """How people reach the gateway; decides on redirects and cookie security."""
    workers: f.Workers = 1
    """Processes that proxy; ``auto`` for one per processor that the gateway may use."""
    state_dir: f.FileName = "./var"
    """The folder for what survives a restart, such as revoked sessions."""
    trusted_proxies: list[f.NetworkField] = Field(default_factory=list)
    """Networks whose ``X-Forwarded-*`` is believed."""
    tls: TlsPart | None = None
    session: SessionPart = Field(default_factory=SessionPart)
    login: LoginPart = Field(default_factory=LoginPart)
    programs: ProgramsPart = Field(default_factory=ProgramsPart)
    identity: IdentityPart = Field(default_factory=IdentityPart)
    limits: LimitsPart = default({})
    log: LogPart = Field(default_factory=LogPart)
    routes: list[RoutePart] = Field(default_factory=list)
    """The apps behind the gateway."""
    forward_auth: ForwardAuthPart | None = None
    """Proxies that ask about each request and carry it themselves; null for none."""
