"""Durations, sizes, names and texts: from what YAML says to what the program uses, or a Misfit."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from ipaddress import ip_network

from gateway.core.claims import Scalar
from gateway.core.policy import Network
from gateway.settings.misfit import Misfit, not_a

DURATION_UNITS = {
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
SIZE_UNITS = {
    "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "KB": 1000, "kB": 1000, "MB": 1000**2, "GB": 1000**3,
}  # fmt: skip
MAX_DURATION = 3650 * 86400
MAX_SIZE = 1024**5

DURATION_PATTERN = r"[0-9]{1,12}(\.[0-9]{1,3})?(ms|s|m|h|d)"
SIZE_PATTERN = r"[0-9]{1,16}(B|KiB|MiB|GiB|KB|kB|MB|GB)?"
NAME_PATTERN = r"[a-z0-9_-]{1,64}"
METHOD_PATTERN = r"[A-Z0-9!#$%&'*+.^_`|~-]{1,32}"

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,16})(B|KiB|MiB|GiB|KB|kB|MB|GB)?")
_NAME = re.compile(NAME_PATTERN)
_METHOD = re.compile(METHOD_PATTERN)
_EMAIL_LOCAL = re.compile(r"[^\s@\[\]?\"(),:;<>\\]+")

MAX_TEXT = 256
OWN_NAMES = ("gateway", "_gateway")
"""Route names that logs and metrics show for the gateway's own pages."""


def duration(value: object) -> float:
    """Return seconds: ``500ms``, ``5s``, ``30m``, ``12h``, ``30d``."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise not_a("a duration: write 500ms, 5s, 30m, 12h or 30d")
    seconds = Fraction(match[1]) * DURATION_UNITS[match[2]]
    if not 0 < seconds <= MAX_DURATION:
        raise not_a("a duration above zero and up to 3650d")
    return float(seconds)


def duration_or_zero(value: object) -> float:
    """Return seconds, where ``0s`` is allowed too."""
    return 0.0 if value == "0s" else duration(value)


def size(value: object) -> int:
    """Return bytes: ``8KiB``, ``10MB``, ``1048576``."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif match:
        number = int(match[1]) * SIZE_UNITS[match[2] or "B"]
    else:
        raise not_a("a size: write 8KiB, 10MB or a number of bytes")
    if not 0 < number <= MAX_SIZE:
        raise not_a("a size above zero and up to 1048576GiB")
    return number


def duration_text(seconds: float) -> str:
    """Return a duration as the configuration writes it, in the largest unit without a fraction."""
    if not seconds:
        return "0s"
    exact = Fraction(str(seconds))
    for unit in ("d", "h", "m", "s"):
        count = exact / DURATION_UNITS[unit]
        if count.denominator == 1 and count:
            return f"{count}{unit}"
    return f"{round(exact * 1000)}ms"


def size_text(count: int) -> str:
    """Return a size as the configuration writes it."""
    for unit in ("GiB", "MiB", "KiB"):
        if count % SIZE_UNITS[unit] == 0 and count:
            return f"{count // SIZE_UNITS[unit]}{unit}"
    return str(count)


def text(value: object) -> str:
    """Return a text that may stand in a page, a log line or a header."""
    if not isinstance(value, str):
        raise Misfit("should be text; put it in quotes")
    if not value or len(value) > MAX_TEXT or not value.isprintable() or value != value.strip():
        raise Misfit(f"should have 1 to {MAX_TEXT} characters, no control characters, and no space at its ends")
    return value


def optional_text(value: object) -> str:
    """Return the same, or the empty text."""
    return "" if value == "" else text(value)


def user_name(value: object) -> str:
    """Return the name of a user."""
    return text(value)


def group_name(value: object) -> str:
    """Return the name of a group; a comma would make two groups of it in a header."""
    name = text(value)
    if "," in name:
        raise not_a("the name of a group: a comma is not allowed in it")
    return name


def route_name(value: object) -> str:
    """Return the name of a route, as logs and metrics show it."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise not_a("a name: write a to z, 0 to 9, - and _, 64 at most")
    if value in OWN_NAMES:
        raise Misfit(f'"{value}" is the name of the gateway\'s own pages; choose another')
    return value


def method(value: object) -> str:
    """Return a request method; they are case-sensitive (RFC 9110 §9.1)."""
    if isinstance(value, str) and _METHOD.fullmatch(value):
        return value
    if isinstance(value, str) and value.isascii() and _METHOD.fullmatch(value.upper()):
        raise not_a(f"a method in upper case: write {value.upper()}")
    raise not_a("a method: write GET, POST and so on")


def network(value: object) -> Network:
    """Return a network: ``10.0.0.0/8``, ``2001:db8::/32``, or one address."""
    expected = "a network: write 10.0.0.0/8, 2001:db8::/32 or one address"
    if not isinstance(value, str):
        raise not_a(expected)
    try:
        found = ip_network(value, strict=False)
    except ValueError:
        raise not_a(expected) from None
    try:
        ip_network(value)
    except ValueError:
        raise not_a(f"a network, for bits are set behind its prefix: write {found}") from None
    if found.version == 6 and found.network_address.ipv4_mapped:
        raise not_a("a network as it is met here: write it as an IPv4 network")
    return found


def email(value: object) -> str:
    """Return the address of a user, in lower case, or the empty text."""
    if value == "":
        return ""
    expected = "an address: write alice@example.com"
    local, domain = _email_parts(value, expected)
    if "*" in local or "*" in domain:
        raise not_a(expected)
    return f"{local}@{domain}"


def provider_name(value: object) -> str:
    """Return the name of a way to log in."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise not_a("a way to log in: write password, or the id of a provider")
    return value


def claim_value(value: object) -> Scalar:
    """Return a value that a claim may have: text, a number or a truth value, which are never the same."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise not_a("the value of a claim: write text, a number, true or false")


def email_pattern(value: object) -> str:
    """Return an address or a pattern as ``*@example.com``, in lower case.

    In the domain, ``*`` may only stand for whole labels in front: ``*@*example.com`` would admit
    everybody at ``notexample.com``.
    """
    local, domain = _email_parts(value, "an address or pattern: write alice@example.com or *@example.com")
    if "*" in domain.removeprefix("*."):
        raise not_a("a safe pattern: after the @ write a domain, or *. and a domain")
    return f"{local}@{domain}"


def _email_parts(value: object, expected: str) -> tuple[str, str]:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise not_a(expected)
    local, at, domain = value.lower().partition("@")
    if not at or not _EMAIL_LOCAL.fullmatch(local) or not _EMAIL_LOCAL.fullmatch(domain):
        raise not_a(expected)
    return local, domain
