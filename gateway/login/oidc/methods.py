"""The table of ways to log in elsewhere, by the kind of provider."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gateway.core.provider import Provider, ProviderKind
from gateway.errors import ConfigError, Problem
from gateway.login.oidc.github import GithubLogin
from gateway.login.oidc.openid import OpenIdLogin, Timing
from gateway.login.redirect import RedirectLogin

METHODS: Mapping[ProviderKind, Callable[[Provider, Timing | None], RedirectLogin]] = {
    "oidc": OpenIdLogin,
    "github": GithubLogin,
}


def make_logins(providers: Iterable[Provider], timing: Timing | None = None) -> dict[str, RedirectLogin]:
    """Return the providers' logins by id, not started. Raises ConfigError for keys and files that cannot be used."""
    found: dict[str, RedirectLogin] = {}
    problems: list[Problem] = []
    for provider in providers:
        try:
            found[provider.id] = METHODS[provider.kind](provider, timing)
        except (OSError, ValueError) as error:
            problems.append(Problem("login.oidc", provider.id, str(error)))
    if problems:
        raise ConfigError(problems)
    return found
