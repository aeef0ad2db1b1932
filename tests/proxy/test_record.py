"""The access log: valid JSON whatever is logged, in order, and never a reason to wait."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.proxy.record import (
    BATCH_LINES,
    MAX_PENDING,
    Clock,
    LineWriter,
    access_line,
    escaped,
    list_field,
    text_field,
)
from gateway.wire.grammar import TOKEN, BadSyntax
from gateway.wire.headers import parse_host
from tests.support.waiting import PATIENCE

HOSTILE = st.text(max_size=40) | st.text(st.sampled_from('"\\\r\n\0\x1b\x7f\x85\u2028\ud800{}:,äé😀'), max_size=20)
HOSTS = st.text(st.sampled_from('aZ09.-_:[]"\\\n{}\x00'), max_size=12) | st.sampled_from(["a.example", "[::1]", "A:80"])


@given(HOSTILE, HOSTILE, HOSTILE, st.text(st.sampled_from(TOKEN.decode()), min_size=1, max_size=32), HOSTS)
@settings(max_examples=400)
def test_a_line_is_one_object(path: str, user: str, error: str, method: str, host: str) -> None:
    """Whatever a client can make of path, user, method, host and error, the line is one JSON object that holds it."""
    try:
        host = parse_host(host.encode("latin-1"))
    except BadSyntax:
        host = ""
    line = access_line("now", "::1", method, host, path, 200, 5, 0.12345, None, user, "app", "id", error)
    assert line.endswith("}\n")
    assert line.isascii()
    assert not set(line[:-1]) & set("\r\n\0\x1b\x7f")
    found = json.loads(line)
    assert (found["path"], found["user"], found["method"], found["host"]) == (path, user or None, method, host)
    assert found.get("error", "") == error
    assert (found["status"], found["bytes"], found["duration"], found["upstream_duration"]) == (200, 5, 0.1235, None)


@given(HOSTILE, st.lists(HOSTILE, max_size=3))
def test_further_fields_are_escaped(text: str, texts: list[str]) -> None:
    """They stand at the end, with or without an error before them."""
    more = text_field("a", text) + list_field("b", texts)
    for error in ("", "x"):
        line = access_line("t", "", "GET", escaped(text), "/", 200, 1, 0.5, 0.25, "", "app", "id", error, more)
        found = json.loads(line)
        assert (found["a"], found["b"], found["host"]) == (text, texts, text)
        assert line.isascii()


def test_the_fields_of_a_line() -> None:
    """They are those that the docs name, in one order."""
    line = access_line("t", "::1", "GET", "a", "/", 200, 1, 0.5, 0.25, "alice", "app", "id", "")
    assert list(json.loads(line)) == [
        "time", "client", "method", "host", "path", "status", "bytes", "duration", "upstream_duration", "user",
        "route", "request_id",
    ]  # fmt: skip


@example(datetime(1970, 1, 1))  # noqa: DTZ001
@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - the zone is set below
@settings(max_examples=200)
def test_the_clock_tells_the_time(moment: datetime) -> None:
    """Stamps and HTTP dates are right in every year, to the millisecond and second, and never ahead."""
    now = moment.replace(tzinfo=UTC).timestamp()
    clock = Clock()
    for _ in range(2):
        stamp = datetime.fromisoformat(clock.stamp(now))
        assert 0 <= now - stamp.timestamp() < 0.0011
        assert clock.stamp(now).endswith("Z")
        assert parsedate_to_datetime(clock.http_date(now).decode()).timestamp() == int(now)


def test_a_stamp_moves_with_the_time() -> None:
    """What is kept for a second is renewed with it, backwards too."""
    clock = Clock()
    stamps = [clock.stamp(now) for now in (1.999, 2.0, 2.5, 1.0, 3600.25)]
    assert [stamp[11:] for stamp in stamps] == [
        "00:00:01.999Z",
        "00:00:02.000Z",
        "00:00:02.500Z",
        "00:00:01.000Z",
        "01:00:00.250Z",
    ]


class Pipe:
    """A pipe that nobody reads until asked."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.log = LineWriter(self.writer)

    def read_all(self) -> bytes:
        """Read what is written until the writer is closed."""
        closer = Thread(target=self._close_writer)
        closer.start()
        found = b""
        while piece := os.read(self.reader, 1 << 20):
            found += piece
        closer.join(PATIENCE)
        return found

    def _close_writer(self) -> None:
        self.log.close(PATIENCE)
        os.close(self.writer)
        self.writer = -1

    def close(self) -> None:
        for descriptor in (self.reader, self.writer):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_lines_keep_their_order(pipe: Pipe) -> None:
    """Every line is written once, in the order in which it came, those of an unfinished batch too."""
    lines = [f"line {number} ä\n" for number in range(3 * BATCH_LINES + 7)]
    for line in lines:
        pipe.log.write(line)
    assert pipe.read_all().decode() == "".join(lines)
    assert pipe.log.dropped == 0


