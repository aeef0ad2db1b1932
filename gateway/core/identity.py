"""Who somebody is, as every login method tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

NO_CLAIMS: Final[Mapping[str, object]] = {}
"""What all sessions without further facts share."""


@dataclass(slots=True, init=False)
class Identity:
    """A person or program that has proved who it is.

    A value: nobody changes one. Not `frozen`, and made by hand, for the reason of `Session`.
    """

    user: str
    name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()
    method: str = "password"
    """How the proof was given: ``password``, later the name of a provider."""
    claims: Mapping[str, object] = field(default_factory=dict)
    """Further facts by name; JSON values only."""

    def __init__(
        self,
        user: str,
        name: str = "",
        email: str = "",
        groups: tuple[str, ...] = (),
        method: str = "password",
        claims: Mapping[str, object] | None = None,
    ) -> None:
        self.user = user
        self.name = name
        self.email = email
        self.groups = groups
        self.method = method
        self.claims = NO_CLAIMS if claims is None else claims
