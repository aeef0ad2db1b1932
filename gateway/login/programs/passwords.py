"""HTTP Basic with the passwords of local users (RFC 7617), throttled as logins are.

A password that was right is remembered for a minute, as a keyed hash in memory: to hash it as the
users file does takes a tenth of a second on purpose, which is not for every request.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace

from gateway.core.audit import AuditEvent
from gateway.core.peer import parse_address
from gateway.core.programs import BASIC, Credential, Verified
from gateway.errors import BadCredentials, LoginBusy
from gateway.login.method import LoginMethod
from gateway.login.programs.source import LOCAL_SECONDS, Remembered, Vouched
from gateway.login.throttle import Attempt, LoginThrottle, client_network


class PasswordSource:
    """The local users. A `Source`."""

    kind = "basic"

    def __init__(
        self,
        login: LoginMethod,
        throttle: LoginThrottle,
        audit: Callable[[AuditEvent], None],
        clock: Callable[[], float],
    ) -> None:
        self._login = login
        self._throttle = throttle
        self._audit = audit
        self._clock = clock
        self._right = Remembered(clock)

    def takes(self, credential: Credential) -> bool:
        """Tell whether it is Basic."""
        return credential.scheme == "basic"

    async def verify(self, credential: Credential) -> Verified:
        """Return the user. Raises BadCredentials, LoginBusy or TooManyAttempts."""
        user, password = user_and_password(credential.text)

        async def ask() -> Vouched:
            return await self._check(user, password, credential.client)

        known = await self._right.get(f"{user}\0{password}", ask)
        return Verified(known.identity, BASIC, self._clock(), known.until)

    async def _check(self, user: str, password: str, client: str) -> Vouched:
        ticket = await self._throttle.begin(Attempt(user, client_network(parse_address(client))))
        try:
            identity = await self._login.verify(user, password)
        except LoginBusy:
            await self._throttle.abandoned(ticket)
            raise
        except BadCredentials as error:
            now = self._clock()
            self._audit(AuditEvent("login_failed", user=user, client=client, reason=f"{error} (Basic)", time=now))
            raise
        await self._throttle.succeeded(ticket)
        return Vouched(replace(identity, method=BASIC), self._clock() + LOCAL_SECONDS)

    async def start(self) -> None:
        """Do nothing: who made the login starts it."""

    async def close(self) -> None:
        """Do nothing."""

    def forget(self) -> None:
        """Look at every password again."""
        self._right.forget()


def user_and_password(text: str) -> tuple[str, str]:
    """Return what Basic credentials hold (RFC 7617 §2). Raises BadCredentials for anything else."""
    try:
        pair = b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise BadCredentials("Basic credentials that are not base64 of UTF-8") from None
    user, colon, password = pair.partition(":")
    if not colon or not user or not user.isprintable() or any(sign < " " or sign == "\x7f" for sign in password):
        raise BadCredentials("Basic credentials without a user, or with control characters")
    return user, password
