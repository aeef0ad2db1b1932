"""The access log: one JSON object a line, built in one go, written in batches by a thread of its own.

A log that cannot be written costs lines, which are counted, and never a request (the event loop
does not wait for it).
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quote
from queue import SimpleQueue
from threading import Thread
from typing import Final

MAX_PENDING: Final = 8 * 1024 * 1024
"""Bytes waiting for the disk or pipe; beyond, lines are dropped."""
BATCH_LINES: Final = 512


class LineWriter:
    """Writes lines to a file descriptor without ever making its caller wait."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self._lines: list[str] = []
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._queued = 0
        self._written = 0
        self.dropped = 0
        self._worker = Thread(target=self._work, name="log-writer", daemon=True)
        self._worker.start()

    def write(self, line: str) -> None:
        """Take one line, its newline included."""
        self._lines.append(line)
        if len(self._lines) >= BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Hand what was taken to the thread, or drop it if too much waits there."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        if self._queued - self._written > MAX_PENDING:
            self.dropped += len(lines)
            return
        data = "".join(lines).encode("utf-8", "replace")
        self._queued += len(data)
        self._queue.put(data)

    def _work(self) -> None:
        while (data := self._queue.get()) is not None:
            left = memoryview(data)
            while left:
                # Into a pipe whole lines of several workers only mix whole in pieces that are written at once.
                size = _whole_lines(data, len(data) - len(left)) if self._is_pipe else len(left)
                try:
                    # Two statements: mypyc evaluates a call within a slice of a memoryview twice.
                    written = os.write(self._descriptor, left[:size])
                    left = left[written:]
                except BlockingIOError:
                    # Shared with somebody who made it non-blocking: wait here, where nobody minds.
                    time.sleep(0.05)
                except OSError:
                    self.dropped += data.count(b"\n")
                    break
            self._written += len(data)

    def close(self, timeout: float = 1.0) -> None:
        """Write what is pending, for at most ``timeout`` seconds."""
        self.flush()
        self._queue.put(None)
        self._worker.join(timeout)


def _whole_lines(data: bytes, start: int) -> int:
    """Return how many bytes from ``start`` on hold as many whole lines as a pipe takes at once (pipe(7), PIPE_BUF)."""
    end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
    return (end or data.find(b"\n", start) + 1 or len(data)) - start


_MILLISECONDS: Final = tuple(f".{number:03d}Z" for number in range(1000))


class Clock:
    """The time of day as log lines show it, formatted once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""
        self._http_second = -1
        self._http_date = b""

    def stamp(self, now: float) -> str:
        """Return ``now`` (seconds since the epoch) as RFC 3339 in UTC with milliseconds."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return self._prefix + _MILLISECONDS[int((now - second) * 1000)]

    def http_date(self, now: float) -> bytes:
        """Return ``now`` as an IMF-fixdate (RFC 9110 §5.6.7)."""
        second = int(now)
        if second != self._http_second:
            self._http_second = second
            parts = time.gmtime(second)
            day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[parts.tm_wday]
            months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
            month = months[parts.tm_mon - 1]
            self._http_date = time.strftime(f"{day}, %d {month} %Y %H:%M:%S GMT", parts).encode("ascii")
        return self._http_date


def access_line(
    stamp: str,
    client: str,
    method: str,
    host: str,
    path: str,
    status: int,
    sent: int,
    seconds: float,
    upstream_seconds: float | None,
    user: str,
    route: str,
    request_id: str,
    error: str,
    more: str = "",
) -> str:
    """Return one line of the access log. ``path`` is without its query, which may hold secrets.

    ``method``, ``host``, ``client`` and ``route`` hold nothing to be escaped: their grammar was checked. ``more`` are
    further fields, as `text_field` writes them.
    """
    # Joined: an f-string of this size costs 20 000 instructions more where mypyc compiles it.
    return "".join(
        (
            '{"time":"', stamp, '","client":"', client, '","method":"', method, '","host":"', host,
            '","path":', quote(path), ',"status":', str(status), ',"bytes":', str(sent),
            ',"duration":', _duration(seconds),
            ',"upstream_duration":', "null" if upstream_seconds is None else _duration(upstream_seconds),
            ',"user":', quote(user) if user else "null", ',"route":"', route, '","request_id":"', request_id,
            f'","error":{quote(error)}' if error else '"', more, "}\n",
        )
    )  # fmt: skip


def text_field(name: str, value: str) -> str:
    """Return one more field of a line."""
    return f',"{name}":{quote(value)}'


def list_field(name: str, values: Sequence[str]) -> str:
    """Return one more field of a line, with several texts."""
    return f',"{name}":[{",".join([quote(value) for value in values])}]'


def escaped(text: str) -> str:
    """Return a text as it may stand between the quotes of a line."""
    return quote(text)[1:-1]


_SHORT_DURATIONS: Final = tuple(f"{number / 10_000:.4f}" for number in range(1000))


def _duration(seconds: float) -> str:
    """Return seconds with four decimals; short ones are not formatted anew each time, for 1 000 instructions each."""
    if 0.0 <= seconds < 0.09:
        return _SHORT_DURATIONS[int(seconds * 10_000 + 0.5)]
    return f"{seconds:.4f}"
