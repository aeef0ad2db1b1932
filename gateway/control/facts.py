"""What the data plane tells about a request in headers of its own, and what browsers tell about theirs.

The data plane removes whatever a client sends under these names, so they are believed here. The
session's cookie is not read on this side at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from aiohttp import web

from gateway.core.audit import AuditEvent, AuditKind
from gateway.core.own_pages import LOGIN_PATH, OIDC_PATH
from gateway.core.peer import parse_address
from gateway.core.policy import Address

SESSION_HEADER = "X-Gateway-Session"
SESSION_COOKIES_HEADER = "X-Gateway-Session-Cookies"
"""Says ``ambiguous`` where two session cookies came that are both the gateway's own, so that none counts."""

REMEMBER = "remember"
"""The parameter of an address, and the field of the login form, by which somebody chooses to be remembered."""

_OWS = b" \t"


def client_of(request: web.Request) -> Address | None:
    """Return the client's address; None where a trusted proxy in front does not name it."""
    return parse_address(request.headers.get("X-Forwarded-For", ""))


def counted_address(request: web.Request) -> Address | None:
    """Return the address by which attempts are counted: the client's, or that of the proxy that does not name it."""
    return parse_address(request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip())


def scheme_of(request: web.Request) -> str:
    """Return ``https`` or ``http``."""
    return "https" if request.headers.get("X-Forwarded-Proto") == "https" else "http"


def host_of(request: web.Request) -> str:
    """Return host and port as the browser named them, in lower case."""
    return request.headers.get("Host", "").lower()


def host_name(authority: str) -> str:
    """Return a host without its port, in lower case; an IPv6 address keeps its brackets."""
    name = authority.lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def cookie_domains(host: str) -> list[str]:
    """Return the domains whose cookies a browser sends to a host: its own and those above it, no top-level one."""
    if host.startswith("[") or parse_address(host) is not None:
        return []
    labels = host.split(".")
    return [".".join(labels[start:]) for start in range(len(labels) - 1)]


def has_ambiguous_cookies(request: web.Request) -> bool:
    """Tell whether two session cookies of the gateway's own came, of which none counts."""
    return request.headers.get(SESSION_COOKIES_HEADER) == "ambiguous"


def request_id_of(request: web.Request) -> str:
    """Return the request's id, as it is in the access log."""
    return request.headers.get("X-Request-Id", "")


def own_cookie(request: web.Request, name: bytes) -> bytes | None:
    """Return the value of one of our own cookies, read from the raw bytes.

    Cookies are split at ``;`` only, for aiohttp's own parser can be made to see one inside another's
    value. Two different values are none.
    """
    found = {value for key, value in _cookie_pairs(request) if key == name}
    return found.pop() if len(found) == 1 else None


def own_cookies(request: web.Request, prefix: str) -> list[tuple[str, str]]:
    """Return names and values of those of our own cookies whose names begin with ``prefix``."""
    start = prefix.encode("ascii")
    found = (pair for pair in _cookie_pairs(request) if pair[0].startswith(start))
    return [(name.decode("ascii", "replace"), value.decode("ascii", "replace")) for name, value in found]


def _cookie_pairs(request: web.Request) -> Iterator[tuple[bytes, bytes]]:
    for field, line in request.raw_headers:
        if field.lower() == b"cookie":
            for piece in line.split(b";"):
                key, equals, value = piece.strip(_OWS).partition(b"=")
                if equals:
                    yield key, value


def is_navigation(request: web.Request) -> bool:
    """Tell whether a browser is about to show the answer; programs get JSON.

    Browsers say so in Sec-Fetch-Mode, but on https and loopback only; elsewhere Accept tells.
    """
    if mode := request.headers.get("Sec-Fetch-Mode"):
        return mode == "navigate"
    if any(name.lower().startswith("sec-fetch-") for name in request.headers):
        return False
    return request.method in ("GET", "HEAD", "POST") and "text/html" in request.headers.get("Accept", "")


def is_page_load(request: web.Request) -> bool:
    """Tell whether a browser says that it is about to show the answer in a tab; programs never say that."""
    headers = request.headers
    return headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"


def login_path(next_url: str, step_up: str = "") -> str:
    """Return the path of the login page that leads on to ``next_url``; ``step_up`` names what asks for more."""
    return f"{LOGIN_PATH}?next={quote(next_url, safe='/')}{_asked(step_up)}"


def start_path(provider: str, next_url: str, step_up: str = "", remember: bool | None = None) -> str:
    """Return where a login at a provider begins that leads on to ``next_url``.

    ``remember`` is what was chosen, None where nothing was.
    """
    chosen = "" if remember is None else f"&{REMEMBER}={int(remember)}"
    more = f"?next={quote(next_url, safe='/')}{_asked(step_up)}{chosen}" if next_url or step_up or chosen else ""
    return f"{OIDC_PATH}/{provider}/start{more}"


def _asked(step_up: str) -> str:
    return f"&step_up={quote(step_up)}" if step_up else ""


def chosen_to_remember(request: web.Request) -> bool | None:
    """Return what an address says of being remembered, None where it says nothing; what is no clear yes is a no."""
    said = request.query.getall(REMEMBER, [])
    return said == ["1"] if said else None


def audit_event(
    request: web.Request,
    kind: AuditKind,
    now: float,
    *,
    user: str = "",
    reason: str = "",
    session: str = "",
    by: str = "",
    ended: int = 0,
) -> AuditEvent:
    """Return an event about what a client did; ``session`` is a handle."""
    return AuditEvent(
        kind,
        user=user,
        client=str(client_of(request) or ""),
        reason=reason,
        session=session,
        by=by,
        ended=ended,
        request_id=request_id_of(request),
        user_agent=request.headers.get("User-Agent", ""),
        time=now,
    )
