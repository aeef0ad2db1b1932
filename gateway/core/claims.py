"""Claims: what an identity provider says of somebody, as JSON; finding one in them, and comparing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ClaimCondition:
    """One claim must have one of these values; a claim that is a list, in any of its places."""

    path: str
    """A name, or names with dots, as `claim_at` takes it."""
    accepted: frozenset[tuple[bool, Scalar]]
    """Values as `claim_values` tells them apart."""

    def holds(self, claims: Mapping[str, object]) -> bool:
        """Tell whether it holds; a claim that is not there never does."""
        return not self.accepted.isdisjoint(claim_values(claim_at(claims, self.path)))


def claim_condition(path: str, values: Iterable[Scalar]) -> ClaimCondition:
    """Return the condition that the claim at ``path`` has one of these values."""
    return ClaimCondition(path, frozenset(claim_values(list(values))))


def claim_values(value: object) -> list[tuple[bool, Scalar]]:
    """Return the values of a claim: one, several or none; what is neither text, number nor truth value is left out.

    Each says whether it is a truth value: to Python ``True`` is 1, to whoever wrote the claim it is not.
    """
    entries = value if isinstance(value, list | tuple) else [value]
    return [(isinstance(entry, bool), entry) for entry in entries if isinstance(entry, str | int | float)]


def claim_at(claims: Mapping[str, object], path: str) -> object:
    """Return the value at a path, or None.

    A claim may have dots in its own name, as ``https://example.com/groups``: the longest name that
    exists goes first.
    """
    if path in claims:
        return claims[path]
    dot = path.rfind(".")
    while dot > 0:
        inner = claims.get(path[:dot])
        if isinstance(inner, Mapping):
            found = claim_at(inner, path[dot + 1 :])
            if found is not None:
                return found
        dot = path.rfind(".", 0, dot)
    return None


def as_texts(value: object) -> list[str]:
    """Return a claim as texts: one, several or none. A truth value is ``true`` or ``false``."""
    found = []
    for entry in value if isinstance(value, list | tuple) else [value]:
        if isinstance(entry, bool):
            found.append("true" if entry else "false")
        elif isinstance(entry, str):
            found.append(entry)
        elif isinstance(entry, int) or (isinstance(entry, float) and isfinite(entry)):
            found.append(str(entry))
    return found
