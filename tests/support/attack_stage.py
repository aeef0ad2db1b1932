"""A gateway with a recording upstream, on which attack cases are run one after another."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.attack_case import AttackCase, Secrets
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Answer, Malformed, Request, Truncated
from tests.support.raw import BytesReader, RawClient
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB
from tests.support.visitor import logged_in
from tests.support.waiting import PATIENCE, wait_for

QUIET = 0.05
"""Seconds without a byte after which a conversation that goes on is taken as settled."""
QUIET_AFTER_TWO = 0.2
"""The same where a second request might still be on its way."""
QUIET_WITHIN_AN_ANSWER = 2.0
"""The same where what came is not a whole number of answers."""
QUIET_AFTER_MANY = 1.0
"""The same where many requests may have been sent."""


@dataclass
class Outcome:
    """What a case did, on both sides of the gateway."""

    case: AttackCase
    secrets: Secrets
    answers: list[Answer] = field(default_factory=list)
    leftover: bytes = b""
    """What came after the last whole answer: a tunnel's bytes, or an answer cut short."""
    closed: bool = False
    seconds: float = 0.0
    cpu: float = 0.0
    requests: list[Request] = field(default_factory=list)
    upstream_bytes: bytes = b""
    violations: list[str] = field(default_factory=list)
    log: str = ""
    canary: str = ""
    """Why the canary died; empty where it lived."""


class AttackStage:
    """One gateway with one upstream, and two people logged in."""

    def __init__(self, directory: Path) -> None:
        self.recorder = RecorderUpstream(_answer)
        self.recorder.start()
        self.gateway = GatewayProcess(directory, attack_config(self.recorder.url))
        self.gateway.start()
        try:
            self._log_in()
        except BaseException:
            self.gateway.kill()
            self.recorder.stop()
            raise

    def _log_in(self) -> None:
        """Log two people in, and see what harmless requests look like upstream."""
        alice, bob = logged_in(self.gateway, ALICE), logged_in(self.gateway, BOB)
        name, value = alice.session_pair()
        self.secrets = Secrets(self.gateway.authority, name, value, bob.cookie_pair())
        self.with_session = self._baseline("/app/baseline", f"Cookie: {name}={value}\r\n")
        self.anonymous = self._baseline("/public/baseline", "")

    def close(self) -> None:
        """Stop both; the gateway must end cleanly."""
        try:
            self.gateway.stop()
        finally:
            self.gateway.kill()
            self.recorder.stop()

    def _baseline(self, target: str, cookie: str) -> Request:
        """Return what the upstream gets for a harmless request."""
        with self.gateway.connect() as client:
            client.send(f"GET {target} HTTP/1.1\r\nHost: {self.secrets_host()}\r\n{cookie}\r\n")
            answer = client.answer()
        assert answer.status == 200, answer
        return self.recorder.last()

    def secrets_host(self) -> str:
        """Return the gateway's host and port."""
        return self.gateway.authority

    def run(self, case: AttackCase) -> Outcome:
        """Send the case, see what comes of it on both sides, and send the canary after it."""
        outcome = Outcome(case, self.secrets)
        requests, violations = len(self.recorder.requests), len(self.recorder.violations)
        sizes = [len(connection.received) for connection in self.recorder.connections]
        log_size = len(self.gateway.log_text())
        started, cpu = time.monotonic(), self.gateway.cpu()
        received, outcome.closed = converse(self.gateway.port, case, self.secrets)
        outcome.seconds, outcome.cpu = time.monotonic() - started, self.gateway.cpu() - cpu
        outcome.answers, outcome.leftover = _read_answers(case, received)
        outcome.canary = self._canary(case)
        outcome.requests = [r for r in self.recorder.requests[requests:] if not r.target.startswith("/app/canary")]
        outcome.violations = self.recorder.violations[violations:]
        outcome.upstream_bytes = b"".join(
            bytes(connection.received[sizes[i] if i < len(sizes) else 0 :])
            for i, connection in enumerate(self.recorder.connections)
        )
        outcome.log = self.gateway.log_text()[log_size:]
        return outcome

    def _canary(self, case: AttackCase) -> str:
        """Send a normal request on a new connection; return what is wrong with it."""
        target = f"/app/canary?{case.id}"
        cookie = f"{self.secrets.cookie_name}={self.secrets.cookie_value}"
        started = time.monotonic()
        try:
            with RawClient(self.gateway.port, timeout=PATIENCE) as client:
                client.send(f"GET {target} HTTP/1.1\r\nHost: {self.secrets.host}\r\nCookie: {cookie}\r\n\r\n")
                answer = client.answer()
        except (OSError, Malformed, Truncated) as error:
            return f"{error!r} after {time.monotonic() - started:.2f} s; alive: {self.gateway.is_alive()}"
        found = wait_for(lambda: [r for r in self.recorder.requests if r.target == target], what="the canary")
        if answer.status != 200 or found[-1].get_all("X-Forwarded-User") != [ALICE.user]:
            return f"answered {answer.status} as {found[-1].get_all('X-Forwarded-User')}"
        return ""


