"""From a checked configuration to `Settings`: values of `core`, absolute paths, a line for every rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

from gateway.core.claims import claim_condition
from gateway.core.cookie import CookiePolicy
from gateway.core.limits import Limits
from gateway.core.peer import TrustedProxies
from gateway.core.policy import Allow, Rule
from gateway.core.programs import Introspector, TokenIssuer
from gateway.core.provider import Provider
from gateway.core.redis_address import RedisAddress, RedisTimes
from gateway.core.route import Route
from gateway.core.session import Lifetimes
from gateway.core.token_policy import TokenPolicy
from gateway.core.upstream import UpstreamAddress, UpstreamTls
from gateway.errors import Problem
from gateway.settings.addresses import ListenAddress
from gateway.settings.allow_checks import asked_claims, with_claims
from gateway.settings.checks import is_secure
from gateway.settings.cores import usable_cores
from gateway.settings.document import Document, KeyPath, key_text
from gateway.settings.model import AllowPart, Config, RoutePart, UpstreamPart
from gateway.settings.program_build import make_introspector, make_issuer
from gateway.settings.provider_checks import is_alone
from gateway.settings.providers import make_provider
from gateway.settings.settings import LogTargets, Settings, TlsFiles
from gateway.settings.step_up import make_step_up
from gateway.settings.validation import Draft


class Builder:
    """Makes settings of one file's configuration; relative paths start from the file's folder."""

    def __init__(self, draft: Draft[Config], path: Path) -> None:
        self._draft = draft
        self._config = draft.config
        self._document: Document = draft.document
        self._path = path
        self._folder = path.parent.absolute()

    def settings(self, warnings: Iterable[Problem]) -> Settings:
        """Return the settings."""
        config = self._config
        local, admin = config.login.local, config.admin_listen
        return Settings(
            path=self._path,
            listen=tuple(self._listen(address) for address in config.listen),
            admin_listen=self._listen(admin) if admin else None,
            admin_token=config.admin_token,
            public_url=str(config.public_url),
            public_scheme=config.public_url.scheme,
            public_host=config.public_url.host,
            state_dir=self._file(config.state_dir),
            trusted_proxies=TrustedProxies(tuple(config.trusted_proxies)),
            tls=TlsFiles(self._file(config.tls.certificate), self._file(config.tls.key)) if config.tls else None,
            keys=tuple(config.session.keys),
            lifetimes=Lifetimes(config.session.idle, config.session.lifetime, config.session.remember),
            store=config.session.store if isinstance(config.session.store, str) else "redis",
            redis=self._redis(),
            grace=config.session.grace,
            session_cookie=self._cookie(),
            memory=config.session.memory,
            websocket_activity=config.session.websocket_activity,
            workers=config.workers or usable_cores(),
            providers=self._providers(),
            issuers=self._issuers(),
            introspectors=self._introspectors(),
            users_file=self._path.parent / local.users if local else None,
            identity_headers=tuple(config.identity.headers.items()),
            identity_token=self._token(),
            drop_response_headers=frozenset(config.identity.drop_response_headers),
            routes=tuple(self._route(index, route) for index, route in enumerate(config.routes)),
            limits=Limits(**{limit.name: getattr(config.limits, limit.name) for limit in fields(Limits)}),
            log=LogTargets(self._log(config.log.access), self._log(config.log.audit), config.log.level),
            forward_auth=TrustedProxies(config.forward_auth.networks if config.forward_auth else ()),
            warnings=tuple(warnings),
            marks={key_text(path): self._document.place(mark) for path, mark in self._document.values.items()},
        )

    def _providers(self) -> tuple[Provider, ...]:
        config, asked = self._config, asked_claims(self._config)
        made = (make_provider(part, self._file_text, alone=is_alone(config)) for part in config.login.oidc)
        return tuple(with_claims(provider, asked) for provider in made)

    def _issuers(self) -> tuple[TokenIssuer, ...]:
        asked = asked_claims(self._config)
        made = (make_issuer(part, self._file_text) for part in self._config.programs.bearer)
        return tuple(replace(issuer, people=with_claims(issuer.people, asked)) for issuer in made)

    def _introspectors(self) -> tuple[Introspector, ...]:
        asked = asked_claims(self._config)
        made = (make_introspector(part, self._file_text) for part in self._config.programs.introspection)
        return tuple(replace(place, people=with_claims(place.people, asked)) for place in made)

    def _file_text(self, name: str) -> str:
        return str(self._file(name))

    def _file(self, name: str) -> Path:
        return self._folder / name

    def _listen(self, address: ListenAddress) -> ListenAddress:
        return replace(address, path=str(self._file(address.path))) if address.path else address

    def _log(self, target: str) -> str:
        return target if target in ("stdout", "stderr", "off") else str(self._file(target))

    def _cookie(self) -> CookiePolicy:
        cookie = self._config.session.cookie
        return CookiePolicy(
            name=cookie.name,
            domain=cookie.domain,
            path=cookie.path,
            same_site=cookie.same_site,
            secure=is_secure(self._draft),
            http_only=cookie.http_only,
            budget=cookie.budget,
        )

    def _token(self) -> TokenPolicy | None:
        part = self._config.identity.token
        return TokenPolicy(part.header, part.algorithm, part.lifetime, part.rotate) if part else None

    def _audience(self, route: RoutePart) -> str:
        """Return whom a route's tokens are for: the route itself, unless it says otherwise."""
        if self._config.identity.token is None or route.token is False:
            return ""
        return route.token if isinstance(route.token, str) else route.name

    def _redis(self) -> RedisAddress | None:
        address, part = self._config.session.store, self._config.session.redis
        if isinstance(address, str):
            return None
        ca, cert, key = (str(self._file(name)) if name else None for name in (part.ca, part.cert, part.key))
        return replace(
            address,
            username=part.username or address.username,
            password=part.password or address.password,
            sentinel_username=part.sentinel_username or "",
            sentinel_password=part.sentinel_password or "",
            ca=ca,
            certificate=cert,
            key=key,
            prefix=part.prefix,
            times=RedisTimes(part.timeout.connect, part.timeout.call, part.timeout.request),
        )

    def _route(self, index: int, route: RoutePart) -> Route:
        path: KeyPath = ("routes", index)
        headers = route.headers.items()
        return Route(
            name=route.name,
            upstreams=tuple(self._upstream(upstream) for upstream in route.upstream),
            default=Rule(
                self._decided_by(path, route.model_fields_set),
                public=route.public,
                allow=_allow(route.allow),
                step_up=make_step_up(route),
            ),
            host=route.host or "",
            path=route.path,
            rules=tuple(
                Rule(
                    where=self._document.where((*path, "rules", number)),
                    path=rule.path,
                    methods=frozenset(rule.methods),
                    public=rule.public,
                    allow=_allow(rule.allow),
                    step_up=make_step_up(route, number),
                )
                for number, rule in enumerate(route.rules)
            ),
            strip_prefix=route.strip_prefix,
            preserve_host=route.preserve_host,
            websocket=route.websocket,
            pass_encoded_slashes=route.encoded_slashes == "pass",
            origins=frozenset(map(str, route.origins)),
            set_headers=tuple((name, value) for name, value in headers if value is not None),
            drop_headers=frozenset(name.lower() for name, value in headers if value is None),
            pass_headers=frozenset(route.pass_headers),
            connect_timeout=route.timeout.connect,
            response_timeout=route.timeout.response,
            max_body=route.max_body,
            store_grace=route.store_grace,
            transfer=route.transfer,
            programs=tuple(route.programs),
            title=route.title,
            audience=self._audience(route),
            service_worker=route.service_worker,
            cache_as_is=route.cache == "as-is",
        )

    def _decided_by(self, path: KeyPath, given: set[str]) -> str:
        """Return the line that decides where no rule does: that of `allow` or `public`, else the route's."""
        key = next((key for key in ("allow", "public") if key in given), "")
        return self._document.where((*path, key), at_key=True) if key else self._document.where(path)

    def _upstream(self, upstream: UpstreamPart) -> UpstreamAddress:
        address = upstream.url
        if address.path:
            return replace(address, path=str(self._file(address.path)))
        if address.tls is None:
            return address
        ca, cert, key = (str(self._file(name)) if name else None for name in (upstream.ca, upstream.cert, upstream.key))
        return replace(address, tls=UpstreamTls(ca, cert, key, upstream.server_name))


def _allow(allow: AllowPart) -> Allow:
    return Allow(
        groups=frozenset(allow.groups),
        users=frozenset(allow.users),
        emails=tuple(allow.emails),
        methods=frozenset(allow.methods),
        networks=tuple(allow.networks),
        providers=frozenset(allow.providers),
        claims=tuple(claim_condition(path, values) for path, values in allow.claims.items()),
    )
