"""What clients are told that are not let in: little, for they came past the gateway."""

from __future__ import annotations

import json
from dataclasses import dataclass

from gateway_verify.errors import KeysUnavailable, NotVerified

HEADER = "X-Identity-Token"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer (RFC 9457)."""

    status: int
    title: str
    detail: str
    extra: tuple[str, str]

    def body(self) -> bytes:
        """Return the body."""
        fields = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        return json.dumps(fields).encode("ascii") + b"\n"

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers."""
        length = ("Content-Length", str(len(self.body())))
        return [("Content-Type", "application/problem+json"), length, ("Cache-Control", "no-store"), self.extra]


NOT_LET_IN = Refusal(
    401, "Unauthorized", "This app is reached through its gateway.", ("WWW-Authenticate", "Identity-Token")
)
NO_KEYS = Refusal(503, "Service Unavailable", "The gateway's keys cannot be had.", ("Retry-After", "5"))


def refusal_of(error: NotVerified | KeysUnavailable) -> Refusal:
    """Return what to answer."""
    return NO_KEYS if isinstance(error, KeysUnavailable) else NOT_LET_IN
