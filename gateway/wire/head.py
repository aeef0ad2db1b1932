"""Request and response heads: bytes in, a head or BadSyntax out.

Own code and stricter than llhttp: CRLF only, one Host, one length, no folding, unknown methods
pass. The tests hold it against llhttp as a second opinion (RFC 9112 §11.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.core.limits import Limits
from gateway.wire.grammar import DIGITS, BadSyntax, consists_of, is_token
from gateway.wire.headers import (
    ConnectionLine,
    CookieLine,
    DroppedLine,
    ExpectLine,
    ForwardedLine,
    HeaderLine,
    HostLine,
    KnownLines,
    LengthLine,
    LineTable,
    LineType,
    MaxForwardsLine,
    NotedLine,
    SetCookieLine,
    TransferEncodingLine,
    UpgradeLine,
    parse_host,
)
from gateway.wire.identity_headers import TRUSTED_BY_APPS, TRUSTED_PREFIXES
from gateway.wire.target import Target, parse_target, split_absolute

HTTP_VERSIONS = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
METHODS = {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")}
MAX_METHOD = 32

REQUEST_LINES: Final[Mapping[bytes, LineType]] = {
    b"host": HostLine,
    b"connection": ConnectionLine,
    b"content-length": LengthLine,
    b"transfer-encoding": TransferEncodingLine,
    b"cookie": CookieLine,
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
    b"x-request-id": ForwardedLine,
    b"forwarded": ForwardedLine,
    b"via": NotedLine,
    b"traceparent": NotedLine,
}

ANSWER_LINES: Final[Mapping[bytes, LineType]] = {
    b"connection": ConnectionLine,
    b"content-length": LengthLine,
    b"transfer-encoding": TransferEncodingLine,
    b"upgrade": UpgradeLine,
    b"set-cookie": SetCookieLine,
    b"date": NotedLine,
    b"content-type": NotedLine,
    b"sec-websocket-accept": NotedLine,
    b"sec-websocket-protocol": NotedLine,
    b"sec-websocket-extensions": NotedLine,
    b"proxy-connection": DroppedLine,
    b"proxy-authenticate": DroppedLine,
    b"keep-alive": DroppedLine,
    b"trailer": DroppedLine,
    # Orders to the server in front, which are not the upstream's to give, and what it runs on.
    b"x-sendfile": DroppedLine,
    b"x-lighttpd-send-file": DroppedLine,
    b"x-reproxy-url": DroppedLine,
    b"server": DroppedLine,
    b"x-powered-by": DroppedLine,
}
ANSWER_PREFIXES = (b"x-accel-",)


class MessageHead:
    """What both directions share. Defaults stand at the class: most heads set few of them."""

    connection: frozenset[bytes] = frozenset()
    content_length: int | None = None
    chunked = False
    upgrade: bytes | None = None
    expect: bytes | None = None
    host: str = ""
    host_value: bytes | None = None
    version = 1
    """The minor version: 0 or 1."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        """Lines to forward as they are, in order."""
        self.noted: dict[bytes, bytes] = {}
        self.cookie_lines: list[bytes] = []
        self.set_cookies: list[bytes] = []
        self.stripped: list[HeaderLine] = []
        self.forwarded: list[HeaderLine] = []

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a plain header by its lower-case name; for rare paths, it scans."""
        found = self.noted.get(name)
        if found is not None:
            return found
        for line in self.lines:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip(b" \t")
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Return all values of a plain header by its lower-case name."""
        pairs = (line.partition(b":") for line in self.lines)
        return [value.strip(b" \t") for key, _, value in pairs if key.lower() == name]

    def keeps_alive(self) -> bool:
        """Tell whether the sender offers a further message on this connection (RFC 9112 §9.3)."""
        if self.version == 0:
            return b"keep-alive" in self.connection and b"close" not in self.connection
        return b"close" not in self.connection

    def drop_nominated(self) -> None:
        """Remove the lines that Connection names; those that mean something to us stay (RFC 9110 §7.6.1)."""
        names = self.connection - {b"close", b"keep-alive", b"upgrade"}
        if names:
            self.lines = [line for line in self.lines if line.partition(b":")[0].lower() not in names]


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


class AnswerHead(MessageHead):
    """An upstream's response head."""

    status = 0


