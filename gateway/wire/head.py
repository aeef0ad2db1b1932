"""Request and response heads: bytes in, a head or BadSyntax out.

Own code and stricter than llhttp: CRLF only, one Host, one length, no folding, unknown methods
pass. The tests hold it against llhttp as a second opinion (RFC 9112 §11.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.core.limits import Limits
from gateway.core.reasons import BAD_FRAMING, BAD_HEADER, BAD_HOST, METHOD
from gateway.wire.blocks import COOKIE_START, KnownBlocks, split_cookie
from gateway.wire.caching import CACHE_FIELDS, TARGETED_FIELDS, CacheControlLine, CachingLine, TargetedCacheLine
from gateway.wire.grammar import FIELD_VALUE, OWS, BadSyntax, consists_of, is_token, only
from gateway.wire.headers import (
    AuthorizationLine,
    ConnectionLine,
    ContentTypeLine,
    CookieLine,
    DateLine,
    DroppedLine,
    ExpectLine,
    ForwardedLine,
    HostLine,
    KnownLines,
    LengthLine,
    LineTable,
    LineType,
    MaxForwardsLine,
    NotedLine,
    RewrittenLine,
    SetCookieLine,
    TransferEncodingLine,
    UpgradeLine,
    parse_host,
    without_final_dot,
)
from gateway.wire.identity_headers import TRUSTED_BY_APPS, TRUSTED_PREFIXES
from gateway.wire.message import MessageHead
from gateway.wire.response_lines import KnownResponseLines, ResponseLengthLine
from gateway.wire.target import parse_target, simple_path, split_absolute

HTTP_VERSIONS: Final = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
METHODS: Final = {
    m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")
}
STATUSES: Final = {b"%d" % status: status for status in range(100, 600)}
MAX_LEADING_CRLF: Final = 4
MAX_METHOD: Final = 32
_VERSION: Final = only(b"0123456789.")

REQUEST_LINES: Final[Mapping[bytes, LineType]] = {
    b"host": HostLine,
    b"connection": ConnectionLine,
    b"content-length": LengthLine,
    b"transfer-encoding": TransferEncodingLine,
    b"cookie": CookieLine,
    b"authorization": AuthorizationLine,
    b"expect": ExpectLine,
    b"upgrade": UpgradeLine,
    b"max-forwards": MaxForwardsLine,
    # One hop only (RFC 9110 §7.6.1); trailers are not forwarded, so they are not announced.
    b"proxy-connection": DroppedLine,
    b"keep-alive": DroppedLine,
    b"te": DroppedLine,
    b"trailer": DroppedLine,
    b"http2-settings": DroppedLine,
    b"proxy-authorization": DroppedLine,
    b"proxy-authenticate": DroppedLine,
    b"proxy": DroppedLine,  # httpoxy, CVE-2016-5385
    b"x-forwarded-for": ForwardedLine,
    b"x-forwarded-proto": ForwardedLine,
    b"x-forwarded-host": ForwardedLine,
    b"x-forwarded-port": ForwardedLine,
    b"x-forwarded-prefix": ForwardedLine,
    b"x-forwarded-server": ForwardedLine,
    b"x-forwarded-scheme": ForwardedLine,
    b"x-forwarded-ssl": ForwardedLine,
    b"x-forwarded-by": ForwardedLine,
    b"x-forwarded-uri": ForwardedLine,
    b"x-forwarded-method": ForwardedLine,
    b"x-forwarded-path": ForwardedLine,
    b"x-scheme": ForwardedLine,
    b"x-url-scheme": ForwardedLine,
    b"front-end-https": ForwardedLine,
    b"x-real-ip": ForwardedLine,
    b"x-client-ip": ForwardedLine,
    b"x-cluster-client-ip": ForwardedLine,
    b"x-originating-ip": ForwardedLine,
    b"true-client-ip": ForwardedLine,
    b"client-ip": ForwardedLine,
    b"cf-connecting-ip": ForwardedLine,
    b"fastly-client-ip": ForwardedLine,
    b"x-host": ForwardedLine,
    b"x-original-host": ForwardedLine,
    b"x-http-host-override": ForwardedLine,
    b"x-forwarded": ForwardedLine,
    b"forwarded-for": ForwardedLine,
    b"proxy-client-ip": ForwardedLine,
    b"wl-proxy-client-ip": ForwardedLine,
    b"x-remote-ip": ForwardedLine,
    b"x-remote-addr": ForwardedLine,
    b"x-azure-clientip": ForwardedLine,
    b"x-proxyuser-ip": ForwardedLine,
    b"x-appengine-user-ip": ForwardedLine,
    b"x-envoy-external-address": ForwardedLine,
    b"x-envoy-original-path": ForwardedLine,
    b"x-request-id": ForwardedLine,
    b"forwarded": ForwardedLine,
    b"via": NotedLine,
    b"traceparent": NotedLine,
    b"service-worker": NotedLine,
    b"sec-websocket-key": NotedLine,
}

REQUEST_PREFIXES: Final = (*TRUSTED_PREFIXES, b"x-forwarded-")
"""What is not known of the latter some app may believe, as gunicorn does ``X-Forwarded-Protocol``."""

ANSWER_LINES: Final[Mapping[bytes, LineType]] = {
    b"connection": ConnectionLine,
    b"content-length": ResponseLengthLine,
    b"transfer-encoding": TransferEncodingLine,
    b"upgrade": UpgradeLine,
    b"set-cookie": SetCookieLine,
    b"date": DateLine,
    b"content-type": ContentTypeLine,
    b"cache-control": CacheControlLine,
    b"expires": CachingLine,
    b"pragma": CachingLine,
    **dict.fromkeys(TARGETED_FIELDS, TargetedCacheLine),
    b"proxy-connection": DroppedLine,
    b"proxy-authenticate": DroppedLine,
    b"keep-alive": DroppedLine,
    b"trailer": DroppedLine,
    # Ours is the one in the logs of both sides.
    b"x-request-id": DroppedLine,
    # Orders to the server in front, which are not the upstream's to give, and what it runs on.
    b"x-sendfile": DroppedLine,
    b"x-lighttpd-send-file": DroppedLine,
    b"x-reproxy-url": DroppedLine,
    b"server": DroppedLine,
    b"x-powered-by": DroppedLine,
    b"service-worker-allowed": RewrittenLine,
}
ANSWER_PREFIXES: Final = (b"x-accel-", b"x-gateway-")


class RequestHead(MessageHead):
    """A request that was understood in one way only."""

    method = ""
    target = b""
    """Origin-form, or ``*`` for OPTIONS."""
    path = ""
    readings: tuple[str, ...] = ()
    encoded_slash = False

    def has_body(self) -> bool:
        """Tell whether a body follows (RFC 9112 §6.3)."""
        return self.chunked or bool(self.content_length)

    def wants_no_body(self) -> bool:
        """Tell whether the response has no body, whatever its status (RFC 9110 §9.3.2)."""
        return self.method == "HEAD"


class AnswerHead(MessageHead):
    """An upstream's response head."""

    status = 0

    def streams_events(self) -> bool:
        """Tell whether the body is an event stream, which may be silent for long and ends with its session."""
        return self.content_type.startswith(b"text/event-stream")


