"""The admin API: list the sessions of a user, end one, all of a user, or everybody's."""

from __future__ import annotations

import asyncio
import logging
import re

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from gateway.control.admin_access import peer_of, refusal
from gateway.control.answers import because, exact_time, json_answer, problem
from gateway.control.middleware import RETRY_SECONDS
from gateway.control.parts import AdminParts
from gateway.core import reasons
from gateway.core.audit import TEXT_CHARACTERS, AuditEvent, AuditKind
from gateway.core.session import SessionSummary
from gateway.errors import StoreUnavailable
from gateway.sessions.store import can_list

PREFIX = "/api/"
BY = "admin API"
STORE_SECONDS = 20.0
"""How long the session store may take for one call of the API."""
_HANDLE = re.compile(r"[0-9a-f]{32}")
_log = logging.getLogger("gateway.control")


class AdminApi:
    """The answers under ``/api``."""

    def __init__(self, parts: AdminParts) -> None:
        self._parts = parts

    async def list_sessions(self, request: web.Request) -> web.Response:
        """List the sessions of a user, newest first."""
        user = _user(request)
        store = self._parts.store()
        found = await store.list(user)
        return json_answer(
            {"user": user, "listable": can_list(store), "sessions": [_as_json(entry) for entry in found]}
        )

    async def end_one(self, request: web.Request) -> web.Response:
        """End one session of a user."""
        user, handle = _user(request), request.match_info["handle"]
        store = self._parts.store()
        if not can_list(store):
            return problem(request, 409, "Sessions in cookies cannot be ended one by one: end all of the user.")
        found = next((entry for entry in await store.list(user) if entry.handle == handle), None)
        if found is None or not _HANDLE.fullmatch(handle):
            return problem(request, 404, "This user has no such session.")
        await store.revoke(found)
        self._report(request, "session_ended", user, session=handle, reason=found.device)
        return json_answer({"ended": 1})

    async def end_many(self, request: web.Request) -> web.Response:
        """End all sessions of a user, or of everybody."""
        if "everybody" in request.query:
            return await self._end_everybody(request)
        user = _user(request)
        store = self._parts.store()
        ended = len(await store.list(user)) if can_list(store) else None
        # Also where none is listed: what was ended must be over, whatever a list has missed.
        await store.revoke_user(user, self._parts.clock())
        self._report(request, "sessions_ended", user, ended=ended or 0, reason="all of the user")
        return json_answer({"ended": ended})

    async def _end_everybody(self, request: web.Request) -> web.Response:
        if list(request.query.items()) != [("everybody", "true")]:
            raise web.HTTPBadRequest(text="To end all sessions of everybody, send ?everybody=true and nothing else.")
        await self._parts.store().revoke_all(self._parts.clock())
        self._report(request, "sessions_ended", "", reason="everybody")
        return json_answer({"ended": None})

    def _report(
        self, request: web.Request, kind: AuditKind, user: str, *, reason: str, session: str = "", ended: int = 0
    ) -> None:
        event = AuditEvent(
            kind,
            user=user,
            client=peer_of(request),
            by=BY,
            session=session,
            ended=ended,
            reason=reason,
            user_agent=request.headers.get("User-Agent", ""),
            time=self._parts.clock(),
        )
        self._parts.audit(event)

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may use the API, and answer every error of it as a problem."""
        if not request.path.startswith(PREFIX):
            return await handler(request)
        if refused := refusal(request, self._parts.token()):
            self._report(request, "admin_refused", "", reason=refused.reason)
            response = because(problem(request, refused.status, f"Refused: {refused.reason}."), reasons.ADMIN_ACCESS)
            if refused.challenge:
                response.headers[hdrs.WWW_AUTHENTICATE] = refused.challenge
            return response
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await handler(request)
        except web.HTTPException as error:
            return _from_aiohttp(request, error)
        except (StoreUnavailable, TimeoutError) as error:
            _log.error("admin API: the session store failed: %r", error)
            response = problem(request, 503, "The session store does not work; nothing is known about what was ended.")
            response.headers[hdrs.RETRY_AFTER] = str(RETRY_SECONDS)
            return because(response, reasons.STORE_DOWN)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the addresses of the API."""
        router.add_get("/api/sessions", self.list_sessions, allow_head=False)
        router.add_delete("/api/sessions", self.end_many)
        router.add_delete("/api/sessions/{handle}", self.end_one)


def _user(request: web.Request) -> str:
    """Return the user that is asked about. Raises HTTPBadRequest unless there is exactly one, and nothing else."""
    values = request.query.getall("user", [])
    name = values[0] if len(values) == 1 and len(request.query) == 1 else ""
    if not name or len(name) > TEXT_CHARACTERS or not name.isprintable():
        raise web.HTTPBadRequest(text="Name one user, as ?user=alice, and nothing else.")
    return name


def _as_json(entry: SessionSummary) -> dict[str, object]:
    return {
        "handle": entry.handle,
        "user": entry.user,
        "created": exact_time(entry.created),
        "last_seen": exact_time(entry.seen),
        "expires": exact_time(entry.expires),
        "remembered": entry.remembered,
        "address": entry.address,
        "device": entry.device,
    }


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> web.Response:
    known = {400: error.text, 404: "There is no such address."}
    response = problem(request, error.status, known.get(error.status) or error.reason)
    if allow := error.headers.get(hdrs.ALLOW):
        response.headers[hdrs.ALLOW] = allow
    return response
