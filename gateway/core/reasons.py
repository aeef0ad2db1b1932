"""Why the gateway refuses, cuts or drops something, as short fixed codes, for log, counters and operators.

The sets are closed: docs/refusals.md lists each code, and a test holds the two together. A code says what was
wrong, never whose request it was, so refusals may name theirs to anybody (``X-Gateway-Reason``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HEADER: Final = "X-Gateway-Reason"

# What is wrong with the request as HTTP.
BAD_REQUEST: Final = "bad_request"
BAD_HEADER: Final = "bad_header"
BAD_FRAMING: Final = "bad_framing"
BAD_HOST: Final = "bad_host"
BAD_PATH: Final = "bad_path"
PATH_AMBIGUOUS: Final = "path_ambiguous"
ENCODED_SLASH: Final = "encoded_slash"
METHOD: Final = "method"
VERSION: Final = "version"
EXPECTATION: Final = "expectation"
ENCODED_BODY: Final = "encoded_body"
WEBSOCKET: Final = "websocket"
LOOP: Final = "loop"
INCOMPLETE: Final = "incomplete"

# Limits.
BODY_TOO_LARGE: Final = "body_too_large"
TARGET_TOO_LONG: Final = "target_too_long"
HEAD_TOO_LARGE: Final = "head_too_large"
TOO_SLOW: Final = "too_slow"
TOO_MANY_CONNECTIONS: Final = "too_many_connections"

# Where it is for.
UNKNOWN_HOST: Final = "unknown_host"
NO_ROUTE: Final = "no_route"
FORWARD_AUTH: Final = "forward_auth"

# Who it is from.
NO_SESSION: Final = "no_session"
STEP_UP: Final = "step_up"
FORBIDDEN: Final = "forbidden"
CREDENTIAL_INVALID: Final = "credential_invalid"
CREDENTIAL_UNVERIFIED: Final = "credential_unverified"
ORIGIN: Final = "origin"
CROSS_SITE: Final = "cross_site"
SERVICE_WORKER: Final = "service_worker"

# What the request needs.
STORE_DOWN: Final = "store_down"
UPSTREAM_UNREACHABLE: Final = "upstream_unreachable"
UPSTREAM_INVALID: Final = "upstream_invalid"
UPSTREAM_BUSY: Final = "upstream_busy"
UPSTREAM_TIMEOUT: Final = "upstream_timeout"
INTERNAL: Final = "internal"

# The gateway's own pages.
CSRF: Final = "csrf"
BAD_CREDENTIALS: Final = "bad_credentials"
THROTTLED: Final = "throttled"
BUSY: Final = "busy"
LOGIN_STALE: Final = "login_stale"
LOGIN_REFUSED: Final = "login_refused"
LOGIN_DENIED: Final = "login_denied"
PROVIDER_DOWN: Final = "provider_down"
TRANSFER_REFUSED: Final = "transfer_refused"
LOGOUT_TOKEN: Final = "logout_token"  # noqa: S105 - a code
SESSION_TOO_LARGE: Final = "session_too_large"
ADMIN_ACCESS: Final = "admin_access"

REFUSALS: Final[Mapping[str, str]] = {
    BAD_REQUEST: "not HTTP/1.1 to the letter: request line, line ends, or a field of a form that came twice",
    BAD_HEADER: "a header line that is none, or a field that may be there once only and was repeated",
    BAD_FRAMING: "Content-Length, Transfer-Encoding or chunks that are odd or contradict each other",
    BAD_HOST: "no Host, two of them, one that is no host, or another one than in the target",
    BAD_PATH: "characters in the target that have to be encoded, bytes that are not UTF-8, or no path at all",
    PATH_AMBIGUOUS: "a path that servers read in several ways, or that leads elsewhere when read in another way",
    ENCODED_SLASH: "%2F or %5C in a path where the route does not say encoded_slashes: pass",
    METHOD: "a method that is not served",
    VERSION: "an HTTP version other than 1.0 and 1.1",
    EXPECTATION: "an Expect other than 100-continue",
    ENCODED_BODY: "a form for the gateway's own pages with a Content-Encoding, or of another type",
    WEBSOCKET: "a WebSocket handshake that is not one of version 13, or where the route has no WebSockets",
    LOOP: "a request that this gateway had sent itself",
    INCOMPLETE: "the client left in the middle of its request body",
    BODY_TOO_LARGE: "a request body over routes[].max_body or limits.body",
    TARGET_TOO_LONG: "a target over limits.target",
    HEAD_TOO_LARGE: "header lines over limits.head, .line, .headers or .cookie",
    TOO_SLOW: "a head over limits.head_time, or a body slower than limits.body_rate and .body_idle_time allow",
    TOO_MANY_CONNECTIONS: "a connection over limits.connections",
    UNKNOWN_HOST: "a host that is neither that of public_url nor of a route",
    NO_ROUTE: "nothing is served under this path",
    FORWARD_AUTH: "forward auth asked for by a peer that is not in forward_auth.from, or about the gateway's own pages",
    NO_SESSION: "nobody is logged in; browsers are led to the login page",
    STEP_UP: "a login that is not what step_up asks for",
    FORBIDDEN: "the rule lets in others",
    CREDENTIAL_INVALID: "a token, key or password of a program that proves nothing",
    CREDENTIAL_UNVERIFIED: "a credential that cannot be verified right now",
    ORIGIN: "a WebSocket from a page of another origin, which is not in routes[].origins",
    CROSS_SITE: "a password that a browser added to the request of another site's page",
    SERVICE_WORKER: "a script for a service worker that would answer in place of the login page",
    STORE_DOWN: "the session store does not answer",
    UPSTREAM_UNREACHABLE: "no connection to the app",
    UPSTREAM_INVALID: "the app gave no valid response",
    UPSTREAM_BUSY: "too many requests for the app at once: limits.upstream_connections, .upstream_waiting",
    UPSTREAM_TIMEOUT: "the app did not respond within routes[].timeout.response",
    INTERNAL: "a fault of the gateway; the log has the details",
    CSRF: "a form that was open for too long, was not ours, or came without the browser's cookie",
    BAD_CREDENTIALS: "a wrong name or password",
    THROTTLED: "too many attempts",
    BUSY: "too many passwords wait to be verified, or the like: try again in a moment",
    LOGIN_STALE: "a login at a provider that is over: used already, too old, or of another browser",
    LOGIN_REFUSED: "what came back from a provider is no login",
    LOGIN_DENIED: "the provider, or its allow, lets the person not in",
    PROVIDER_DOWN: "the identity provider does not answer, or not validly",
    TRANSFER_REFUSED: "a session that was not taken over from another host",
    LOGOUT_TOKEN: "a logout token that is not accepted",
    SESSION_TOO_LARGE: "a session that does not fit into cookies: set session.store",
    ADMIN_ACCESS: "the admin API is not for this caller",
}
"""Codes of refusals with their meanings."""

SESSION_REVOKED: Final = "session_revoked"
SESSION_EXPIRED: Final = "session_expired"
SESSION_IDLE: Final = "idle"
SESSION_UNKNOWN: Final = "session_unknown"
RIGHTS_CHANGED: Final = "rights_changed"
CREDENTIAL_OVER: Final = "credential_over"
RESPONSE_IDLE: Final = "response_idle"
STREAM_IDLE: Final = "stream_idle"
WRITE_STALL: Final = "write_stall"
UPLOAD_SLOW: Final = "upload_slow"
UPLOAD_TOO_LARGE: Final = "upload_too_large"
UPLOAD_INVALID: Final = "upload_invalid"
HALF_CLOSED: Final = "half_closed"
SHUTDOWN: Final = "shutdown"
FAULT: Final = "fault"

CUTS: Final[Mapping[str, str]] = {
    SESSION_REVOKED: "the session was revoked: a logout, an operator, the provider, a changed account",
    SESSION_EXPIRED: "the session reached its absolute end",
    SESSION_IDLE: "an event stream or WebSocket whose session was not used for session.idle",
    SESSION_UNKNOWN: "the session store did not answer for longer than its grace",
    RIGHTS_CHANGED: "the rule does not let the person in any more, or the provider was silent for too long",
    CREDENTIAL_OVER: "the program's credential is good no more, or cannot be verified",
    RESPONSE_IDLE: "the app sent no more of its response for limits.answer_idle_time or .stream_idle_time",
    STREAM_IDLE: "nothing moved on a WebSocket for limits.stream_idle_time",
    WRITE_STALL: "the client took nothing of its response for limits.write_stall_time",
    UPLOAD_SLOW: "a request body slower than limits.body_rate and .body_idle_time allow",
    UPLOAD_TOO_LARGE: "a request body of unknown length that grew over routes[].max_body or limits.body",
    UPLOAD_INVALID: "chunks of a request body that are odd",
    HALF_CLOSED: "a client that closed its sending side, and whose response took longer than 5 s",
    SHUTDOWN: "the gateway stopped, or made way for a reload, and limits.drain_time or .tunnel_drain_time was over",
    FAULT: "a fault of the gateway; the log has the details",
}
"""Why the gateway ended a response, a WebSocket or an upload that was under way, with meanings."""

SET_COOKIE: Final = "set_cookie"
RESPONSE_HEADER: Final = "response_header"
WORKER_ALLOWED: Final = "service_worker_allowed"
IDENTITY_HEADER: Final = "identity_header"

DROPS: Final[Mapping[str, str]] = {
    SET_COOKIE: "responses of which a Set-Cookie was dropped, for its name is one of the gateway's own",
    RESPONSE_HEADER: "responses of which a header was dropped that only the gateway may send",
    WORKER_ALLOWED: "responses whose Service-Worker-Allowed was changed or dropped",
    IDENTITY_HEADER: "requests of which a header was dropped that some app takes for an identity or another path",
}
"""What is dropped from messages that go on, with meanings."""

OF_STATUS: Final[Mapping[int, str]] = {
    400: BAD_REQUEST,
    401: NO_SESSION,
    403: FORBIDDEN,
    404: NO_ROUTE,
    405: METHOD,
    408: TOO_SLOW,
    413: BODY_TOO_LARGE,
    414: TARGET_TOO_LONG,
    415: ENCODED_BODY,
    417: EXPECTATION,
    421: UNKNOWN_HOST,
    426: WEBSOCKET,
    429: THROTTLED,
    431: HEAD_TOO_LARGE,
    500: INTERNAL,
    501: METHOD,
    502: UPSTREAM_INVALID,
    503: BUSY,
    504: UPSTREAM_TIMEOUT,
    505: VERSION,
    508: LOOP,
}
"""What a status means where nothing more is said."""


def of_status(status: int) -> str:
    """Return the code of a refusal that gave none."""
    return OF_STATUS.get(status, BAD_REQUEST if status < 500 else INTERNAL)


CUT_BY_REFUSAL: Final[Mapping[str, str]] = {
    TOO_SLOW: UPLOAD_SLOW,
    BODY_TOO_LARGE: UPLOAD_TOO_LARGE,
    BAD_FRAMING: UPLOAD_INVALID,
    HEAD_TOO_LARGE: UPLOAD_INVALID,
}
"""Why an upload under way was ended, by the code of its refusal."""