class RequestParser:
    """Parses request heads under given limits; keeps the memory of known lines."""

    def __init__(self, limits: Limits, identity_names: frozenset[bytes]) -> None:
        table = LineTable(REQUEST_LINES, TRUSTED_BY_APPS | identity_names, REQUEST_PREFIXES)
        self._lines = KnownLines(table, limits.line, limits.cookie)
        self._blocks = KnownBlocks(self._lines, limits)
        self._limits = limits

    def parse(self, data: bytes) -> RequestHead:
        """Parse a head, given without its final CRLFCRLF. Raises BadSyntax with the status to answer."""
        head = RequestHead()
        line_end = data.find(b"\r\n")
        try:
            method, target, version = (data[:line_end] if line_end >= 0 else data).split(b" ")
        except ValueError:
            raise BadSyntax("a request line of other than three words") from None
        head.method = METHODS.get(method) or parse_method(method)
        if version != b"HTTP/1.1":
            head.version = self._other_version(version)
        if len(target) > self._limits.target:
            raise BadSyntax("a target over the limit", 414)
        head.target = target
        if line_end >= 0:
            self._read_lines(data[line_end:], head)
        self._check(head)
        return head

    def _read_lines(self, data: bytes, head: RequestHead) -> None:
        """Take over the header lines, each with a CRLF before it."""
        others, cookie = split_cookie(data)
        block = self._blocks[others]
        if cookie and block.has_cookie:
            # More than one Cookie line: rare, and their order is kept.
            block, cookie = self._blocks[data], b""
        head.lines = block.plain.copy()
        for line in block.effects:
            line.apply(head)
        if cookie:
            limits = self._limits
            if block.count >= limits.headers or len(cookie) > limits.cookie:
                raise BadSyntax("too many headers, or cookies over the limit", 431)
            if not consists_of(cookie, FIELD_VALUE):
                raise BadSyntax("a control character in a header value", reason=BAD_HEADER)
            head.cookie_lines = (cookie[COOKIE_START:].strip(OWS), *head.cookie_lines)

    @staticmethod
    def _other_version(version: bytes) -> int:
        if version == b"HTTP/1.0":
            return 0
        raise BadSyntax("an HTTP version other than 1.0 and 1.1", 505 if is_other_version(version) else 400)

    def _check(self, head: RequestHead) -> None:
        """Check what only the whole head shows."""
        if head.host_value is None:
            raise BadSyntax("no Host", reason=BAD_HOST)
        if head.chunked and (head.content_length is not None or not head.version):
            raise BadSyntax("Transfer-Encoding with Content-Length or in HTTP/1.0", reason=BAD_FRAMING)
        if len(head.cookie_lines) > 1 and sum(map(len, head.cookie_lines)) > self._limits.cookie:
            raise BadSyntax("cookies over the limit", 431)
        if head.method == "CONNECT":
            raise BadSyntax("CONNECT", 405)
        target = head.target
        if not target.startswith(b"/"):
            self._other_form(head)
            if head.target == b"*":
                return
        read_target(head)

    def _other_form(self, head: RequestHead) -> None:
        """Bring an absolute-form target into origin-form; its authority must agree with Host."""
        if head.target == b"*" and head.method == "OPTIONS":
            return
        authority, origin = split_absolute(head.target)
        named = without_final_dot(authority).lower()
        if parse_host(authority) != head.host or named != (head.host_value or b"").lower():
            raise BadSyntax("an absolute target for another host than Host", reason=BAD_HOST)
        head.target = origin


