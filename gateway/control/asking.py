"""What routes ask of a login beyond that there is one, as the login page and the way to a provider know it.

An address only names the route; what that asks for is looked up here, so that nobody can write it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.core.gate import lacking
from gateway.core.route import Route
from gateway.core.session import Session
from gateway.core.step_up import StepUp
from gateway.login.redirect import Asked, RedirectLogin

STEP_UP = "step_up"
"""The parameter of an address that names what asks."""
CHOOSE = "choose"
"""The one with which the login page lets people choose, in place of leading them to where they came from."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A route, or one of its rules, that asks for a stronger or fresher login."""

    title: str
    step_up: StepUp

    @property
    def name(self) -> str:
        """Return by what addresses name it."""
        return self.step_up.name

    def asked(self) -> Asked:
        """Return what a provider is asked for."""
        step_up = self.step_up
        return Asked(step_up.acr_values, step_up.max_age, step_up.prompt, step_up.name)

    def is_met(self, session: Session, now: float) -> bool:
        """Tell whether a session is enough."""
        return lacking(self.step_up, session, now) is None

    def takes_password(self) -> bool:
        """Tell whether a local user can do it: their login is fresh, and never of a kind that has a name."""
        return not self.step_up.acr_values

    def takes(self, login: RedirectLogin) -> bool:
        """Tell whether a provider can say how and when people have logged in there."""
        return login.provider.kind == "oidc"

    def reason(self) -> str:
        """Return why a login is asked for, for whoever sits there."""
        if self.step_up.acr_values:
            return f"{self.title} needs a stronger sign-in than other pages."
        return f"{self.title} asks you to sign in again, to be sure that it is you."


def asking_routes(routes: Iterable[Route]) -> Mapping[str, Asking]:
    """Return what asks, by the names that addresses have for it."""
    found: dict[str, Asking] = {}
    for route in routes:
        for rule in (route.default, *route.rules):
            if rule.step_up is not None:
                found[rule.step_up.name] = Asking(route.title or route.name, rule.step_up)
    return found
