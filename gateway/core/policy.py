"""Who may do what on a route: ``allow`` blocks and rules, as values with their line of YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from gateway.core.identity import Identity

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Allow:
    """Conditions that must all hold; within each, one match is enough. Empty ones always hold."""

    groups: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    emails: tuple[str, ...] = ()
    """Addresses or patterns as ``*@example.com``, compared without regard to case."""
    methods: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def missing(self, identity: Identity, method: str, client: Address | None) -> str | None:
        """Return the name of the first condition that does not hold, or None if all do."""
        if self.groups and self.groups.isdisjoint(identity.groups):
            return "groups"
        if self.users and identity.user not in self.users:
            return "users"
        if self.emails and not self._email_matches(identity.email.lower()):
            return "emails"
        return self.missing_for_anyone(method, client)

    def missing_for_anyone(self, method: str, client: Address | None) -> str | None:
        """Check what does not depend on who asks: the method and the network."""
        if self.methods and method not in self.methods:
            return "methods"
        if self.networks and not (client and any(client in network for network in self.networks)):
            return "networks"
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
    public: bool = False
    allow: Allow = field(default_factory=Allow)

    def covers(self, path: str, method: str) -> bool:
        """Tell whether the rule speaks of this request."""
        return (not self.methods or method in self.methods) and is_under(path, self.path)


def is_under(path: str, prefix: str) -> bool:
    """Tell whether ``path`` is ``prefix`` or below it, at a segment boundary."""
    bare = prefix.rstrip("/")
    return not bare or (path.startswith(bare) and (len(path) == len(bare) or path[len(bare)] == "/"))
