"""Whole blocks of header lines that were validated and understood before.

A browser sends the same lines with nearly every request, but for its cookies, which are not part of
a block. So a known block costs one dictionary lookup, and the lines in it none.
"""

from __future__ import annotations

from typing import Final

from gateway.core.limits import Limits
from gateway.wire.grammar import BadSyntax
from gateway.wire.headers import AuthorizationLine, CookieLine, KnownLines
from gateway.wire.message import HeaderLine

COOKIE_START: Final = len(b"Cookie: ")
MEMO_BLOCKS: Final = 1024
MEMO_BLOCK_BYTES: Final = 2048


class HeaderBlock:
    """The lines of a head, understood."""

    __slots__ = ("count", "effects", "has_cookie", "plain", "secret")

    def __init__(self, plain: list[bytes], effects: list[HeaderLine], count: int, has_cookie: bool) -> None:
        self.plain = plain
        """Those that are forwarded as they are."""
        self.effects = effects
        """What means something to us."""
        self.count = count
        self.has_cookie = has_cookie
        self.secret = False
        """Whether it holds a credential, and so is not to be remembered."""


def read_block(entries: list[tuple[bytes, HeaderLine | None]]) -> HeaderBlock:
    """Return lines, each with what it means, as a block."""
    plain = [line if entry is None else entry.forwarded() for line, entry in entries]
    effects = [entry for _, entry in entries if entry is not None]
    has_cookie = any(isinstance(entry, CookieLine) for entry in effects)
    block = HeaderBlock([line for line in plain if line is not None], effects, len(entries), has_cookie)
    block.secret = any(isinstance(entry, AuthorizationLine) for entry in effects)
    return block


class KnownBlocks(dict[bytes, HeaderBlock]):
    """Blocks by their exact bytes: lines with a CRLF before each. An unknown one is read and remembered. Bounded.

    It takes 33 000 of the 47 000 instructions that a browser's head costs when it is read line by line.
    """

    def __init__(self, lines: KnownLines, limits: Limits) -> None:
        super().__init__()
        self._lines = lines
        self._limit = limits.headers

    def __missing__(self, data: bytes) -> HeaderBlock:
        start = find_credential(data, 0)
        if start >= 0:
            return self._with_credentials(data, start)
        first, *lines = data.split(b"\r\n")
        if first:
            raise BadSyntax("a bare CR")
        if len(lines) > self._limit:
            raise BadSyntax("too many headers", 431)
        known = self._lines
        block = read_block([(line, known[line]) for line in lines])
        if len(data) <= MEMO_BLOCK_BYTES and not block.has_cookie and not block.secret:
            if len(self) >= MEMO_BLOCKS:
                self.clear()
            self[data] = block
        return block

    def _with_credentials(self, data: bytes, start: int) -> HeaderBlock:
        """Return a block with Authorization lines, the first at ``start``: those around them are known, they never are.

        So no secret is kept here, and many programs do not drive out what browsers send.
        """
        entries: list[HeaderLine] = []
        while start >= 0:
            end = data.find(b"\r", start + 2)
            if end < 0:
                end = len(data)
            entries.append(self._lines.credential(data[start + 2 : end]))
            data = data[:start] + data[end:]
            start = find_credential(data, start)
        block = self[data]
        count = block.count + len(entries)
        if count > self._limit:
            raise BadSyntax("too many headers", 431)
        return HeaderBlock(block.plain, block.effects + entries, count, block.has_cookie)


def find_credential(data: bytes, start: int) -> int:
    """Return where an Authorization line begins from ``start`` on, in a usual spelling, with its CRLF; or -1."""
    found = data.find(b"\r\nAuthorization: ", start)
    return found if found >= 0 else data.find(b"\r\nauthorization: ", start)


def split_cookie(data: bytes) -> tuple[bytes, bytes]:
    """Return lines, each with a CRLF before it, without the first Cookie line, and that line; b"" if there is none.

    A bare CR in it ends up in the other lines, which are refused for it.
    """
    start = data.find(b"\r\nCookie: ")
    if start < 0:
        return data, b""
    end = data.find(b"\r", start + 2)
    if end < 0:
        return data[:start], data[start + 2 :]
    return data[:start] + data[end:], data[start + 2 : end]
