"""Many connections at once, and canaries that tell how others fare meanwhile."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from tests.support.gateway import GatewayProcess
from tests.support.raw import RawClient
from tests.support.waiting import PATIENCE


class Canaries:
    """Plain requests one after another in a thread of their own, and how long each took."""

    def __init__(self, gateway: GatewayProcess, target: str = "/canary", pause: float = 0.02) -> None:
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._gateway = gateway
        self._target = target
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.is_set():
            started = time.monotonic()
            try:
                with self._gateway.connect() as client:
                    client.send(f"GET {self._target} HTTP/1.1\r\nHost: {self._gateway.authority}\r\n\r\n")
                    status = client.answer().status
                if status != 200:
                    self.failures.append(str(status))
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            self.seconds.append(time.monotonic() - started)
            self._over.wait(self._pause)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the request under way."""
        self._over.set()
        self._thread.join(PATIENCE)

    def p99(self) -> float:
        """Return the 99th percentile, seconds."""
        ordered = sorted(self.seconds)
        return ordered[int(len(ordered) * 0.99)]

    def assert_fine(self, within: float = 5.0) -> None:
        """Fail where one was not served, or where the slowest hundredth took longer."""
        assert not self.failures, self.failures[:5]
        assert self.seconds
        assert self.p99() < within, f"p99 {self.p99():.2f} s of {len(self.seconds)}"


IDLE = 0.5
"""Seconds after which a kept connection is an idle one, which a server that stops may close."""


class KeepAliveLoad:
    """Clients that keep their connections, as browsers and proxies do; every request must be answered.

    A connection is only given up where an answer says so. While ``refusals_are_fine`` is set, a new one
    may be refused, or reset before its first answer (it was in the queue of a listener that closed).
    """

    def __init__(self, port: int, target: str, *, clients: int = 6, headers: str = "", ok: int = 200) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.refusals_are_fine = threading.Event()
        self._port = port
        self._ok = ok
        self._request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> KeepAliveLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                client = RawClient(self._port)
            except OSError as error:
                if self.refusals_are_fine.is_set():
                    return
                self.failures.append(f"connect: {error!r}")
                time.sleep(0.05)
                continue
            with client:
                self._use(client)

    def _use(self, client: RawClient) -> None:
        used = idle = False
        last = time.monotonic()
        while not self._over.is_set():
            try:
                client.send(self._request)
                # Where this process got no time, the connection was idle, and may be closed (RFC 9112 §9.6). The
                # answer to the request before may have been sent as soon as that was.
                last, before = time.monotonic(), last
                idle = used and last - before > IDLE
                answer = client.answer()
            except (OSError, AssertionError) as error:
                if client.buffer or not (idle or (self.refusals_are_fine.is_set() and not used)):
                    self.failures.append(repr(error))
                return
            used = True
            if answer.status != self._ok:
                self.failures.append(f"status {answer.status}")
            self.answered += 1
            if (answer.get("Connection") or "").lower() == "close":
                return
            time.sleep(0.002)


@contextlib.contextmanager
def canaries(gateway: GatewayProcess, target: str = "/canary") -> Iterator[Canaries]:
    """Send canaries for the length of a block."""
    running = Canaries(gateway, target)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def many_sockets(port: int, count: int, receive_buffer: int = 0) -> Iterator[list[socket.socket]]:
    """Open ``count`` connections, and close them after the block."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.socket()
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sockets.append(connection)
            connection.settimeout(PATIENCE)
            connection.connect(("127.0.0.1", port))
        yield sockets
    finally:
        for connection in sockets:
            connection.close()
