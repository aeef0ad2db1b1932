"""Refusals of connections and of heads that could not be understood: there is no exchange to answer and record them."""

from __future__ import annotations

from typing import Final

from gateway.core import reasons
from gateway.errors import RequestError
from gateway.proxy.plane import Plane
from gateway.proxy.record import access_line, escaped, text_field
from gateway.proxy.telling import NO_ROUTE
from gateway.wire.glimpse import glimpse
from gateway.wire.replies import ALLOWED

RETRY: Final = (b"Retry-After: 5",)


def bad_head_response(plane: Plane, peer: str, head: bytes, error: RequestError) -> bytes:
    """Return the response to a head that could not be understood, and record it; ``head`` is as much as has come."""
    extra = ALLOWED if error.status == 405 else ()
    return _refusal(plane, peer, head, error.status, str(error), error.reason, extra)


def busy_response(plane: Plane, peer: str) -> bytes:
    """Return the 503 for a connection over the limit, and record it."""
    return _refusal(plane, peer, b"", 503, "too many connections", reasons.TOO_MANY_CONNECTIONS, RETRY)


def _refusal(
    plane: Plane, peer: str, head: bytes, status: int, detail: str, reason: str, extra: tuple[bytes, ...]
) -> bytes:
    reason = reason or reasons.of_status(status)
    request_id = plane.next_request_id()
    extra = (*extra, plane.refuse(NO_ROUTE, reason))
    data = plane.answers.answer(status, None, request_id, plane.http_date, close=True, extra=extra)
    if plane.access_log is not None:
        method, host, path = glimpse(head)
        plane.access_log.write(
            access_line(
                plane.clock.stamp(plane.wall_clock()),
                peer,
                escaped(method) or "-",
                escaped(host),
                path,
                status,
                len(data),
                0.0,
                None,
                "",
                NO_ROUTE,
                request_id.decode("ascii"),
                detail,
                text_field("reason", reason),
            )
        )
    return data
