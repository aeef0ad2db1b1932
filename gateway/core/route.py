"""Routes, and finding one: by host, then by the longest path prefix at a segment boundary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.core.case_fold import fold_case
from gateway.core.policy import Rule, is_under
from gateway.core.upstream import UpstreamAddress

GATEWAY_PREFIX: Final = "/_gateway"
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Route:
    """One app behind the gateway. Times are seconds, sizes bytes."""

    name: str
    upstreams: tuple[UpstreamAddress, ...]
    default: Rule
    """What holds where no entry of ``rules`` matches: the route's own ``public`` and ``allow``."""
    host: str = ""
    """Lower case; ``*.example.com`` for everything below; empty for every configured host."""
    path: str = "/"
    rules: tuple[Rule, ...] = ()
    strip_prefix: bool = False
    preserve_host: bool = True
    websocket: bool = True
    pass_encoded_slashes: bool = False
    origins: frozenset[str] = frozenset()
    """Further Origins that may open WebSockets, as ``https://other.example.com``."""
    set_headers: tuple[tuple[str, str], ...] = ()
    drop_headers: frozenset[str] = frozenset()
    pass_headers: frozenset[str] = frozenset()
    """Lower-case names of otherwise stripped headers that this app may get from clients."""
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    max_body: int | None = None
    store_grace: float | None = None
    programs: tuple[str, ...] = ()
    """Who may vouch for credentials that programs send here: ``basic``, ``api-key``, ids of token sources."""
    control: bool = False
    """The gateway's own pages: they get the session and may set its cookie."""
    title: str = ""
    cache_as_is: bool = False
    """Whether responses that say nothing about caches stay so where somebody has a session."""
    audience: str = ""
    """Whom the signed identity token is for; empty where none is sent."""
    service_worker: bool = False
    """Whether service workers of the app may take in the gateway's own pages on the host of ``public_url``."""
    transfer: bool = False
    """Whether the hosts of a wildcard get sessions that began on ``public_url``."""

    def rule_for(self, path: str, method: str) -> Rule:
        """Return the first rule that covers the request, else the route's own."""
        for rule in self.rules:
            if is_under(path, rule.path) and (not rule.methods or method in rule.methods):
                return rule
        return self.default


class PathTable:
    """The routes of one host by path segments; the cost of a lookup does not grow with their number."""

    __slots__ = ("_children", "_route")

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._children: dict[str, PathTable] = {}
        self._route: Route | None = None
        for route in routes:
            node = self
            for segment in route.path.strip("/").split("/") if route.path.strip("/") else ():
                node = node._children.setdefault(segment, PathTable())
            if node._route is None:
                node._route = route

    def find(self, path: str) -> Route | None:
        """Return the route with the longest prefix of ``path``, or None."""
        found = self._route
        children = self._children
        start = 1
        while children:
            end = path.find("/", start)
            node = children.get(path[start:end] if end >= 0 else path[start:])
            if node is None:
                break
            found = node._route or found
            if end < 0:
                break
            children = node._children
            start = end + 1
        return found


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """What is served under one host name: its own routes first, then less specific ones."""

    tables: tuple[PathTable, ...] = field(default=())
    caseless: CaselessRoutes | None = None
    """The same for apps to which ``/Admin`` is ``/admin``; None where every path leads to one rule of one app."""

    def find(self, path: str) -> Route | None:
        """Return the route for a decoded path, or None."""
        for table in self.tables:
            route = table.find(path)
            if route is not None:
                return route
        return None

    def serves(self, path: str, readings: Sequence[str], *, encoded_slash: bool) -> bool:
        """Tell whether a GET finds a route and rule here that every reading of its path leads to."""
        route = self.find(path)
        if route is None or (encoded_slash and not route.pass_encoded_slashes):
            return False
        rule = route.rule_for(path, "GET")
        return all(self.leads_to(route, rule, reading, "GET") for reading in (path, *readings))

    def leads_to(self, route: Route, rule: Rule, path: str, method: str) -> bool:
        """Tell whether one reading of a path leads to ``route`` and ``rule``, in upper and in lower case."""
        if self.find(path) is not route or route.rule_for(path, method) is not rule:
            return False
        return self.caseless is None or self.caseless.lead_to(route, rule, path, method)


class CaselessRoutes:
    """Where paths lead for apps that take upper and lower case for the same, as IIS and Express do.

    Routes and rules whose paths differ in nothing else are told apart on purpose: a path that leads to one
    of them leads to the others as well, and neither makes it lead elsewhere.
    """

    __slots__ = ("_folded", "_mixed", "_routes")

    def __init__(self, groups: Sequence[RouteGroup], folded: Mapping[str, Route]) -> None:
        """Take the groups of one host, and all routes by name as such an app sees them."""
        self._routes = HostRoutes(tuple(group.folded for group in groups))
        self._folded = folded
        self._mixed = any(group.mixed for group in groups)

    def lead_to(self, route: Route, rule: Rule, path: str, method: str) -> bool:
        """Tell whether such an app finds what ``path`` stands for where ``route`` and ``rule`` are found for it."""
        folded = fold_case(path)
        if (folded == path and not self._mixed) or route.control:
            return True
        own, found = self._folded[route.name], self._routes.find(folded)
        if found is None or found.path != own.path or found.host != own.host:
            return False
        return own.rule_for(folded, method).path == fold_case(rule.path)


