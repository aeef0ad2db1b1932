"""Paths that differ in upper and lower case alone: for many apps, as behind IIS and Express, they are one path."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.case_fold import fold_case
from gateway.settings.document import Found
from gateway.settings.model import Config, RoutePart, RulePart
from gateway.settings.validation import Draft


def warn_letter_case(draft: Draft[Config]) -> Iterator[Found]:
    """Name paths that are told apart by case alone and do not let in the same people: who may open one opens both."""
    routes = draft.config.routes
    for index, route in enumerate(routes):
        for number, rule in enumerate(route.rules):
            for earlier in route.rules[:number]:
                if _are_alike(rule.path, earlier.path) and _lets_in(rule) != _lets_in(earlier):
                    yield Found(("routes", index, "rules", number, "path"), _text(earlier.path, "rule for it"))
        for other, before in enumerate(routes[:index]):
            if _are_one_app(route, before) and _access(route) != _access(before):
                yield Found(("routes", index, "path"), _text(before.path, f"allow of routes[{other}]"))


def _text(path: str, what: str) -> str:
    return (
        f'differs from "{path}" in upper and lower case alone, and to many apps is the same: '
        f"whoever the {what} lets in may get here too"
    )


def _are_alike(path: str, other: str) -> bool:
    return path != other and fold_case(path) == fold_case(other)


def _are_one_app(route: RoutePart, other: RoutePart) -> bool:
    urls = {upstream.url for upstream in other.upstream}
    shared = any(upstream.url in urls for upstream in route.upstream)
    return shared and route.host == other.host and _are_alike(route.path, other.path)


def _lets_in(part: RoutePart | RulePart) -> tuple[object, ...]:
    return part.public, part.allow, part.step_up


def _access(route: RoutePart) -> tuple[object, ...]:
    rules = [(fold_case(rule.path), rule.methods, *_lets_in(rule)) for rule in route.rules]
    return (*_lets_in(route), rules)