class RequestParser:
    """Parses request heads under given limits; keeps the memory of known lines."""

    def __init__(self, limits: Limits, identity_names: frozenset[bytes]) -> None:
        table = LineTable(REQUEST_LINES, TRUSTED_BY_APPS | identity_names, TRUSTED_PREFIXES)
        self._known = KnownLines(table, limits.line, limits.cookie)
        self._limits = limits

    def parse(self, data: bytes) -> RequestHead:
        """Parse a head, given without its final CRLFCRLF. Raises BadSyntax with the status to answer."""
        lines = data.split(b"\r\n")
        head = RequestHead()
        self._request_line(head, lines[0])
        if len(lines) > self._limits.headers + 1:
            raise BadSyntax("too many headers", 431)
        known = self._known
        keep = head.lines.append
        for line in lines[1:] if len(lines) > 1 else ():
            entry = known[line]
            if entry.plain:
                keep(line)
            else:
                entry.apply(head)
        self._check(head)
        return head

    def _request_line(self, head: RequestHead, line: bytes) -> None:
        parts = line.split(b" ")
        if len(parts) != 3:
            raise BadSyntax("a request line of other than three words")
        method, target, version = parts
        minor = HTTP_VERSIONS.get(version)
        if minor is None:
            odd = len(version) == 8 and version.startswith(b"HTTP/") and consists_of(version[5:], DIGITS + b".")
            raise BadSyntax("an HTTP version other than 1.0 and 1.1", 505 if odd else 400)
        known = METHODS.get(method)
        if known is None:
            if not is_token(method):
                raise BadSyntax("a method that is no token")
            if len(method) > MAX_METHOD:
                raise BadSyntax("a method that is too long", 501)
            known = method.decode("ascii")
        if len(target) > self._limits.target:
            raise BadSyntax("a target over the limit", 414)
        head.method = known
        if not minor:
            head.version = minor
        head.target = target

    def _check(self, head: RequestHead) -> None:
        """Check what only the whole head shows."""
        if head.host_value is None:
            raise BadSyntax("no Host")
        if head.chunked and (head.content_length is not None or not head.version):
            raise BadSyntax("Transfer-Encoding with Content-Length or in HTTP/1.0")
        if len(head.cookie_lines) > 1 and sum(map(len, head.cookie_lines)) > self._limits.cookie:
            raise BadSyntax("cookies over the limit", 431)
        if head.method == "CONNECT":
            raise BadSyntax("CONNECT", 405)
        target = head.target
        if not target.startswith(b"/"):
            self._other_form(head)
            if head.target == b"*":
                return
            target = head.target
        found: Target = parse_target(target)
        head.path = found.path
        if found.readings:
            head.readings = found.readings
            head.encoded_slash = found.encoded_slash

    def _other_form(self, head: RequestHead) -> None:
        """Bring an absolute-form target into origin-form; its authority must agree with Host."""
        if head.target == b"*" and head.method == "OPTIONS":
            return
        authority, origin = split_absolute(head.target)
        if parse_host(authority) != head.host or authority.lower() != (head.host_value or b"").lower():
            raise BadSyntax("an absolute target for another host than Host")
        head.target = origin


class AnswerParser:
    """Parses upstreams' response heads under given limits."""

    def __init__(self, limits: Limits, dropped_names: frozenset[bytes]) -> None:
        table = LineTable(ANSWER_LINES, dropped_names, ANSWER_PREFIXES)
        self._known = KnownLines(table, limits.answer_head, limits.answer_head)
        self._limits = limits

    def parse(self, data: bytes) -> AnswerHead:
        """Parse a head, given without its final empty line. Raises BadSyntax: the upstream is at fault."""
        lines = data.split(b"\r\n")
        head = AnswerHead()
        status_line = lines[0]
        minor = HTTP_VERSIONS.get(status_line[:8])
        status = status_line[9:12]
        if minor is None or status_line[8:9] != b" " or status_line[12:13] not in (b" ", b""):
            raise BadSyntax("a status line that is none")
        if len(status) != 3 or not consists_of(status, DIGITS) or not 100 <= int(status) <= 599:
            raise BadSyntax("a status outside 100 to 599")
        head.status = int(status)
        head.version = minor
        if len(lines) > self._limits.answer_headers + 1:
            raise BadSyntax("too many headers in an answer")
        known = self._known
        keep = head.lines.append
        for line in lines[1:] if len(lines) > 1 else ():
            entry = known[line]
            if entry.plain:
                keep(line)
            else:
                entry.apply(head)
        if head.chunked and (head.content_length is not None or not minor):
            raise BadSyntax("an answer with Transfer-Encoding and Content-Length or in HTTP/1.0")
        return head


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
    if len(buffer) > limits.head:
        raise BadSyntax("a head over the limit", 431)
    if first >= 0 and not buffer[:first].endswith(b" HTTP/1.1\r") and not buffer[:first].endswith(b" HTTP/1.0\r"):
        raise BadSyntax("a first line that is no HTTP/1 request line")
    if buffer.count(b"\n") != buffer.count(b"\r\n"):
        raise BadSyntax("a line that ends in a bare LF")
    return -1
