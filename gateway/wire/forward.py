"""What is written: the request head for an upstream, the answer's head for a client."""

from __future__ import annotations

from typing import Final

from gateway.core.header_name import normalised
from gateway.wire.cookies import CookiePicker
from gateway.wire.grammar import OWS, BadSyntax
from gateway.wire.head import AnswerHead, RequestHead

BODILESS: Final = frozenset({204, 205, 304})

REASONS: Final = {
    100: b"Continue", 101: b"Switching Protocols", 102: b"Processing", 103: b"Early Hints", 200: b"OK",
    201: b"Created", 202: b"Accepted", 203: b"Non-Authoritative Information", 204: b"No Content",
    205: b"Reset Content", 206: b"Partial Content", 207: b"Multi-Status", 208: b"Already Reported", 226: b"IM Used",
    300: b"Multiple Choices", 301: b"Moved Permanently", 302: b"Found", 303: b"See Other", 304: b"Not Modified",
    305: b"Use Proxy", 307: b"Temporary Redirect", 308: b"Permanent Redirect", 400: b"Bad Request",
    401: b"Unauthorized", 402: b"Payment Required", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 406: b"Not Acceptable", 407: b"Proxy Authentication Required",
    408: b"Request Timeout", 409: b"Conflict", 410: b"Gone", 411: b"Length Required", 412: b"Precondition Failed",
    413: b"Content Too Large", 414: b"URI Too Long", 415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable", 417: b"Expectation Failed", 418: b"I'm a teapot", 421: b"Misdirected Request",
    422: b"Unprocessable Content", 423: b"Locked", 424: b"Failed Dependency", 425: b"Too Early",
    426: b"Upgrade Required", 428: b"Precondition Required", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 451: b"Unavailable For Legal Reasons", 500: b"Internal Server Error",
    501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported", 506: b"Variant Also Negotiates", 507: b"Insufficient Storage",
    508: b"Loop Detected", 511: b"Network Authentication Required",
}  # fmt: skip

STATUS_LINES: Final = {s: b"HTTP/1.1 %d %b" % (s, REASONS.get(s, b"Unknown")) for s in range(100, 600)}
"""Own reason phrases: an upstream's may hold anything."""


def request_head(
    head: RequestHead, lines: list[bytes], target: bytes, host: bytes, cookie: bytes, added: bytes, websocket: bool
) -> bytes:
    """Return the head to send upstream.

    ``lines`` are the client's, ``added`` what only the gateway may say: forwarded, identity, request id.
    """
    parts = [b"%b %b HTTP/1.1\r\nHost: %b" % (head.method.encode("ascii"), target, host), *lines]
    if cookie:
        parts.append(b"Cookie: " + cookie)
    if head.unusual:
        if head.chunked:
            parts.append(b"Transfer-Encoding: chunked")
        elif head.content_length is not None:
            parts.append(b"Content-Length: %d" % head.content_length)
        if head.expect and head.version:
            parts.append(b"Expect: 100-continue")
        if websocket:
            parts.append(b"Upgrade: websocket\r\nConnection: Upgrade")
    parts.append(added)
    parts.append(b"\r\n")
    return b"\r\n".join(parts)


class AnswerFraming:
    """How an answer's body goes to the client."""

    __slots__ = ("body_follows", "chunked_out", "close", "lines", "reusable", "size")

    def __init__(self, answer: AnswerHead, request: RequestHead, close: bool) -> None:
        self.close = close
        """Whether this answer is the connection's last."""
        self.chunked_out = False
        self.size: int | None = 0
        """Bytes of the body that follows, if that is known beforehand."""
        self.lines: list[bytes] = []
        status = answer.status
        self.body_follows = not (request.method == "HEAD" or status in BODILESS or status < 200)
        self.reusable = self.body_follows or ends_with_its_head(answer)
        """Whether the upstream's connection may carry another request.

        A body that was announced where none may follow could come yet, and be the answer to somebody else's request.
        """
        if status == 205:
            # It has no content, but what frames it is not the status (RFC 9110 §15.3.6, RFC 9112 §6.3).
            self.lines.append(b"Content-Length: 0")
        elif answer.content_length is not None:
            if self.body_follows:
                self.size = answer.content_length
            # HEAD and 304 keep the length they speak of; 1xx and 204 have none (RFC 9110 §8.6).
            if status != 204 and status >= 200:
                self.lines.append(b"Content-Length: %d" % answer.content_length)
        elif self.body_follows:
            self.size = None
            if request.version:
                self.chunked_out = True
                self.lines.append(b"Transfer-Encoding: chunked")
            else:
                self.close = True
        if self.close:
            self.lines.append(b"Connection: close")
        elif not request.version:
            self.lines.append(b"Connection: keep-alive")


def ends_with_its_head(answer: AnswerHead) -> bool:
    """Tell whether no body can come after the head of an answer that must not have one."""
    if answer.status == 205 and answer.content_length is None:
        return False
    return not answer.chunked and not answer.content_length


def answer_head(
    answer: AnswerHead, framing: AnswerFraming, cookies: tuple[bytes, ...], date: bytes, request_id: bytes
) -> bytes:
    """Return the head to send to the client; ``cookies`` are Set-Cookie values."""
    lines = answer.kept_lines() if answer.nominated else answer.lines
    parts = [STATUS_LINES[answer.status], *lines, *framing.lines]
    if cookies:
        parts += [b"Set-Cookie: " + value for value in cookies]
    if not answer.has_date:
        parts.append(b"Date: " + date)
    parts.append(b"X-Request-Id: %b\r\n\r\n" % request_id)
    return b"\r\n".join(parts)


def informational_head(answer: AnswerHead) -> bytes:
    """Return a 1xx answer as it is passed on (RFC 9110 §15.2)."""
    return b"\r\n".join([STATUS_LINES[answer.status], *answer.kept_lines()]) + b"\r\n\r\n"


def foreign_cookies(answer: AnswerHead, picker: CookiePicker) -> tuple[bytes, ...]:
    """Return the cookies an upstream may set: all but the gateway's own."""
    return tuple([value for value in answer.set_cookies if not picker.claims(name_sent_back(value))])


def name_sent_back(set_cookie: bytes) -> bytes:
    """Return the name under which a server will see a cookie.

    One without a name comes back as its value alone, which may read "gateway_session=…" (RFC 6265bis §5.6).
    """
    name, equals, value = set_cookie.partition(b";")[0].partition(b"=")
    name = name.strip(OWS)
    return value.partition(b"=")[0].strip(OWS) if equals and not name else name


def dropped_names(answer: AnswerHead, kept: tuple[bytes, ...]) -> list[bytes]:
    """Return the names of the cookies that `foreign_cookies` left out."""
    return [name_sent_back(value) for value in answer.set_cookies if value not in kept]


def add_header_rules(
    lines: list[bytes], set_headers: tuple[tuple[bytes, bytes], ...], drop: frozenset[bytes]
) -> list[bytes]:
    """Apply a route's own header rules to request lines: ``drop`` holds normalised names.

    A client's ``X_Tenant`` beside the route's ``X-Tenant`` would be one header to many apps.
    """
    if drop:
        lines = [line for line in lines if normalised(line.partition(b":")[0]) not in drop]
    return lines + [name + b": " + value for name, value in set_headers]


def check_loop(via: bytes, pseudonym: bytes) -> None:
    """Refuse a request that has been here before (RFC 9110 §7.6.3)."""
    if pseudonym in via:
        raise BadSyntax("a request that this gateway forwarded to itself", 508)
