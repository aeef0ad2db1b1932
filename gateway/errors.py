"""Every error the gateway raises on purpose: whose fault it is, and what to answer.

Texts that reach a client are fixed per status; what is said here goes to the log.
"""

from __future__ import annotations

from dataclasses import dataclass


class GatewayError(Exception):
    """The base of all errors raised on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file the operator wrote."""

    where: str
    """``gateway.yaml:12:5``, or the file's name where no line is known."""
    key: str
    """The path of the key, as ``routes[1].upstream``; empty for the whole file."""
    text: str
    """What is wrong, and what would be right."""

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.text}" if self.key else f"{self.where}: {self.text}"


class ConfigError(GatewayError):
    """The configuration cannot be used; ``problems`` holds everything that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class RequestError(GatewayError):
    """The client's fault: the request is answered with ``status`` and its connection closed."""

    def __init__(self, status: int, detail: str, reason: str = "") -> None:
        """``reason`` is a code of `core.reasons`; empty for that of the status."""
        super().__init__(detail)
        self.status = status
        self.reason = reason


class SessionError(GatewayError):
    """No session can be had for a token."""


class BadToken(SessionError):
    """The token is forged, expired, revoked or of another purpose: the caller has no session."""


class IdleSession(BadToken):
    """The session was not used for too long; it was neither revoked nor has it reached its absolute end."""


class SessionTooLarge(SessionError):
    """The sealed session does not fit into the cookie budget; a server-side store would hold it."""


class StoreUnavailable(SessionError):
    """The store failed, so nothing is known about the session: 503, the cookie stays."""


class UpstreamError(GatewayError):
    """The upstream's fault: answered with ``status`` (502, 503 or 504).

    ``sent`` tells whether a byte of the request may have reached the upstream.
    """

    def __init__(self, status: int, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.status = status
        self.sent = sent


class LoginError(GatewayError):
    """A login that did not succeed."""


class BadCredentials(LoginError):
    """Unknown user, wrong password or disabled account: the answer never says which."""


class LoginBusy(LoginError):
    """More passwords wait to be checked than can be soon: 503, and nothing is known about the login."""


class TooManyAttempts(LoginError):
    """Throttled; may be tried again after ``retry_after`` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts, retry after {retry_after} s")
        self.retry_after = retry_after


class ProviderDown(LoginError):
    """An identity provider cannot be reached, or gave no valid answer: answered with ``status`` (502 or 503)."""

    def __init__(self, detail: str, status: int = 502) -> None:
        super().__init__(detail)
        self.status = status


class LoginRefused(LoginError):
    """What came back from an identity provider is no login that we accept; the text is for the log alone."""


class GrantOver(LoginRefused):
    """A provider takes a code or refresh token no more (RFC 6749 §5.2, ``invalid_grant``)."""


class LoginDenied(LoginRefused):
    """The provider said who it is, or that there is nobody: the login itself was sound, but is not let in."""


class LoginTooWeak(LoginDenied):
    """The provider said who it is, but they logged in there in another way, or longer ago, than was asked for."""