def _folded(route: Route) -> Route:
    rules = tuple(replace(rule, path=fold_case(rule.path)) for rule in route.rules)
    return replace(route, path=fold_case(route.path), rules=rules)


class RouteGroup:
    """The routes that name one host, or none, prepared once for all hosts on which they are served."""

    __slots__ = ("decides", "folded", "mixed", "size", "table")

    def __init__(self, routes: Sequence[Route], folded: Mapping[str, Route], control: Sequence[Route]) -> None:
        # Our own pages are on every host, so they stand first in every table; no app is reached by those.
        self.table = PathTable([*control, *routes])
        self.folded = PathTable([folded[route.name] for route in routes])
        self.size = len(routes)
        self.decides = any(route.rules for route in routes)
        """Whether one path of a route may be another one's to judge."""
        paths = [path for route in routes for path in (route.path, *(rule.path for rule in route.rules))]
        self.mixed = any(path != fold_case(path) for path in paths)
        """Whether a path in lower case may be another one in the configuration."""


def _host_routes(groups: Sequence[RouteGroup], folded: Mapping[str, Route]) -> HostRoutes:
    """Return what is served under a host: the group of its own name comes first, then less specific ones."""
    decides = sum(group.size for group in groups) > 1 or any(group.decides for group in groups)
    return HostRoutes(tuple(group.table for group in groups), CaselessRoutes(groups, folded) if decides else None)


def _covering(name: str, wild: Mapping[str, RouteGroup]) -> list[RouteGroup]:
    """Return the groups of the wildcards that cover ``name``, the most specific first."""
    found = [suffix for suffix in wild if name.endswith(suffix)]
    return [wild[suffix] for suffix in sorted(found, key=len, reverse=True)]


class Router:
    """All routes, for one set of configured hosts.

    Configured are the host of ``public_url`` and every host that a route names. A route without a
    host is served on all of them; a request for any other host finds nothing (RFC 9110 §7.4).
    """

    def __init__(self, routes: Iterable[Route], public_host: str, control: Route | None = None) -> None:
        self.routes = tuple(routes)
        self.control = control
        own = [control] if control else []
        self.own_pages = HostRoutes((PathTable(own),))
        """What is ours under any name."""
        by_host: dict[str, list[Route]] = {}
        for route in self.routes:
            by_host.setdefault(route.host, []).append(route)
        folded = {route.name: _folded(route) for route in self.routes}
        shared = RouteGroup(by_host.pop("", []), folded, own)
        groups = {host: RouteGroup(found, folded, own) for host, found in by_host.items()}
        wild = {host[1:]: group for host, group in groups.items() if host.startswith("*.")}
        exact = {host: group for host, group in groups.items() if not host.startswith("*.")}
        self._wild = {suffix: _host_routes([*_covering(suffix, wild), shared], folded) for suffix in wild}
        self._transferring = frozenset(
            host[1:] for host, found in by_host.items() if any(route.transfer for route in found)
        )
        self.public_names = frozenset(LOOPBACK_NAMES if public_host in LOOPBACK_NAMES else (public_host,))
        """The names of the host of ``public_url``."""
        names = set(exact) | self.public_names
        self._exact = {
            name: _host_routes([*([exact[name]] if name in exact else []), *_covering(name, wild), shared], folded)
            for name in names
        }

    def all_routes(self) -> tuple[Route, ...]:
        """Return the configured routes and the one to the control plane."""
        return (*self.routes, self.control) if self.control else self.routes

    def host(self, name: str) -> HostRoutes | None:
        """Return what is served under a lower-case host name without port, or None if it is not ours."""
        found = self._exact.get(name)
        return found if found is not None else self._wild.get(self._wildcard(name))

    def transfers(self, name: str) -> bool:
        """Tell whether a host gets sessions that began on another: each that is named, of the others as routes say."""
        return name in self._exact or self._wildcard(name) in self._transferring

    def _wildcard(self, name: str) -> str:
        """Return the most specific wildcard that covers a name, without its star; nothing if there is none."""
        rest = name
        while (dot := rest.find(".", 1)) >= 0:
            rest = rest[dot:]
            if rest in self._wild:
                return rest
        return ""

    def find(self, host: str, path: str) -> Route | None:
        """Return the route for a host name and a decoded path, or None."""
        routes = self.host(host)
        return routes.find(path) if routes else None


def unreachable_rules(route: Route) -> list[Rule]:
    """Return the rules whose path lies outside the route, so that no request can ever meet them."""
    return [rule for rule in route.rules if not is_under(rule.path, route.path) and not is_under(route.path, rule.path)]
