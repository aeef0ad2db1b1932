"""What must hold within a route, between routes, and between a route and the rest of the configuration."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.header_name import normalised_text
from gateway.core.policy import Rule, covered_methods
from gateway.core.route import LOOPBACK_NAMES, Route, unreachable_rules
from gateway.core.upstream import UpstreamAddress
from gateway.settings.addresses import ListenAddress
from gateway.settings.document import Found, KeyPath
from gateway.settings.model import AllowPart, Config, RoutePart, RulePart
from gateway.settings.step_up import check_step_up
from gateway.settings.validation import Draft
from gateway.settings.values import size_text

ConfigDraft = Draft[Config]


def check_route(draft: ConfigDraft, position: int, route: RoutePart) -> Iterator[Found]:
    """Check one route, which stands at ``position`` in the file."""
    path: KeyPath = ("routes", position)
    yield from _check_public(path, public=route.public, allow=route.allow)
    yield from _check_rules(path, route)
    yield from check_step_up(path, route)
    yield from _check_headers(draft, path, route)
    yield from _check_upstreams(draft, path, route)
    if route.transfer and not (route.host or "").startswith("*."):
        text = "has no effect here: it is for wildcard hosts, as *.example.com; any other host gets sessions anyway"
        yield Found((*path, "transfer"), text)
    largest = draft.config.limits.body
    if route.max_body and draft.sound("limits", "body") and route.max_body > largest:
        yield Found((*path, "max_body"), f"is over limits.body ({size_text(largest)}), which holds for every route")


def _check_public(path: KeyPath, *, public: bool, allow: AllowPart) -> Iterator[Found]:
    if public and not allow.is_empty():
        yield Found(
            (*path, "allow"), "has no effect beside `public: true`, which lets everybody in; remove one of them"
        )


def _check_rules(path: KeyPath, route: RoutePart) -> Iterator[Found]:
    """Refuse rules that no request meets: a rule without effect is a slip, and maybe an open door."""
    rules = tuple(Rule(str(index), path=rule.path) for index, rule in enumerate(route.rules))
    outside = {
        int(rule.where) for rule in unreachable_rules(Route(route.name, (), Rule(""), path=route.path, rules=rules))
    }
    for index, rule in enumerate(route.rules):
        here = (*path, "rules", index)
        yield from _check_public(here, public=rule.public, allow=rule.allow)
        if index in outside:
            text = (
                f'"{rule.path}" is not under the path of the route, "{route.path}"; the path of a rule is a whole one'
            )
            yield Found((*here, "path"), text)
            continue
        earlier = [i for i in range(index) if i not in outside and _hides(route, route.rules[i], rule)]
        if earlier:
            yield Found(here, f"is never reached: rules[{earlier[0]}] covers all of it and comes first")


def _hides(route: RoutePart, first: RulePart, second: RulePart) -> bool:
    """Tell whether no request reaches ``second``, because ``first`` covers it all."""
    inner = second.path if Rule("", path=route.path).covers(second.path, "") else route.path
    if not Rule("", path=first.path).covers(inner, ""):
        return False
    return not first.methods or bool(second.methods and set(second.methods) <= covered_methods(first.methods))


def _check_headers(draft: ConfigDraft, path: KeyPath, route: RoutePart) -> Iterator[Found]:
    """Keep routes from touching the identity headers, and from letting a client send them."""
    known = draft.config.identity.headers if draft.sound("identity", "headers") else {}
    identity = {normalised_text(name): "identity.headers" for name in known}
    if draft.sound("identity", "token") and (token := draft.config.identity.token) is not None:
        identity[normalised_text(token.header)] = "identity.token"
    seen: dict[str, str] = {}
    for name in route.headers:
        other = seen.setdefault(normalised_text(name), name)
        if normalised_text(name) in identity:
            text = f"is an identity header ({identity[normalised_text(name)]}), which no route can set or remove"
            yield Found((*path, "headers", name), text, at_key=True)
        elif other != name:
            yield Found((*path, "headers", name), f'apps cannot tell it from "{other}"', at_key=True)
    for index, name in enumerate(route.pass_headers):
        if normalised_text(name) in identity:
            text = f"is an identity header ({identity[normalised_text(name)]}): nobody but the gateway may send it"
            yield Found((*path, "pass_headers", index), text)


def _check_upstreams(draft: ConfigDraft, path: KeyPath, route: RoutePart) -> Iterator[Found]:
    listed = isinstance(draft.document.get((*path, "upstream")), list)
    for index, upstream in enumerate(route.upstream):
        here = (*path, "upstream", index) if listed else (*path, "upstream")
        if upstream.url.tls is None:
            for key in ("ca", "cert", "key", "server_name"):
                if getattr(upstream, key) is not None:
                    yield Found((*here, key), "has a meaning for https:// upstreams only")
        elif (upstream.cert is None) != (upstream.key is None):
            given, wanted = ("key", "cert") if upstream.cert is None else ("cert", "key")
            yield Found((*here, given), f"needs `{wanted}` beside it")
        if any(upstream.url == other.url for other in route.upstream[:index]):
            yield Found(here, f"{upstream.url} is given twice")
        if draft.sound("listen") and any(_is_same(upstream.url, address) for address in draft.config.listen):
            yield Found(here, f"{upstream.url} is the gateway itself: requests would go in circles")


def _is_same(upstream: UpstreamAddress, listen: ListenAddress) -> bool:
    if upstream.path or listen.path:
        return upstream.path == listen.path
    everywhere = listen.host in ("0.0.0.0", "::")
    loopback = {name.strip("[]") for name in LOOPBACK_NAMES}
    same = upstream.host == listen.host or (upstream.host in loopback and (everywhere or listen.host in loopback))
    return same and upstream.port == listen.port


def check_routes_together(draft: ConfigDraft) -> Iterator[Found]:
    """Refuse a name that is taken, and two routes in one place."""
    names: dict[str, int] = {}
    places: dict[tuple[str | None, str], int] = {}
    for index, route in enumerate(draft.config.routes):
        position = draft.position("routes", index)
        first = names.setdefault(route.name, position)
        if first != position:
            yield Found(("routes", position, "name"), f'"{route.name}" is the name of routes[{first}] already')
        first = places.setdefault((route.host, route.path), position)
        if first != position:
            where = f'path "{route.path}"' + (f' on host "{route.host}"' if route.host else "")
            line = draft.document.mark(("routes", first))
            yield Found(
                ("routes", position), f"{where} is served by routes[{first}] already, line {line.line if line else 0}"
            )
