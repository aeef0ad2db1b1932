"""The gateway's own answers: a page for browsers, ``application/problem+json`` (RFC 9457) for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from gateway.core.next_url import MAX_LENGTH, way_back
from gateway.wire.forward import REASONS, STATUS_LINES
from gateway.wire.head import RequestHead

REQUEST_ID_MARK: Final = b"@REQUEST_ID@"
ALLOWED: Final = (b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",)
"""What goes with a 405 (RFC 9110 §15.5.6)."""

DETAILS: Final = {
    400: "The request is not valid HTTP, or could be read in two ways.",
    401: "This needs a login.",
    403: "You are logged in, but this is not open to you.",
    404: "Nothing is served here.",
    405: "This method is not served.",
    408: "The request took too long to arrive.",
    413: "The request is larger than this app takes.",
    414: "The address is too long.",
    415: "An encoded body is not taken here.",
    417: "Only the expectation 100-continue is known.",
    421: "This gateway does not serve that host.",
    426: "WebSocket version 13 is needed.",
    429: "Too many attempts. Try again later.",
    431: "The request's headers are too large.",
    500: "The gateway failed. The log has the details.",
    501: "This transfer coding or method is not known here.",
    502: "The app cannot be reached, or gave no valid answer.",
    503: "Too busy, or not ready. Try again in a moment.",
    504: "The app did not answer in time.",
    505: "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
    508: "This request came back to the gateway that sent it.",
}


@dataclass(frozen=True, slots=True)
class OwnAnswers:
    """Builds the gateway's own answers from pages rendered at the start."""

    pages: Mapping[int, bytes] = field(default_factory=dict)
    csp: str = "default-src 'none'"

    def answer(
        self,
        status: int,
        request: RequestHead | None,
        request_id: bytes,
        date: bytes,
        *,
        close: bool,
        extra: tuple[bytes, ...] = (),
    ) -> bytes:
        """Return the whole answer; ``request`` is None where its head could not be understood."""
        if status == 204:
            lines = [STATUS_LINES[204], b"Date: " + date, b"X-Request-Id: " + request_id, *extra]
            return b"\r\n".join(lines) + (b"\r\nConnection: close" if close else b"") + b"\r\n\r\n"
        page = self.pages.get(status) if request is not None and wants_page(request) else None
        if page is not None:
            body = page.replace(REQUEST_ID_MARK, request_id)
            kind = b"text/html; charset=utf-8"
        else:
            body = _problem(status, request_id, extra)
            kind = b"application/problem+json"
        lines = [
            STATUS_LINES[status],
            b"Content-Type: " + kind,
            b"Content-Length: %d" % len(body),
            b"Date: " + date,
            b"Cache-Control: no-store",
            b"X-Content-Type-Options: nosniff",
            b"Content-Security-Policy: " + self.csp.encode("ascii"),
            b"Referrer-Policy: same-origin",
            b"X-Request-Id: " + request_id,
            *extra,
        ]
        if close:
            lines.append(b"Connection: close")
        elif request is not None and not request.version:
            lines.append(b"Connection: keep-alive")
        if request is not None and request.wants_no_body():
            body = b""
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _problem(status: int, request_id: bytes, extra: tuple[bytes, ...]) -> bytes:
    problem = {
        "type": "about:blank",
        "title": REASONS.get(status, b"Error").decode("ascii"),
        "status": status,
        "detail": DETAILS.get(status, ""),
        "request_id": request_id.decode("ascii"),
    }
    for line in extra:
        if line.startswith(b"X-Gateway-Login: "):
            problem["login"] = line.partition(b": ")[2].decode("ascii")
    return json.dumps(problem).encode("utf-8") + b"\n"


def wants_page(request: RequestHead) -> bool:
    """Tell whether a person's browser navigates (Fetch Metadata; else a GET that accepts HTML)."""
    mode = request.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate"
    if request.method not in ("GET", "HEAD") or request.get(b"sec-fetch-dest") or request.get(b"sec-fetch-site"):
        return False
    return b"text/html" in (request.get(b"accept") or b"").lower()


def login_url(request: RequestHead, login_page: str, scheme: str, limit: int, step_up: str = "") -> bytes:
    """Return where a login starts that comes back to the request; absolute if the page is elsewhere.

    ``limit`` is what targets may measure here: a query that makes the address longer is not kept, for nobody
    could log in. ``step_up`` names what the login must be like, if anything.
    """
    asked = f"&step_up={step_up}" if step_up else ""
    origin = ""
    if login_page.startswith("http"):
        origin = f"{scheme}://{(request.host_value or b'').decode('ascii')}"
    target = request.target.decode("ascii")
    url = _login_address(login_page, origin + target, asked)
    if len(url) > limit or len(origin) + len(target) > MAX_LENGTH:
        room, most = MAX_LENGTH - len(origin), limit
        way = way_back(
            target,
            lambda path: len(path) <= room and len(_login_address(login_page, origin + path, asked)) <= most,
        )
        url = _login_address(login_page, origin + way, asked)
    return url.encode("ascii")


def _login_address(login_page: str, here: str, asked: str) -> str:
    return f"{login_page}?next={quote(here, safe='/')}{asked}"