def parse_method(method: bytes) -> str:
    """Return a method as rules know it. Raises BadSyntax."""
    if not is_token(method):
        raise BadSyntax("a method that is no token", reason=METHOD)
    if method != method.upper():
        # Some servers take "post" for POST, so rules about POST would be passed by.
        raise BadSyntax("a method in lower case", 501)
    if len(method) > MAX_METHOD:
        raise BadSyntax("a method that is too long", 501)
    return method.decode("ascii")


def read_target(head: RequestHead) -> None:
    """Take path and readings from a target in origin-form. Raises BadSyntax."""
    head.path = simple_path(head.target)
    if not head.path:
        found = parse_target(head.target)
        head.path = found.path
        head.readings = found.readings
        head.encoded_slash = found.encoded_slash


class AnswerParser:
    """Parses upstreams' response heads under given limits."""

    def __init__(self, limits: Limits, dropped_names: frozenset[bytes]) -> None:
        table = LineTable(ANSWER_LINES, dropped_names, ANSWER_PREFIXES)
        self._known = KnownResponseLines(table, limits.answer_head, limits.answer_head)
        self._limits = limits

    def parse(self, data: bytes) -> AnswerHead:
        """Parse a head, given without its final empty line. Raises BadSyntax: the upstream is at fault."""
        status_line, _, rest = data.partition(b"\r\n")
        head = AnswerHead()
        minor = HTTP_VERSIONS.get(status_line[:8])
        if minor is None or status_line[8:9] != b" " or status_line[12:13] not in (b" ", b""):
            raise BadSyntax("a status line that is none")
        status = STATUSES.get(status_line[9:12])
        if status is None:
            raise BadSyntax("a status outside 100 to 599")
        head.status = status
        if not minor:
            head.version = 0
        lines = rest.split(b"\r\n") if rest else []
        if len(lines) > self._limits.answer_headers:
            raise BadSyntax("too many headers in an answer")
        known = self._known
        plain = head.lines
        for line in lines:
            entry = known[line]
            if entry is None:
                plain.append(line)
            else:
                entry.apply(head)
        if head.nominated:
            head.nominated -= CACHE_FIELDS
        if head.chunked and (head.content_length is not None or not minor):
            raise BadSyntax("an answer with Transfer-Encoding and Content-Length or in HTTP/1.0")
        return head


def is_other_version(version: bytes) -> bool:
    """Tell whether a word is an HTTP version that is not ours (RFC 9112 §2.3)."""
    if version in HTTP_VERSIONS:
        return False
    return len(version) == 8 and version.startswith(b"HTTP/") and consists_of(version[5:], _VERSION)


def without_empty_lines(buffer: bytes) -> bytes:
    """Skip the empty lines that some clients send before a request (RFC 9112 §2.2), a few of them. Raises BadSyntax."""
    for _ in range(MAX_LEADING_CRLF):
        buffer = buffer.removeprefix(b"\r\n")
    if buffer.startswith(b"\r\n"):
        raise BadSyntax("too many empty lines before a request")
    return buffer


def find_head_end(buffer: bytes | bytearray, limits: Limits) -> int:
    """Return the index of the CRLFCRLF that ends a request head, or -1 while more must come.

    Raises BadSyntax as soon as the bytes so far can be no head.
    """
    end = buffer.find(b"\r\n\r\n")
    if 0 <= end <= limits.head:
        return end
    first = buffer.find(b"\n")
    if first < 0 and len(buffer) > limits.target + MAX_METHOD + 16:
        raise BadSyntax("a request line over the limit", 414)
    if len(buffer) > limits.head + 3:
        raise BadSyntax("a head over the limit", 431)
    if first >= 0 and not buffer[:first].endswith((b" HTTP/1.1\r", b" HTTP/1.0\r")):
        version = bytes(buffer[:first]).rpartition(b" ")[2].removesuffix(b"\r")
        raise BadSyntax("a first line that is no HTTP/1 request line", 505 if is_other_version(version) else 400)
    if buffer.count(b"\n") != buffer.count(b"\r\n"):
        raise BadSyntax("a line that ends in a bare LF")
    return -1