UNREACHABLE_PROVIDER = {"id": "sso", "issuer": "http://127.0.0.1:9", "client_id": "gateway"}
"""Callbacks are judged before the provider is asked about anything."""


def attack_config(upstream: str) -> dict[str, object]:
    """Return the configuration that the cases assume, with short limits."""
    return gateway_config(
        route("app", "/app", upstream),
        route("admin", "/admin", upstream),
        route("ws", "/ws", upstream),
        route("public", "/public", upstream, public=True),
        public_url="http://127.0.0.1",
        login={"local": {"users": "users.yaml"}, "oidc": [UNREACHABLE_PROVIDER]},
        limits={"first_byte_time": "2s", "head_time": "2s", "body_idle_time": "2s", "linger_time": "1s"},
    )


def _answer(request: Request) -> bytes:
    """Answer with the request's target, so that the order of pipelined answers shows."""
    body = request.target.encode()[:2000]
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _read_answers(case: AttackCase, received: bytes) -> tuple[list[Answer], bytes]:
    """Take apart what the client received; return the answers, and what is left."""
    reader = BytesReader(received)
    methods = case.methods()
    answers: list[Answer] = []
    while reader.buffer:
        before = reader.buffer
        index = len(answers)
        try:
            answer = reader.answer(methods[index] if index < len(methods) else "GET")
        except Truncated:
            return answers, before
        answers.append(answer)
        if answer.status == 101:
            break
    return answers, reader.buffer


def converse(port: int, case: AttackCase, secrets: Secrets) -> tuple[bytes, bool]:
    """Send the case's bytes and read at the same time; return what came, and whether the peer closed."""
    must_close = case.expect == "reject_400_family"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        talk = _Conversation(connection)
        for piece in case.pieces(secrets):
            if isinstance(piece, bytes):
                talk.send(piece)
            else:
                talk.read_for(piece)
        if must_close:
            talk.read_for(PATIENCE)
        else:
            talk.settle(lambda received: _quiet_time(case, received))
    return bytes(talk.received), talk.closed


def _quiet_time(case: AttackCase, received: bytes) -> float:
    """Return how long nothing must come before the conversation is taken as settled."""
    answers, left = _read_answers(case, received)
    if left and not (answers and answers[-1].status == 101):
        return QUIET_WITHIN_AN_ANSWER
    if "{REPEAT" in case.raw and len(case.methods()) == 1:
        return QUIET_AFTER_MANY
    return QUIET_AFTER_TWO if case.marker() else QUIET


class _Conversation:
    """A non-blocking connection on which reading never waits for writing."""

    def __init__(self, connection: socket.socket) -> None:
        self.received = bytearray()
        self.closed = False
        self._socket = connection
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)

    def send(self, data: bytes) -> None:
        """Send all of ``data`` unless the peer closes; gives up after `PATIENCE` without progress."""
        view = memoryview(data)
        while view and not self.closed:
            self._selector.modify(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            events = self._selector.select(PATIENCE)
            if not events:
                return
            if events[0][1] & selectors.EVENT_WRITE:
                try:
                    view = view[self._socket.send(view) :]
                except BlockingIOError:
                    pass
                except OSError:
                    self._drain()
                    self.closed = True
            if events[0][1] & selectors.EVENT_READ:
                self._read()
        self._selector.modify(self._socket, selectors.EVENT_READ)

    def read_for(self, seconds: float) -> None:
        """Read until the peer closes or the time is over."""
        deadline = time.monotonic() + seconds
        while not self.closed and (left := deadline - time.monotonic()) > 0:
            if self._selector.select(left):
                self._read()

    def settle(self, quiet: Callable[[bytes], float]) -> None:
        """Read until the peer closes, or is quiet after it has answered, for as long as that asks for."""
        deadline = time.monotonic() + PATIENCE
        while not self.closed and time.monotonic() < deadline:
            if self._selector.select(quiet(bytes(self.received))):
                self._read()
            elif self.received:
                return

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data
        self.closed = self.closed or not data

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65536):
                self.received += data
