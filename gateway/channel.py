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
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import count
from typing import Any

from gateway.core.metrics import Counters
from gateway.core.programs import Credential, Refused, Verdict
from gateway.core.refresh import Refreshed as LoginOutcome
from gateway.settings.settings import Settings
from gateway.signing.keys import Keys

_LENGTH_BYTES = 4
RETRY_SECONDS = 5


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
    signing: Keys = ()
    """What identity tokens are signed with; none where there are no tokens, or no keys yet."""


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
class Forget:
    """To a worker: credentials that were verified before are to be asked about again; answered by `Refreshed`."""

    number: int


@dataclass(frozen=True, slots=True)
class Prove:
    """From a worker: whose credential is this."""

    number: int
    credential: Credential


@dataclass(frozen=True, slots=True)
class Proved:
    """The answer to `Prove`."""

    number: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RefreshLogin:
    """From a worker: ask a session's identity provider again."""

    number: int
    token: str = field(repr=False)
    """The session's, as its cookie has it."""
    host: str
    """The host that it is good for; empty for every host."""


@dataclass(frozen=True, slots=True)
class LoginRefreshed:
    """The answer to `RefreshLogin`."""

    number: int
    outcome: LoginOutcome


@dataclass(frozen=True, slots=True)
class Sign:
    """To a worker: sign identity tokens with these keys from now on."""

    keys: Keys


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
class StopAccepting:
    """To a worker: take no more connections, for others do now."""


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: take no more connections, finish what is under way within ``seconds``, and end."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """From a worker: when sessions were last used, by their handles."""

    times: dict[str, float]


@dataclass(frozen=True, slots=True)
class AskSeen:
    """From a worker: when was this session last used."""

    number: int
    handle: str


@dataclass(frozen=True, slots=True)
class SeenAt:
    """The reply to `AskSeen`; 0.0 where that is not known."""

    number: int
    seen: float


Message = (
    Start
    | Ready
    | Failed
    | Refresh
    | Refreshed
    | Forget
    | Prove
    | Proved
    | RefreshLogin
    | LoginRefreshed
    | Sign
    | Count
    | Counted
    | Leave
    | StopAccepting
    | Drain
    | Seen
    | AskSeen
    | SeenAt
)


class _Pickler(pickle.Pickler):
    """Takes dataclasses apart by their fields: compiled ones know no other way back."""

    def reducer_override(self, obj: object) -> Any:
        if is_dataclass(obj) and not isinstance(obj, type):
            return type(obj), tuple(getattr(obj, each.name) for each in fields(obj) if each.init)
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
        self._verdicts: dict[int, asyncio.Future[Verdict]] = {}
        self._outcomes: dict[int, asyncio.Future[LoginOutcome]] = {}
        self._seen: dict[int, asyncio.Future[float]] = {}

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
        return await self._ask(Refresh(next(self._numbers)), seconds)

    async def forget(self, seconds: float) -> bool:
        """Let a worker forget whose credentials were; tell whether it has, within ``seconds``."""
        return await self._ask(Forget(next(self._numbers)), seconds)

    async def _ask(self, message: Refresh | Forget, seconds: float) -> bool:
        number = message.number
        event = self._asked[number] = asyncio.Event()
        self.send(message)
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            del self._asked[number]
        return True

    async def prove(self, credential: Credential, seconds: float) -> Verdict:
        """Ask the parent whose a credential is; nothing is known where it does not tell within ``seconds``."""
        number = next(self._numbers)
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._verdicts[number] = verdict
        self.send(Prove(number, credential))
        try:
            async with asyncio.timeout(seconds):
                return await verdict
        except TimeoutError:
            return Refused(503, "whoever verifies credentials took too long", RETRY_SECONDS)
        finally:
            del self._verdicts[number]

    async def refresh_login(self, token: str, host: str, seconds: float) -> LoginOutcome:
        """Let the parent ask a session's provider; nothing is known where it does not tell within ``seconds``."""
        number = next(self._numbers)
        outcome: asyncio.Future[LoginOutcome] = asyncio.get_running_loop().create_future()
        self._outcomes[number] = outcome
        self.send(RefreshLogin(number, token, host))
        try:
            async with asyncio.timeout(seconds):
                return await outcome
        except TimeoutError:
            return LoginOutcome("later", again=RETRY_SECONDS)
        finally:
            del self._outcomes[number]

    async def ask_seen(self, handle: str, seconds: float) -> float:
        """Ask the parent when a session was last used. Raises TimeoutError where it does not tell in ``seconds``."""
        number = next(self._numbers)
        seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._seen[number] = seen
        self.send(AskSeen(number, handle))
        try:
            async with asyncio.timeout(seconds):
                return await seen
        finally:
            del self._seen[number]

    async def receive(self) -> Message | None:
        """Return the next message; None once the other side is gone. Answers to what was asked are taken here."""
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
                message: Message = pickle.loads(await self._reader.readexactly(length))  # noqa: S301 - our own parent or child
            except (asyncio.IncompleteReadError, OSError):
                return None
            if isinstance(message, Refreshed):
                if message.number in self._asked:
                    self._asked[message.number].set()
            elif isinstance(message, Proved):
                if message.number in self._verdicts and not self._verdicts[message.number].done():
                    self._verdicts[message.number].set_result(message.verdict)
            elif isinstance(message, LoginRefreshed):
                if message.number in self._outcomes and not self._outcomes[message.number].done():
                    self._outcomes[message.number].set_result(message.outcome)
            elif isinstance(message, SeenAt):
                if message.number in self._seen and not self._seen[message.number].done():
                    self._seen[message.number].set_result(message.seen)
            else:
                return message

    def stop(self) -> None:
        """Let `receive` return as if the other side were gone."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        self._reader.feed_eof()

    async def close(self) -> None:
        """Close this end, when all that was sent is out."""
        with contextlib.suppress(OSError):
            self._writer.close()
            await self._writer.wait_closed()
