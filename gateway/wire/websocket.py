"""The WebSocket handshake, checked on both sides of the gateway (RFC 6455 §4)."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from hashlib import sha1
from typing import Final

from gateway.core.reasons import WEBSOCKET
from gateway.wire.grammar import BadSyntax, tokens
from gateway.wire.head import AnswerHead, RequestHead

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def asks_for_websocket(head: RequestHead) -> bool:
    """Tell whether the request is an upgrade to WebSocket; HTTP/1.0 cannot ask (RFC 9110 §7.8)."""
    return head.upgrade == b"websocket" and b"upgrade" in head.connection and head.version == 1


def check_request(head: RequestHead) -> None:
    """Check the client's handshake. Raises BadSyntax; 426 where only the version is wrong."""
    if head.method != "GET" or head.has_body():
        raise BadSyntax("a WebSocket handshake that is no GET", reason=WEBSOCKET)
    versions = head.get_all(b"sec-websocket-version")
    if versions != [b"13"]:
        raise BadSyntax("a WebSocket version other than 13", 426)
    keys = head.get_all(b"sec-websocket-key")
    try:
        valid = len(keys) == 1 and len(b64decode(keys[0], validate=True)) == 16
    except binascii.Error:
        valid = False
    if not valid:
        raise BadSyntax("a WebSocket key that is not 16 bytes of base64", reason=WEBSOCKET)


def origin_allowed(head: RequestHead, allowed: frozenset[str], scheme: str) -> bool:
    """Tell whether the page that opens the socket may do so (RFC 6455 §10.2).

    Its own origin may, and those in ``allowed``; programs send no Origin and carry no stolen cookie.
    """
    origins = head.get_all(b"origin")
    if not origins:
        return True
    if len(origins) > 1:
        return False
    origin = origins[0].decode("latin-1").lower()
    own = (head.host_value or b"").decode("latin-1").lower()
    # A page under a host with a final dot comes from the same place.
    return origin.replace(".:", ":").removesuffix(".") == f"{scheme}://{own}" or origin in allowed


def check_answer(head: RequestHead, answer: AnswerHead) -> None:
    """Check an upstream's 101 before it is passed on. Raises BadSyntax: the upstream is at fault."""
    if answer.upgrade != b"websocket" or b"upgrade" not in answer.connection:
        raise BadSyntax("a 101 to something else than WebSocket")
    key = head.get(b"sec-websocket-key") or b""
    if answer.get_all(b"sec-websocket-accept") != [accept_key(key)]:
        raise BadSyntax("a 101 with a wrong Sec-WebSocket-Accept")
    chosen = answer.get_all(b"sec-websocket-protocol")
    if len(chosen) > 1 or (chosen and chosen[0].lower() not in _offered(head, b"sec-websocket-protocol")):
        # One at most (RFC 6455 §4.2.2): of two, the client might take the one that we have not looked at.
        raise BadSyntax("a 101 with a sub-protocol that was not offered, or with several")
    names = {name.partition(b";")[0].strip() for name in _offered(answer, b"sec-websocket-extensions")}
    if not names <= {name.partition(b";")[0].strip() for name in _offered(head, b"sec-websocket-extensions")}:
        raise BadSyntax("a 101 with an extension that was not offered")


def _offered(head: RequestHead | AnswerHead, name: bytes) -> frozenset[bytes]:
    return tokens(b",".join(head.get_all(name)))


def accept_key(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2); SHA-1 is the protocol's, not a choice."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def switching_head(answer: AnswerHead, cookies: tuple[bytes, ...]) -> bytes:
    """Return the 101 to send to the client; ``cookies`` are Set-Cookie values."""
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", *answer.kept_lines()]
    lines += [b"Set-Cookie: " + value for value in cookies]
    return b"\r\n".join(lines) + b"\r\n\r\n"


GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
_CLOSE: Final = 0x8
_CONTROL: Final = 0x8
"""The bit of an opcode that control frames have (RFC 6455 §5.5)."""
_MAX_HEADER: Final = 14


def close_frame(code: int) -> bytes:
    """Return a server's close frame (RFC 6455 §5.5.1)."""
    return b"\x88\x02" + code.to_bytes(2, "big")


class FrameCursor:
    """Follows the frames of one direction of a tunnel, so that a frame of ours can be put between two."""

    __slots__ = ("_header", "_left", "closed", "data_frames")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self.closed = False
        """Whether a close frame has passed: nothing may follow it."""
        self.data_frames = 0
        """How many frames have begun that are no control frames: what somebody, or their page, has sent."""

    def feed(self, data: bytes) -> None:
        """Follow bytes that pass."""
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            header = self._header + data[at : at + _MAX_HEADER - len(self._header)]
            length = _header_length(header)
            if length is None or len(header) < length:
                self._header = header
                return
            at += length - len(self._header)
            self._header = b""
            self._left = _payload_length(header)
            if not header[0] & _CONTROL:
                self.data_frames += 1
            elif header[0] & 0x0F == _CLOSE:
                self.closed = True

    def at_boundary(self) -> bool:
        """Tell whether a frame may begin here."""
        return not self._left and not self._header and not self.closed


def _header_length(header: bytes) -> int | None:
    """Return the length of a frame's header, or None while that cannot be told (RFC 6455 §5.2)."""
    if len(header) < 2:
        return None
    extended = {126: 2, 127: 8}.get(header[1] & 0x7F, 0)
    return 2 + extended + (4 if header[1] & 0x80 else 0)


def _payload_length(header: bytes) -> int:
    short = header[1] & 0x7F
    if short < 126:
        return short
    return int.from_bytes(header[2:4] if short == 126 else header[2:10], "big")
