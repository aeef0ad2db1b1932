"""Who may do what on a route: ``allow`` blocks and rules, as values with their line of YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from gateway.core.claims import ClaimCondition
from gateway.core.identity import Identity
from gateway.core.step_up import StepUp

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def covered_methods(named: Iterable[str]) -> frozenset[str]:
    """Return the methods that a condition holds for: HEAD, too, where it names GET.

    Servers answer HEAD by what answers GET (RFC 9110 §9.3.2), so what guards the one must guard the other.
    """
    methods = frozenset(named)
    return methods | {"HEAD"} if "GET" in methods else methods


@dataclass(frozen=True, slots=True)
class Allow:
    """Conditions that must all hold; within each, one match is enough. Empty ones always hold."""

    groups: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    emails: tuple[str, ...] = ()
    """Addresses or patterns as ``*@example.com``, compared without regard to case."""
    methods: frozenset[str] = frozenset()
    """GET stands for HEAD as well."""
    networks: tuple[Network, ...] = ()
    providers: frozenset[str] = frozenset()
    """Ways to have logged in, as `Identity.method` names them: ``password``, ids of providers."""
    claims: tuple[ClaimCondition, ...] = ()
    """Of these, all must hold."""
    _open: bool = field(init=False, repr=False, compare=False)
    """Whether there is no condition at all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", covered_methods(self.methods))
        people = self.groups or self.users or self.emails or self.providers or self.claims
        object.__setattr__(self, "_open", not (people or self.methods or self.networks))

    def missing(self, identity: Identity, method: str, client: Address | None) -> str | None:
        """Return the name of the first condition that does not hold, or None if all do."""
        if self._open:
            return None
        if self.groups and self.groups.isdisjoint(identity.groups):
            return "groups"
        if self.users and identity.user not in self.users:
            return "users"
        if self.emails and not self._email_matches(identity.email.lower()):
            return "emails"
        if self.methods and method not in self.methods:
            return "methods"
        if self.networks and not (client and any(client in network for network in self.networks)):
            return "networks"
        if self.providers and identity.method not in self.providers:
            return "providers"
        for condition in self.claims:
            if not condition.holds(identity.claims):
                return f"claims.{condition.path}"
        return None

    def _email_matches(self, email: str) -> bool:
        return bool(email) and any(fnmatchcase(email, pattern) for pattern in self.emails)


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds under a path and for some methods of a route; a route itself ends in one."""

    where: str
    """The line of YAML that says so, as ``gateway.yaml:12:5``."""
    path: str = "/"
    methods: frozenset[str] = frozenset()
    """None for all; GET stands for HEAD as well."""
    public: bool = False
    allow: Allow = field(default_factory=Allow)
    step_up: StepUp | None = None
    """The login that it takes beyond being allowed; None: any."""
    of_identity: bool = field(init=False, repr=False, compare=False)
    """Whether who somebody is decides alone: not what they ask for, from where, nor when they logged in."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", covered_methods(self.methods))
        allow = self.allow
        object.__setattr__(self, "of_identity", not (allow.methods or allow.networks or self.step_up))

    def covers(self, path: str, method: str) -> bool:
        """Tell whether the rule speaks of this request."""
        return is_under(path, self.path) and (not self.methods or method in self.methods)


def is_under(path: str, prefix: str) -> bool:
    """Tell whether ``path`` is ``prefix`` or below it, at a segment boundary."""
    if not path.startswith(prefix):
        return prefix.endswith("/") and path == prefix[:-1]
    return prefix.endswith("/") or len(path) == len(prefix) or path[len(prefix)] == "/"
