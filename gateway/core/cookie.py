"""The gateway's own cookies: their names, attributes, splitting and budget (RFC 6265bis).

Reading cookies out of a request is `wire.cookies`; this is what is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from gateway.errors import SessionTooLarge

PART_BYTES: Final = 3800
"""Value bytes in one cookie: browsers drop one whose name and value exceed 4096 (RFC 6265bis §5.6)."""
MAX_PARTS: Final = 8
MAX_AGE_CAP: Final = 400 * 86400
"""Browsers cap lifetimes at 400 days (RFC 6265bis §5.5)."""


@dataclass(frozen=True, slots=True)
class CookiePolicy:
    """How one of the gateway's cookies is written."""

    name: str = "session"
    domain: str | None = None
    path: str = "/"
    same_site: str = "lax"
    secure: bool = True
    http_only: bool = True
    budget: int = 8192
    """Bytes of all parts of the value together."""

    @property
    def full_name(self) -> str:
        """The name with its prefix: ``__Host-`` on https without a domain (RFC 6265bis §4.1.3.2)."""
        if self.name.lower().startswith(("__host-", "__secure-")):
            return self.name
        if self.secure and not self.domain and self.path == "/":
            return f"__Host-{self.name}"
        return f"__Secure-{self.name}" if self.secure else self.name

    def part_name(self, index: int) -> str:
        """Return the name of part ``index``; the first has no number."""
        return f"{self.full_name}_{index}" if index else self.full_name

    def split(self, token: str) -> list[str]:
        """Cut a token into cookie values. One of several parts starts with ``<count>.``.

        Raises SessionTooLarge over the budget.
        """
        if len(token) > self.budget:
            raise SessionTooLarge(f"the sealed session has {len(token)} bytes, over the budget of {self.budget}")
        if len(token) <= PART_BYTES:
            return [token]
        parts = [token[i : i + PART_BYTES] for i in range(0, len(token), PART_BYTES)]
        if len(parts) > MAX_PARTS:
            raise SessionTooLarge(f"the sealed session needs {len(parts)} cookies, over the limit of {MAX_PARTS}")
        return [f"{len(parts)}.{parts[0]}", *parts[1:]]

    def set(self, token: str, *, max_age: int | None, now: float) -> list[str]:
        """Return the Set-Cookie values that store ``token``; ``max_age`` None for a browser session."""
        lifetime = ""
        if max_age is not None:
            max_age = min(max_age, MAX_AGE_CAP)
            lifetime = f"; Max-Age={max_age}; Expires={formatdate(now + max_age, usegmt=True)}"
        return [f"{self.part_name(i)}={part}{lifetime}{self._attributes()}" for i, part in enumerate(self.split(token))]

    def clear(self, parts: int = 1) -> list[str]:
        """Return the Set-Cookie values that remove the first ``parts`` cookies.

        The attributes are repeated, for a ``__Host-`` cookie is not removed without ``Secure``.
        """
        gone = "=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        return [f"{self.part_name(i)}{gone}{self._attributes()}" for i in range(max(1, parts))]

    def _attributes(self) -> str:
        return (
            f"; Path={self.path}"
            + (f"; Domain={self.domain}" if self.domain else "")
            + ("; Secure" if self.secure else "")
            + ("; HttpOnly" if self.http_only else "")
            + f"; SameSite={self.same_site.capitalize()}"
        )
