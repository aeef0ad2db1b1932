"""What must hold between the keys about programs and the routes that accept them, and what hardly is meant."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.programs import API_KEY, BASIC
from gateway.settings.document import Found, KeyPath
from gateway.settings.model import Config
from gateway.settings.program_model import BearerPart, IntrospectionPart
from gateway.settings.text import nearest
from gateway.settings.validation import Draft

_BEARER: KeyPath = ("programs", "bearer")
_INTROSPECTION: KeyPath = ("programs", "introspection")


def check_programs(draft: Draft[Config]) -> Iterator[Found]:
    """Keep ids apart, ask for an audience, and see to it that routes name what there is."""
    config = draft.config
    if not draft.sound(*_BEARER) or not draft.sound(*_INTROSPECTION):
        return
    seen = {part.id: f"login.oidc[{index}]" for index, part in enumerate(config.login.oidc)}
    for path, part in _parts(config):
        here = f"{path[0]}.{path[1]}[{path[2]}]"
        if seen.setdefault(part.id, here) != here:
            yield Found((*path, "id"), f'"{part.id}" is the id of {seen[part.id]} already')
    for index, place in enumerate(config.programs.introspection):
        yield from _check_introspection((*_INTROSPECTION, index), place)
    yield from _check_routes(draft)


def _parts(config: Config) -> list[tuple[KeyPath, BearerPart | IntrospectionPart]]:
    programs = config.programs
    found: list[tuple[KeyPath, BearerPart | IntrospectionPart]] = []
    found += [((*_BEARER, index), part) for index, part in enumerate(programs.bearer)]
    found += [((*_INTROSPECTION, index), part) for index, part in enumerate(programs.introspection)]
    return found


def _check_introspection(path: KeyPath, part: IntrospectionPart) -> Iterator[Found]:
    if not part.audience and not part.insecure_any_audience:
        text = "audience: is missing: without it a token that was given to any other app opens these routes too"
        yield Found(path, text)
    if part.audience and part.insecure_any_audience:
        yield Found((*path, "insecure_any_audience"), "has no effect beside `audience`; remove one of them")
    if part.client_secret and part.private_key:
        yield Found((*path, "private_key"), "stands beside a client_secret: one of both is enough")
    if part.client_auth == "private_key_jwt" and not part.private_key:
        yield Found((*path, "client_auth"), "needs a private_key")
    if part.client_auth in ("client_secret_basic", "client_secret_post") and not part.client_secret:
        yield Found((*path, "client_auth"), "needs a client_secret")


def _check_routes(draft: Draft[Config]) -> Iterator[Found]:
    config = draft.config
    known = [BASIC, API_KEY, *(part.id for _, part in _parts(config))]
    for index, route in enumerate(config.routes):
        path: KeyPath = ("routes", draft.position("routes", index), "programs")
        for number, name in enumerate(route.programs):
            here = (*path, number)
            if name not in known:
                text = f'"{name}" is no id of programs.bearer or programs.introspection'
                yield Found(here, text + (nearest(name, known) or f"; known are {', '.join(known)}"))
            elif name in route.programs[:number]:
                yield Found(here, f'"{name}" is given twice')
            elif name in (BASIC, API_KEY) and draft.sound("login", "local") and config.login.local is None:
                yield Found(here, f'"{name}" is for local users: login.local.users is not set')


def warn_programs(draft: Draft[Config]) -> Iterator[Found]:
    """Name what no route accepts, and checks that are turned off."""
    config = draft.config
    accepted = {name for route in config.routes for name in route.programs}
    for path, part in _parts(config):
        if part.id not in accepted:
            yield Found(path, f'has no effect: no route names "{part.id}" under `programs`')
        if part.insecure_unverified_email:
            text = "is true: whoever can write another's address at the issuer is that other here"
            yield Found((*path, "insecure_unverified_email"), text)
        if isinstance(part, IntrospectionPart) and part.insecure_any_audience:
            text = "is true: a token that was given to any other app opens these routes too"
            yield Found((*path, "insecure_any_audience"), text)
