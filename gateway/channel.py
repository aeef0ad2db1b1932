"""The message stream between the parent and one worker: a socket pair, of which each holds one end.

Messages are dataclasses, pickled: both ends are the same program, started by the parent, and nobody
else can reach the socket. The end of the stream means that the other side is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import pickle
import socket
from dataclasses import dataclass, fields, is_dataclass
from itertools import count
from typing import Any

from gateway.core.metrics import Counters
from gateway.settings.settings import Settings

_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Start:
    """To a worker, first of all: what to serve, and on which sockets."""

    settings: Settings
    control_socket: str
    """Path of the unix socket behind ``/_gateway``."""
    listeners: tuple[int, ...]
    """Descriptors of listening sockets, inherited."""
    pages: dict[int, bytes]
    """Error pages by status."""
    csp: str


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: it takes connections."""


@dataclass(frozen=True, slots=True)
class Failed:
    """From a worker: it cannot start, for these reasons."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refresh:
    """Sessions were ended: look now, or if this comes from a worker, let the others look."""

    number: int


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The answer to `Refresh`: what was ended before it is refused from now on."""

    number: int


@dataclass(frozen=True, slots=True)
class Count:
    """To a worker: tell what you have counted."""


@dataclass(frozen=True, slots=True)
class Counted:
    """From a worker: what it has counted since its start."""

    counters: Counters


@dataclass(frozen=True, slots=True)
class Leave:
    """To a worker: let no client keep its connection, for the gateway is about to stop."""


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: take no more connections, finish what is under way within ``seconds``, and end."""

    seconds: float


Message = Start | Ready | Failed | Refresh | Refreshed | Count | Counted | Leave | Drain


class _Pickler(pickle.Pickler):
    """Takes dataclasses apart by their fields: compiled ones know no other way back."""

    def reducer_override(self, obj: object) -> Any:
        if is_dataclass(obj) and not isinstance(obj, type):
            return type(obj), tuple(getattr(obj, field.name) for field in fields(obj) if field.init)
        return NotImplemented


def encode(message: Message) -> bytes:
    """Return a message as bytes, with its length in front."""
    out = io.BytesIO()
    _Pickler(out).dump(message)
    data = out.getvalue()
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


class Channel:
    """One end of the stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = count()
        self._asked: dict[int, asyncio.Event] = {}

    @classmethod
    async def over(cls, sock: socket.socket) -> Channel:
        """Return a channel over one end of a socket pair."""
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Message) -> None:
        """Send a message; nothing happens if the other side is gone."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def refresh(self, seconds: float) -> bool:
        """Let the other side look at what was ended; tell whether it has, within ``seconds``."""
        number = next(self._numbers)
        event = self._asked[number] = asyncio.Event()
        self.send(Refresh(number))
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            del self._asked[number]
        return True

    async def receive(self) -> Message | None:
        """Return the next message; None once the other side is gone. Answers to `refresh` are taken here."""
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
                message: Message = pickle.loads(await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, OSError):
                return None
            if not isinstance(message, Refreshed):
                return message
            if message.number in self._asked:
                self._asked[message.number].set()

    def stop(self) -> None:
        """Let `receive` return as if the other side were gone."""
        self._reader.feed_eof()

    async def close(self) -> None:
        """Close this end, when all that was sent is out."""
        with contextlib.suppress(OSError):
            self._writer.close()
            await self._writer.wait_closed()
