"""A user of the users file, as a value that the login checks a password against."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.identity import Identity


@dataclass(frozen=True, slots=True)
class LocalUser:
    """One entry of the users file."""

    user: str
    password_hash: str = field(repr=False)
    """An argon2id PHC string whose parameters were found to be within bounds."""
    name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()
    disabled: bool = False
    where: str = ""
    """The line of YAML, as ``users.yaml:3:5``."""

    def identity(self) -> Identity:
        """Return who this is, as upstreams get to know it."""
        return Identity(self.user, self.name, self.email, self.groups)
