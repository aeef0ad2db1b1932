"""Choosing among a route's upstream addresses: in turn, the ones that failed lately last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class RoundRobin:
    """Give each address its turn."""

    def __init__(self) -> None:
        self._next = 0

    def order(self, choices: Sequence[T]) -> list[T]:
        """Return the choices in the order in which they are to be tried for one request."""
        start = self._next % len(choices)
        self._next = start + 1
        return [*choices[start:], *choices[:start]]
