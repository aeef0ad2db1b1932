"""Header lines and what each means to a gateway: forwarded as they are, or one of the closed set below.

A line is validated and understood once and remembered by its exact bytes: browsers and programs
repeat nearly all their lines, so a known line costs one dictionary lookup and no check again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.core.header_name import normalised
from gateway.wire.grammar import DIGITS, FIELD_VALUE, LETTERS, OWS, BadSyntax, consists_of, is_token, only, tokens
from gateway.wire.message import HeaderLine, MessageHead

COOKIE_STARTS: Final = (b"Cookie: ", b"cookie: ")
CREDENTIAL_START: Final = len(b"Authorization: ")
SCRIPT_TYPES: Final = (b"javascript", b"ecmascript", b"jscript", b"livescript")
"""What the names of all JavaScript types have in them (MIME Sniffing §4.6)."""
MEMO_LINES: Final = 4096
MEMO_LINE_BYTES: Final = 2048

_ADDRESS: Final = only(b"0123456789abcdefABCDEF:.")
_HOST: Final = only(LETTERS + b"0123456789-._")


class DroppedLine(HeaderLine):
    """Never forwarded: it is for one hop only, or nobody may say it but us."""

    __slots__ = ()


class StrippedLine(HeaderLine):
    """An identity or path-overriding header: dropped unless a route lets it through by name."""

    __slots__ = ()

    def apply(self, head: MessageHead) -> None:
        """Keep it for the routes that ask for it."""
        head.stripped += (self,)


class ForwardedLine(HeaderLine):
    """``X-Forwarded-*`` and its kin: dropped, and read only when the peer is a trusted proxy."""

    __slots__ = ()

    def apply(self, head: MessageHead) -> None:
        """Keep it for the trust decision."""
        head.forwarded += (self,)


class HostLine(HeaderLine):
    """The Host field: its value is checked and split here, once, and goes on as the name that routes are found by."""

    __slots__ = ("host",)

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, without_final_dot(value))
        self.host = parse_host(value)

    def apply(self, head: MessageHead) -> None:
        """Set the host; a second one is refused (RFC 9112 §3.2)."""
        if head.host_value is not None:
            raise BadSyntax("more than one Host")
        head.host = self.host
        head.host_value = self.value


class ConnectionLine(HeaderLine):
    """The Connection field, as a set of lower-case tokens."""

    __slots__ = ("close", "nominated", "options")

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, value)
        self.options = tokens(value)
        self.close = b"close" in self.options
        self.nominated = self.options - {b"close", b"keep-alive", b"upgrade"}

    def apply(self, head: MessageHead) -> None:
        """Add the options to those of the head."""
        head.connection = head.connection | self.options if head.connection else self.options
        if self.close:
            head.close = True
        if self.nominated:
            head.nominated |= self.nominated


class LengthLine(HeaderLine):
    """Content-Length: digits only, once (RFC 9112 §6.3)."""

    __slots__ = ("length",)

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, value)
        if not value or len(value) > 18 or not consists_of(value, DIGITS):
            raise BadSyntax("odd Content-Length")
        self.length = int(value)

    def apply(self, head: MessageHead) -> None:
        """Set the length; repeated ones are refused even when they agree."""
        if head.content_length is not None:
            raise BadSyntax("more than one Content-Length")
        head.content_length = self.length
        head.unusual = True


class TransferEncodingLine(HeaderLine):
    """Transfer-Encoding: nothing but one ``chunked`` (RFC 9112 §6.1)."""

    __slots__ = ()

    def apply(self, head: MessageHead) -> None:
        """Mark the body as chunked."""
        if self.value.lower() != b"chunked" or head.chunked:
            raise BadSyntax("a Transfer-Encoding other than chunked", 501)
        head.chunked = head.unusual = True


class CookieLine(HeaderLine):
    """A Cookie line, kept whole; `wire.cookies` picks ours out of it."""

    __slots__ = ()

    def apply(self, head: MessageHead) -> None:
        """Add it to the head's cookie lines."""
        head.cookie_lines += (self.value,)


class AuthorizationLine(HeaderLine):
    """A credential: for us where the route accepts it, else for the upstream."""

    __slots__ = ()

    def apply(self, head: MessageHead) -> None:
        """Keep it apart."""
        head.credentials += (self.value,)


class SetCookieLine(HeaderLine):
    """A cookie that an upstream sets; ours are not its to set."""

    __slots__ = ()

    def apply(self, head: MessageHead) -> None:
        """Keep it apart."""
        head.set_cookies += (self.value,)


class ExpectLine(HeaderLine):
    """Expect: ``100-continue`` or something we do not know (RFC 9110 §10.1.1)."""

    __slots__ = ()

    def apply(self, head: MessageHead) -> None:
        """Note it; a second one is refused, for a list of expectations is one that we do not know."""
        if head.expect is not None:
            raise BadSyntax("more than one Expect")
        head.expect = self.value.lower()
        head.unusual = True


class UpgradeLine(HeaderLine):
    """Upgrade: a protocol name, in lower case."""

    __slots__ = ()

    def apply(self, head: MessageHead) -> None:
        """Note it; a second line makes one that nobody knows."""
        head.upgrade = self.value.lower() if head.upgrade is None else b"(repeated)"
        head.unusual = True


class NotedLine(HeaderLine):
    """Forwarded as it is, and remembered because something of ours depends on it."""

    __slots__ = ()

    def forwarded(self) -> bytes | None:
        """Return it as it came."""
        return self.bytes()

    def apply(self, head: MessageHead) -> None:
        """Note it."""
        head.noted = {**head.noted, self.name: b", ".join(filter(None, (head.noted.get(self.name), self.value)))}
        head.unusual = True