def test_a_blocked_pipe_blocks_nobody(pipe: Pipe) -> None:
    """While nobody reads, writing goes on; beyond a bound lines are dropped, whole and counted."""
    count, line = 40_000, "x" * 500

    def write() -> None:
        for number in range(count):
            pipe.log.write(f"{number} {line}\n")

    writer = Thread(target=write, daemon=True)
    writer.start()
    writer.join(PATIENCE)
    assert not writer.is_alive()
    assert pipe.log.dropped > 0
    found = pipe.read_all()
    assert len(found) < MAX_PENDING + 2 * BATCH_LINES * 520
    numbers = [int(text.split(b" ")[0]) for text in found.splitlines()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + pipe.log.dropped == count
    assert all(text.endswith(line.encode()) for text in found.splitlines())


def test_writing_goes_on_after_a_blockade(pipe: Pipe) -> None:
    """When somebody reads again, new lines are written, and nothing that was dropped comes late."""
    for number in range(40_000):
        pipe.log.write(f"old {number} {'x' * 500}\n")
    pipe.log.flush()
    dropped = pipe.log.dropped
    assert dropped > 0
    for _ in range(2 * MAX_PENDING // 500):
        os.read(pipe.reader, 65536)
        pipe.log.write("new\n")
        pipe.log.flush()
        if pipe.log.dropped == dropped:
            break
        dropped = pipe.log.dropped
    assert pipe.read_all().endswith(b"x\nnew\n")
    assert pipe.log.dropped == dropped


def test_a_reader_that_has_gone(pipe: Pipe) -> None:
    """Lines for a closed pipe are dropped and counted; nothing is raised."""
    os.close(pipe.reader)
    pipe.reader = -1
    for _ in range(BATCH_LINES + 3):
        pipe.log.write("line\n")
    pipe.log.close(PATIENCE)
    assert pipe.log.dropped == BATCH_LINES + 3


def test_a_full_disk() -> None:
    """Lines for which there is no room are dropped and counted."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    log = LineWriter(descriptor)
    log.write("line\n")
    log.close(PATIENCE)
    os.close(descriptor)
    assert log.dropped == 1


def test_a_pipe_that_somebody_made_non_blocking(pipe: Pipe) -> None:
    """The writer waits for room itself, and loses nothing."""
    os.set_blocking(pipe.writer, False)
    lines = [f"{number} {'x' * 500}\n" for number in range(1000)]
    for line in lines:
        pipe.log.write(line)
    assert pipe.read_all().decode() == "".join(lines)


def test_surrogates_do_not_stop_the_log(tmp_path: Path) -> None:
    """A line that cannot be written as UTF-8 is written as well as may be, and the next ones follow."""
    file = tmp_path / "access.log"
    with file.open("wb") as target:
        log = LineWriter(target.fileno())
        log.write("a\ud800b\n")
        log.write("c\n")
        log.close(PATIENCE)
    assert file.read_bytes() == b"a?b\nc\n"


def test_closing_does_not_wait_for_ever(pipe: Pipe) -> None:
    """At the end a blocked pipe costs no more than the time given."""
    for _ in range(2000):
        pipe.log.write("x" * 500 + "\n")
    closing = Thread(target=pipe.log.close, args=(0.05,), daemon=True)
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    pipe.read_all()


def test_lines_of_two_writers_into_one_pipe_stay_whole() -> None:
    """Several workers share one standard output: batches larger than a pipe takes at once mix line by line."""
    reading, writing = os.pipe()
    writers = [LineWriter(writing) for _ in range(2)]
    found = bytearray()

    def read() -> None:
        while piece := os.read(reading, 1000):
            found.extend(piece)

    reader = Thread(target=read)
    reader.start()
    lines = [mark * 150 + "\n" for mark in "ab"]
    for _ in range(200):
        for writer, line in zip(writers, lines, strict=True):
            for _ in range(60):
                writer.write(line)
            writer.flush()
    for writer in writers:
        writer.close(PATIENCE)
    os.close(writing)
    reader.join(PATIENCE)
    os.close(reading)
    assert sorted(set(found.decode().splitlines(keepends=True))) == lines
    assert found.count(b"\n") == 200 * 60 * 2
