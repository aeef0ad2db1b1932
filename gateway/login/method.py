"""What a way to log in by user name and password is. Ways that redirect elsewhere have a shape of their own."""

from __future__ import annotations

from typing import Protocol

from gateway.core.identity import Identity


class LoginMethod(Protocol):
    """Knows who may log in, and how they prove who they are."""

    async def verify(self, user: str, password: str) -> Identity:
        """Return who that is.

        Raises BadCredentials, after the same time and in the same way whatever is wrong, and
        LoginBusy where too many logins are being checked already.
        """
