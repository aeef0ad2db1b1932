"""``step_up`` of routes and rules: what must hold, what nobody can meet, and the value that is made of it."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.step_up import StepUp
from gateway.settings.document import Found, KeyPath
from gateway.settings.model import Config, RoutePart, StepUpPart
from gateway.settings.providers import preset_of
from gateway.settings.validation import Draft


def make_step_up(route: RoutePart, rule: int | None = None) -> StepUp | None:
    """Return what a route asks for, or one of its rules, which asks for the same unless it says otherwise."""
    name, part = route.name, route.step_up
    if rule is not None and route.rules[rule].step_up is not None:
        name, part = f"{route.name}.{rule}", route.rules[rule].step_up
    if part is None or part.is_empty():
        return None
    return StepUp(name, tuple(part.acr_values), part.max_age, part.prompt or "")


def check_step_up(path: KeyPath, route: RoutePart) -> Iterator[Found]:
    """Refuse a step-up that asks for nothing, and one of what is public."""
    for place, part, public in _parts(route):
        here = (*path, *place, "step_up")
        if part.is_empty():
            # Without anything at all, it is how a rule says that any login will do.
            if not place or part.prompt:
                yield Found(here, "needs acr_values or max_age: without both, any login will do")
        elif public:
            yield Found(here, "has no effect beside `public: true`, which lets everybody in; remove one of them")


def _parts(route: RoutePart) -> Iterator[tuple[KeyPath, StepUpPart, bool]]:
    """Yield what a route and its rules ask for, with their places in it, and whether they are public."""
    if route.step_up is not None:
        yield (), route.step_up, route.public
    for index, rule in enumerate(route.rules):
        if rule.step_up is not None:
            yield ("rules", index), rule.step_up, rule.public


def warn_step_up(draft: Draft[Config]) -> Iterator[Found]:
    """Name what nobody can meet: only providers of OpenID Connect and tokens tell how and when somebody logged in."""
    config = draft.config
    if any(preset_of(part).kind == "oidc" for part in config.login.oidc):
        return
    if config.programs.bearer or config.programs.introspection:
        return
    for index, route in enumerate(config.routes):
        for place, part, _ in _parts(route):
            if part.acr_values:
                text = "lets nobody in: there is no provider of OpenID Connect under login.oidc that could tell"
                yield Found(("routes", draft.position("routes", index), *place, "step_up", "acr_values"), text)
