"""``allow`` by the way of logging in and by claims: names that exist, claims that are kept when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from gateway.core.programs import API_KEY, BASIC
from gateway.core.provider import Provider
from gateway.settings.document import Found, KeyPath
from gateway.settings.model import AllowPart, Config
from gateway.settings.text import nearest
from gateway.settings.validation import Draft

LOCAL = "password"
"""How local users log in, as `Identity.method` has it."""


def check_allow(draft: Draft[Config]) -> Iterator[Found]:
    """Refuse ways to log in that there are not: who asks for one would shut everybody out."""
    if not draft.sound("login") or not draft.sound("programs"):
        return
    config = draft.config
    known = [part.id for part in config.login.oidc]
    known += [part.id for part in config.programs.bearer]
    known += [part.id for part in config.programs.introspection]
    if config.login.local is not None:
        known = [LOCAL, BASIC, API_KEY, *known]
    for path, allow in _parts(draft):
        for index, name in enumerate(allow.providers):
            if name not in known:
                text = f'"{name}" is no way to log in here{nearest(name, known)}'
                yield Found((*path, "providers", index), text + (f"; there is {', '.join(known)}" if known else ""))


def warn_allow(draft: Draft[Config]) -> Iterator[Found]:
    """Name claims that nobody has, as local users have none."""
    config = draft.config
    if config.login.oidc or config.programs.bearer or config.programs.introspection:
        return
    for path, allow in _parts(draft):
        for name in allow.claims:
            text = "lets nobody in: there is no provider under login.oidc, and local users have no claims"
            yield Found((*path, "claims", name), text, at_key=True)


def _parts(draft: Draft[Config]) -> Iterator[tuple[KeyPath, AllowPart]]:
    for index, route in enumerate(draft.config.routes):
        path: KeyPath = ("routes", draft.position("routes", index))
        yield (*path, "allow"), route.allow
        for number, rule in enumerate(route.rules):
            yield (*path, "rules", number, "allow"), rule.allow


def asked_claims(config: Config) -> tuple[str, ...]:
    """Return the paths of all claims that routes and rules ask for."""
    allows = [part for route in config.routes for part in (route.allow, *(rule.allow for rule in route.rules))]
    return tuple(dict.fromkeys(name for allow in allows for name in allow.claims))


def with_claims(provider: Provider, asked: Iterable[str]) -> Provider:
    """Return a provider whose people keep the claims that are asked for, under their paths, beside those it names."""
    names = {name for name, _ in provider.claims.other}
    more = tuple((path, path) for path in asked if path not in names)
    return replace(provider, claims=replace(provider.claims, other=provider.claims.other + more))
