"""WebSocket frames as bytes (RFC 6455 §5.2), for tests that must see the wire itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_MASK = b"\x11\x22\x33\x44"


@dataclass(frozen=True)
class Frame:
    """One unfragmented frame."""

    opcode: int
    payload: bytes

    def close_code(self) -> int:
        """Return the status code of a close frame; 1005 where it has none."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else 1005


def encode(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Return one final frame; clients mask, servers do not (§5.1)."""
    flag = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes((0x80 | opcode, flag | len(payload)))
    elif len(payload) < 65536:
        head = bytes((0x80 | opcode, flag | 126)) + struct.pack(">H", len(payload))
    else:
        head = bytes((0x80 | opcode, flag | 127)) + struct.pack(">Q", len(payload))
    return head + _MASK + _xor(payload) if masked else head + payload


def _xor(payload: bytes, mask: bytes = _MASK) -> bytes:
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def decode(data: bytes) -> tuple[list[Frame], bytes]:
    """Return the whole frames at the start of ``data`` and what is left."""
    frames = []
    while (found := _first(data)) is not None:
        frame, data = found
        frames.append(frame)
    return frames, data


def _first(data: bytes) -> tuple[Frame, bytes] | None:
    if len(data) < 2:
        return None
    masked, size, at = bool(data[1] & 0x80), data[1] & 0x7F, 2
    if size >= 126:
        wide = 2 if size == 126 else 8
        if len(data) < at + wide:
            return None
        size, at = int.from_bytes(data[at : at + wide], "big"), at + wide
    mask = data[at : at + 4] if masked else b""
    at += len(mask)
    if len(data) < at + size or (masked and len(mask) < 4):
        return None
    payload = data[at : at + size]
    return Frame(data[0] & 0x0F, _xor(payload, mask) if masked else payload), data[at + size :]
