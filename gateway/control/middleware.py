"""What holds for every answer of the control plane: errors become pages, headers keep the pages safe."""

from __future__ import annotations

import logging
from dataclasses import replace

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from gateway.control.answers import because, failure
from gateway.control.pages import PAGE_HEADERS
from gateway.control.session_storage import REPLACED
from gateway.control.site import SITE
from gateway.core import reasons
from gateway.core.audit import AuditEvent, AuditKind
from gateway.errors import BadToken, SessionTooLarge, StoreUnavailable

AUDIT = web.RequestKey("audit", AuditEvent)
"""What to report once the session was saved; a failed login in its place if it was not."""
BROWSER = web.RequestKey("browser", bytes)
"""The browser's id, to be set as a cookie with the answer."""
RETRY_SECONDS = 5

_log = logging.getLogger("gateway.control")


@web.middleware
async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request, whatever happens. The outermost middleware."""
    response = await _answer_or_error(request, handler)
    for name, value in PAGE_HEADERS:
        response.headers.setdefault(name, value)
    if response.status >= 400:
        response.headers.setdefault(reasons.HEADER, reasons.of_status(response.status))
    if BROWSER in request:
        site = request.app[SITE]
        response.headers.add(hdrs.SET_COOKIE, site.csrf.set_cookie(request[BROWSER], site.parts.clock()))
    return response


async def _answer_or_error(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        return _from_aiohttp(request, error)
    except (StoreUnavailable, BadToken) as error:
        # A token is bad here where a login met the ending of all its user's sessions: it may be tried again.
        _log.error("a session could not be kept: %s", error)
        _report_failure(request, "the session store failed")
        response = because(failure(request, 503), reasons.STORE_DOWN)
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_SECONDS)
        return response
    except SessionTooLarge as error:
        _log.error("a login failed: %s; set session.store to keep sessions on the server", error)
        _report_failure(request, "the session is too large for cookies")
        return because(failure(request, 500, SESSION_TOO_LARGE), reasons.SESSION_TOO_LARGE)
    except ConnectionError:
        # The client left in the middle of its form: there is nobody to answer, and nothing went wrong.
        return because(failure(request, 400), reasons.INCOMPLETE)
    except Exception:  # noqa: BLE001 - whatever it is, the client gets a page and the log gets the rest
        _log.exception("%s %s failed", request.method, request.path)
        _report_failure(request, "an internal error")
        return failure(request, 500)
    if AUDIT in request:
        _report_success(request, request[AUDIT])
    return response


def _report_success(request: web.Request, event: AuditEvent) -> None:
    parts = request.app[SITE].parts
    if REPLACED in request:
        old = request[REPLACED]
        # Of the same user's earlier login, only the token ends that was shown.
        kind: AuditKind = "session_superseded" if old.user == event.user else "session_ended"
        parts.audit(replace(event, kind=kind, user=old.user, session=old.handle, reason="a new login"))
    parts.audit(event)
    if event.kind == "login":
        parts.logins.count("success")


SESSION_TOO_LARGE = (
    "What this site knows about you does not fit into a cookie. "
    "Whoever runs it has to keep sessions on the server: session.store in the configuration."
)


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> web.Response:
    """Return an answer in place of aiohttp's own texts, which differ from version to version."""
    response = failure(request, error.status)
    if allow := error.headers.get(hdrs.ALLOW):
        response.headers[hdrs.ALLOW] = allow
    return response


def _report_failure(request: web.Request, reason: str) -> None:
    """Report a login that was right but could not be kept; a logout that failed is none."""
    if AUDIT in request and request[AUDIT].kind == "login":
        parts = request.app[SITE].parts
        parts.audit(replace(request[AUDIT], kind="login_failed", reason=reason, session=""))
        parts.logins.count("error")


async def hide_server(_: web.Request, response: web.StreamResponse) -> None:
    """Remove the header in which aiohttp names itself and Python."""
    response.headers.pop(hdrs.SERVER, None)
