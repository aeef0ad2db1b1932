"""Users of the test gateways. Their hashes have the cheapest parameters, only for testing."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id


@dataclass(frozen=True)
class User:
    """One entry of the users file, and the password that belongs to it."""

    user: str
    password: str
    name: str
    groups: tuple[str, ...] = ()
    disabled: bool = False
    memory: int = 64
    """KiB; the gateway's own hashes use far more."""
    rounds: int = 1

    @property
    def email(self) -> str:
        """The address of the user."""
        return f"{self.user}@example.com"

    def entry(self) -> dict[str, object]:
        """Return the entry for the users file (DESIGN: users.yaml)."""
        kdf = Argon2id(
            salt=self.user.encode().ljust(16, b"."), length=32, iterations=self.rounds, lanes=1, memory_cost=self.memory
        )
        return {
            "password": kdf.derive_phc_encoded(self.password.encode()),
            "name": self.name,
            "email": self.email,
            "groups": list(self.groups),
            "disabled": self.disabled,
        }


ALICE = User("alice", "correct horse 1", "Alice Liddell", ("staff", "wiki"))
BOB = User("bob", "battery staple 2", "Bob Builder")
ADMIN = User("admin", "tr0ub4dor & 3", "Ada Min", ("admins", "staff"))
CAROL = User("carol", "carol's secret 4", "Carol Gone", disabled=True)
EVERYBODY = (ALICE, BOB, ADMIN, CAROL)