class RewrittenLine(NotedLine):
    """Noted, and forwarded as whoever sends the head on has written it anew."""

    __slots__ = ()

    def forwarded(self) -> bytes | None:
        """Return nothing."""
        return None


class DateLine(HeaderLine):
    """The Date of an answer; one without gets ours."""

    __slots__ = ("line",)

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, value)
        self.line = self.bytes()

    def apply(self, head: MessageHead) -> None:
        """Forward it and say that there is one."""
        head.lines.append(self.line)
        head.has_date = True


class ContentTypeLine(DateLine):
    """The Content-Type of an answer: event streams may be silent for longer."""

    __slots__ = ("is_script",)

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, value)
        kind = value.lower()
        self.is_script = any(kind.find(script) >= 0 for script in SCRIPT_TYPES)

    def apply(self, head: MessageHead) -> None:
        """Forward it and note it."""
        head.lines.append(self.line)
        head.content_type = self.value
        head.is_script = self.is_script


class MaxForwardsLine(NotedLine):
    """Max-Forwards, which only OPTIONS and TRACE heed (RFC 9110 §7.6.2)."""

    __slots__ = ()

    def forwarded(self) -> bytes | None:
        """Return nothing: who forwards the request writes it."""
        return None

    def apply(self, head: MessageHead) -> None:
        """Note it; a second one is refused, for each hop could count by another."""
        if self.name in head.noted:
            raise BadSyntax("more than one Max-Forwards")
        head.noted = {**head.noted, self.name: self.value}
        head.unusual = True


LineType = Callable[[bytes, bytes], HeaderLine]


def parse_host(value: bytes) -> str:
    """Return the lower-case host name of a Host field, without port and final dot.

    Raises BadSyntax for anything that is no ``uri-host [":" port]`` (RFC 9110 §7.2).
    """
    host = value
    if value.startswith(b"["):
        end = value.find(b"]") + 1
        if not end or not consists_of(value[1 : end - 1], _ADDRESS):
            raise BadSyntax("a Host that is no host")
        host, port = value[:end], value[end:]
        if port and (not port.startswith(b":") or not _is_port(port[1:])):
            raise BadSyntax("a Host that is no host")
    else:
        host, colon, port = value.partition(b":")
        if colon and not _is_port(port):
            raise BadSyntax("a Host with an odd port")
        if not host or not consists_of(host, _HOST):
            raise BadSyntax("a Host that is no host")
        if host.endswith(b"."):
            host = host[:-1]
        if not host or b".." in host or host.startswith(b"."):
            raise BadSyntax("a Host that is no host")
    return host.decode("ascii").lower()


def without_final_dot(authority: bytes) -> bytes:
    """Return a host and its port without the root's dot, by which an app could take it for another one than we do."""
    name, colon, port = authority.partition(b":")
    return name[:-1] + colon + port if name.endswith(b".") else authority


def _is_port(text: bytes) -> bool:
    return bool(text) and len(text) <= 5 and consists_of(text, DIGITS) and int(text) <= 65535


class LineTable:
    """Which header names mean what, for one direction."""

    def __init__(
        self, exact: Mapping[bytes, LineType], stripped: frozenset[bytes], prefixes: tuple[bytes, ...]
    ) -> None:
        self._exact = exact
        self._stripped = stripped
        self._prefixes = prefixes

    def line(self, name: bytes, value: bytes) -> HeaderLine | None:
        """Return what a valid name and value mean; None if nothing: the line is forwarded as it came."""
        lower = name.lower()
        kind = self._exact.get(lower)
        if kind is not None:
            return kind(lower, value)
        alias = normalised(name)
        if alias in self._exact and self._exact[alias] is not NotedLine:
            return DroppedLine(lower, value)
        if alias in self._stripped or alias.startswith(self._prefixes):
            return StrippedLine(alias, value)
        return None


class KnownLines(dict[bytes, HeaderLine | None]):
    """Header lines by their exact bytes; an unknown one is parsed, checked and remembered.

    Bounded: at `MEMO_LINES` it starts anew, so that odd clients cost themselves time and nobody memory.
    """

    def __init__(self, table: LineTable, line_limit: int, cookie_limit: int) -> None:
        super().__init__()
        self._table = table
        self._line_limit = line_limit
        self._cookie_limit = cookie_limit

    def credential(self, line: bytes) -> AuthorizationLine:
        """Return the meaning of a line that starts with ``Authorization: ``, which is never remembered."""
        if len(line) > self._line_limit:
            raise BadSyntax("a header line over the limit", 431)
        if not consists_of(line, FIELD_VALUE):
            raise BadSyntax("a control character in a header value")
        return AuthorizationLine(b"authorization", line[CREDENTIAL_START:].strip(OWS))

    def __missing__(self, line: bytes) -> HeaderLine | None:
        if line.startswith(COOKIE_STARTS) and len(line) <= self._cookie_limit:
            # Remembered by what is picked out of it, not here: each session has one of its own.
            if not consists_of(line, FIELD_VALUE):
                raise BadSyntax("a control character in a header value")
            return CookieLine(b"cookie", line[8:].strip(OWS))
        name, colon, value = line.partition(b":")
        if not colon or not is_token(name):
            raise BadSyntax("a header line without a proper name")
        if not consists_of(value, FIELD_VALUE):
            raise BadSyntax("a control character in a header value")
        if len(line) > self._line_limit and (name.lower() != b"cookie" or len(line) > self._cookie_limit):
            raise BadSyntax("a header line over the limit", 431)
        found = self._table.line(name, value.strip(OWS))
        # What is secret is in no memory that is kept for speed.
        if len(line) <= MEMO_LINE_BYTES and not isinstance(found, AuthorizationLine):
            if len(self) >= MEMO_LINES:
                self.clear()
            self[line] = found
        return found
