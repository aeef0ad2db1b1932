"""The gateway's own cookies: their names, attributes, splitting and budget (RFC 6265bis).

Reading cookies out of a request is `wire.cookies`; this is what is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Final

from gateway.errors import SessionTooLarge

PART_BYTES: Final = 3800
"""Value bytes in one cookie: browsers drop one whose name and value exceed 4096 (RFC 6265bis §5.6)."""
MAX_PARTS: Final = 8
MAX_AGE_CAP: Final = 400 * 86400
"""Browsers cap lifetimes at 400 days (RFC 6265bis §5.5)."""
BROWSER_COOKIE: Final = "gateway_browser"
"""Binds forms to the browser that got them."""
LOGINS_COOKIE: Final = "gateway_logins"
"""Holds logins in progress at identity providers."""
TRANSFERRED_COOKIE: Final = "gateway_handed_over"
"""Counts session transfers to one host."""
TRANSFER_COOKIE_START: Final = "gateway_handover_"
"""Begins the names of the cookies of session transfers in progress; what follows has the form of `is_transfer_rest`."""
HELPER_COOKIES: Final = (BROWSER_COOKIE, LOGINS_COOKIE, TRANSFERRED_COOKIE)
"""What the control plane keeps in browsers beside the session, under fixed names."""
_HEX: Final = frozenset("0123456789abcdef")


def is_transfer_rest(rest: str) -> bool:
    """Tell whether this follows `TRANSFER_COOKIE_START` in a name that we give: a time and chance, hexadecimal."""
    time, _, chance = rest.partition("_")
    return 0 < len(time) <= 12 and len(chance) == 8 and _HEX.issuperset(time) and _HEX.issuperset(chance)


@dataclass(frozen=True, slots=True)
class CookiePolicy:
    """How one of the gateway's cookies is written."""

    name: str = "gateway_session"
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

    @property
    def most_parts(self) -> int:
        """Return how many cookies the largest token fills."""
        return min(MAX_PARTS, -(-self.budget // PART_BYTES))

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

    def clear_under(self, domains: Iterable[str | None]) -> list[str]:
        """Return the Set-Cookie values that remove every part of the cookie as set for each domain.

        None stands for the host alone. Browsers ignore those of domains that are not the host's own.
        """
        if self.full_name.startswith("__Host-"):
            # Browsers keep it for the host alone.
            domains = [None]
        policies = [replace(self, name=self.full_name, domain=domain) for domain in domains]
        return [line for policy in policies for line in policy.clear(self.most_parts)]

    def _attributes(self) -> str:
        return (
            f"; Path={self.path}"
            + (f"; Domain={self.domain}" if self.domain else "")
            + ("; Secure" if self.secure else "")
            + ("; HttpOnly" if self.http_only else "")
            + f"; SameSite={self.same_site.capitalize()}"
        )
