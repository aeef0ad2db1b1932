"""Header lines of upstream responses where more is allowed than in requests, and put right before it is judged.

A proxy removes white space before the colon (RFC 9112 §5.1) and may take equal lengths for one (§6.3). What is
forwarded, and what framing is decided by, is the line without either.
"""

from __future__ import annotations

from gateway.wire.grammar import DIGITS, OWS, BadSyntax, consists_of
from gateway.wire.headers import MEMO_LINE_BYTES, MEMO_LINES, KnownLines
from gateway.wire.message import HeaderLine, MessageHead


class ResponseLengthLine(HeaderLine):
    """Content-Length: one number, or several times the same (RFC 9112 §6.3, rule 5)."""

    __slots__ = ("length",)

    def __init__(self, name: bytes, value: bytes) -> None:
        super().__init__(name, value)
        lengths = {_length(member.strip(OWS)) for member in value.split(b",")}
        if len(lengths) > 1:
            raise BadSyntax("more than one Content-Length")
        self.length = lengths.pop()

    def apply(self, head: MessageHead) -> None:
        """Set the length; another one is refused."""
        if head.content_length is not None and head.content_length != self.length:
            raise BadSyntax("more than one Content-Length")
        head.content_length = self.length
        head.unusual = True


def _length(text: bytes) -> int:
    if not text or len(text) > 18 or not consists_of(text, DIGITS):
        raise BadSyntax("odd Content-Length")
    return int(text)


class TrimmedLine(HeaderLine):
    """A line that means nothing to us: it goes on as it came, but for the white space before its colon."""

    __slots__ = ("line",)

    def __init__(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        super().__init__(name.lower(), value.strip(OWS))
        self.line = line

    def apply(self, head: MessageHead) -> None:
        """Forward it."""
        head.lines.append(self.line)


class KnownResponseLines(KnownLines):
    """Lines of responses by their exact bytes; a line with white space before its colon is the one without."""

    def __missing__(self, line: bytes) -> HeaderLine | None:
        name, colon, value = line.partition(b":")
        trimmed = name.rstrip(OWS)
        if len(trimmed) == len(name):
            return super().__missing__(line)
        proper = trimmed + colon + value
        found = super().__missing__(proper) or TrimmedLine(proper)
        if len(line) <= MEMO_LINE_BYTES and len(self) < MEMO_LINES:
            self[line] = found
        return found
