"""Answers of the control plane: pages, problems, redirects."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import hdrs, web
from markupsafe import escape

from gateway.control.facts import is_navigation, request_id_of
from gateway.control.pages import REQUEST_ID_MARK, error_page
from gateway.core.reasons import HEADER

DETAILS = {
    400: "What was sent cannot be understood here.",
    403: "This is not open to you.",
    404: "Nothing is served here.",
    405: "This method is not served here.",
    413: "What was sent is too large.",
    415: "This takes a plain form and nothing else.",
    500: "The gateway failed. The log has the details.",
    503: "Too busy, or not ready. Try again in a moment.",
}
"""What problems say unless there is more to say; Python's own texts differ from version to version."""


def page(html: str, status: int = 200, *, csp: str = "", retry_after: int | None = None) -> web.Response:
    """Return a page; ``csp`` in place of the policy for pages without a form."""
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: "text/html; charset=utf-8"}
    if csp:
        headers["Content-Security-Policy"] = csp
    if retry_after is not None:
        headers[hdrs.RETRY_AFTER] = str(retry_after)
    # aiohttp hands on header bytes that are not UTF-8 as lone surrogates.
    return web.Response(body=html.encode("utf-8", "replace"), status=status, headers=headers)


def redirect(location: str, status: int = 303) -> web.Response:
    """Return a redirect to a checked location; 303 makes it a GET."""
    return web.Response(status=status, headers={hdrs.LOCATION: location})


def problem(request: web.Request, status: int, detail: str, **members: object) -> web.Response:
    """Return a problem for programs (RFC 9457)."""
    fields = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id_of(request),
        **members,
    }
    body = json.dumps(fields).encode("ascii") + b"\n"
    return web.Response(body=body, status=status, headers={hdrs.CONTENT_TYPE: "application/problem+json"})


def because(response: web.Response, reason: str) -> web.Response:
    """Return a refusal that names its reason, one of `core.reasons.REFUSALS`, for log and counters too."""
    response.headers[HEADER] = reason
    return response


def json_answer(fields: object) -> web.Response:
    """Return a value as JSON."""
    body = json.dumps(fields, ensure_ascii=False).encode("utf-8") + b"\n"
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: "application/json"})


def exact_time(seconds: float) -> str:
    """Return a time as RFC 3339 has it, in UTC, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def failure(request: web.Request, status: int, detail: str = "") -> web.Response:
    """Return an error as whoever asked can read it: a page or a problem."""
    if is_navigation(request):
        html = error_page(status, detail=detail).decode("utf-8")
        return page(html.replace(REQUEST_ID_MARK, str(escape(request_id_of(request)))), status)
    return problem(request, status, detail or DETAILS.get(status, ""))
