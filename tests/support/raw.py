"""A client of bare sockets: sends exactly the bytes it is given and reads answers strictly."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from types import TracebackType

from tests.support.messages import Answer, ChunkedBody, Truncated, body_length, parse_answer_head
from tests.support.waiting import PATIENCE


class AnswerReader:
    """Reads answers from a source of bytes."""

    def __init__(self) -> None:
        self.buffer = b""

    def more(self) -> bytes:
        """Return the next bytes, those in the buffer first; empty at the end."""
        raise NotImplementedError

    def head(self) -> bytes:
        """Return one head with its empty line. Raises Truncated where the peer closes before its end."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.more()
            if not piece:
                raise Truncated(f"closed before the end of a head: {data[:200]!r}")
            data += piece
        end = data.index(b"\r\n\r\n") + 4
        self.buffer = data[end:] + self.buffer
        return data[:end]

    def answer(self, method: str = "GET") -> Answer:
        """Return the next final answer to a request of ``method``, its body complete. Raises Truncated."""
        answer = self.partial_answer(method)
        if not answer.complete:
            raise Truncated(f"{answer.status} with {len(answer.body)} bytes of body was cut short")
        return answer

    def partial_answer(self, method: str = "GET") -> Answer:
        """Return the next final answer; `complete` tells whether its body ended by its own framing."""
        interim = []
        while True:
            answer = parse_answer_head(self.head())
            if answer.status >= 200 or answer.status == 101:
                break
            assert body_length(answer.headers) is None, "a 1xx answer has no length"
            interim.append((answer.status, answer.headers))
        answer.interim = interim
        self._read_body(answer, method)
        return answer

    def _read_body(self, answer: Answer, method: str) -> None:
        length = body_length(answer.headers)
        if method == "HEAD" or answer.status in (101, 204, 304):
            answer.complete = True
        elif length == "chunked":
            self._read_chunked(answer)
        elif isinstance(length, int):
            answer.body = self._read_up_to(length)
            answer.complete = len(answer.body) == length
        else:
            answer.body = self.rest()
            answer.complete = True

    def _read_up_to(self, length: int) -> bytes:
        pieces, got = [], 0
        while got < length:
            piece = self.more()
            if not piece:
                break
            pieces.append(piece)
            got += len(piece)
        data = b"".join(pieces)
        self.buffer = data[length:] + self.buffer
        return data[:length]

    def _read_chunked(self, answer: Answer) -> None:
        body = ChunkedBody()
        while not body.done:
            piece = self.more()
            if not piece:
                break
            self.buffer = body.feed(piece)
        answer.body = bytes(body.data)
        answer.complete = body.done

    def rest(self) -> bytes:
        """Return everything until the peer closes. Raises TimeoutError where it does not."""
        pieces = []
        while piece := self.more():
            pieces.append(piece)
        return b"".join(pieces)


class BytesReader(AnswerReader):
    """Reads answers from bytes that were collected before."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.buffer = data

    def more(self) -> bytes:
        """Return what is left."""
        data, self.buffer = self.buffer, b""
        return data


class RawClient(AnswerReader):
    """One client connection to a loopback port. Reading waits at most ``timeout`` seconds per call."""

    def __init__(
        self,
        port: int,
        *,
        timeout: float = PATIENCE,
        source: str = "",
        receive_buffer: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.timeout = timeout
        self.closed_by_peer = False

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, data: bytes | str) -> None:
        """Send bytes; text is latin-1, one character a byte."""
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def close(self) -> None:
        """Close in good order."""
        self.socket.close()

    def abort(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def more(self) -> bytes:
        """Return the next bytes; empty when the peer has closed. Raises TimeoutError."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self.closed_by_peer = self.closed_by_peer or not data
        return data

    def is_closed(self, within: float = PATIENCE) -> bool:
        """Tell whether the peer closes within so many seconds; what still arrives is dropped."""
        deadline = time.monotonic() + within
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.more():
                    return True
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(OSError):
                self.socket.settimeout(self.timeout)
        return False

    def is_quiet(self, seconds: float = 0.5) -> bool:
        """Tell whether nothing arrives and nothing closes for so many seconds."""
        self.socket.settimeout(seconds)
        try:
            self.buffer = self.more()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(self.timeout)
        return False
