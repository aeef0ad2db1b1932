"""Heads of upstreams' answers: what is taken, and what is a fault of the upstream."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.grammar import BadSyntax
from gateway.wire.head import AnswerHead, AnswerParser
from tests.wire.feeding import LIMITS


def parse(text: str, dropped: frozenset[bytes] = frozenset()) -> AnswerHead:
    return AnswerParser(LIMITS, dropped).parse(text.encode("latin-1"))


GOOD = [
    ("HTTP/1.1 200 OK", 200),
    ("HTTP/1.1 200 ", 200),
    ("HTTP/1.1 404", 404),
    ("HTTP/1.0 599 \xe4\x01", 599),
    ("HTTP/1.1 100 C", 100),
]
BAD = [
    "", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 X", "HTTP/1.1 600 X",
    "HTTP/1.1 999 X",
    "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1 200\tOK", "HTTP/1.1 +20 OK", "HTTP/1.1 2 0 OK",
    "HTTP/1.1 \xb2\xb2\xb2 OK",
    "HTTP/2.0 200 OK", "HTTP/1.2 200 OK", "http/1.1 200 OK", "ICY 200 OK", " HTTP/1.1 200 OK", "<html>",
    "HTTP/1.1 200 OK\r\n : a", "HTTP/1.1 200 OK\r\n X: a", "HTTP/1.1 200 OK\r\n\tX : a", "HTTP/1.1 200 OK\r\nX\x0b: a",
    "HTTP/1.1 200 OK\r\nX Y: a", "HTTP/1.1 200 OK\r\nX Y : a", "HTTP/1.1 200 OK\r\nX ", "HTTP/1.1 200 OK\r\nX: a\r\n b",
    "HTTP/1.1 200 OK\r\nX: a\r\n b: c", "HTTP/1.1 200 OK\r\nX: a\r\n b : c",
    "HTTP/1.1 200 OK\r\nContent-Length : 5\r\nContent-Length: 6",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding : chunked",
    "HTTP/1.1 200 OK\r\nContent-Length\t: 5\r\nTransfer-Encoding: chunked",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding : chunked",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding : gzip, chunked",
    "HTTP/1.1 200 OK\r\nContent-Length: 5,", "HTTP/1.1 200 OK\r\nContent-Length: ,5",
    "HTTP/1.1 200 OK\r\nContent-Length: 5,,5", "HTTP/1.1 200 OK\r\nContent-Length: 5 5",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 6", "HTTP/1.1 200 OK\r\nContent-Length: 5, +5",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 6",
    "HTTP/1.1 200 OK\r\nX: \x00",
    "HTTP/1.1 200 OK\r\nX: \x01",
    "HTTP/1.1 200 OK\r\nX: a\rb", "HTTP/1.1 200 OK\r\nX: a\nb", "HTTP/1.1 200 OK\r\nX",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
    "HTTP/1.1 200 OK\r\nContent-Length: -5",
    "HTTP/1.1 200 OK\r\nContent-Length:",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "HTTP/1.1 200 OK\r\n" + "X: a\r\n" * LIMITS.answer_headers + "X: a",
    "HTTP/1.1 200 OK\r\nX: " + "a" * LIMITS.answer_head,
]  # fmt: skip


@pytest.mark.parametrize(("text", "status"), GOOD)
def test_a_status_line(text: str, status: int) -> None:
    """The status counts; the reason may be missing, and holds anything (RFC 9112 §4)."""
    assert parse(text).status == status


@pytest.mark.parametrize("text", BAD, ids=[text[:60] for text in BAD])
def test_nonsense_is_refused(text: str) -> None:
    """What two clients could read differently is a fault of the upstream."""
    with pytest.raises(BadSyntax):
        parse(text)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_arbitrary_bytes_are_an_answer_or_not(data: bytes) -> None:
    """Nothing but BadSyntax is ever raised."""
    for text in (data, b"HTTP/1.1 200 OK\r\n" + data):
        with suppress(BadSyntax):
            assert 100 <= AnswerParser(LIMITS, frozenset()).parse(text).status < 600


def test_what_an_answer_says() -> None:
    """Its framing, cookies and kind are understood, and orders to the server in front are dropped."""
    head = parse(
        "HTTP/1.1 200 OK\r\nServer: x\r\nX-Powered-By: x\r\nX-Accel-Redirect: /secret\r\nx_accel_buffering: no\r\n"
        "X-Sendfile: /etc/passwd\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n"
        "Set-Cookie: a=b, c\r\nset-cookie: d=e\r\ndate: today\r\nContent-Type: text/html\r\nRemote_User: eve\r\n"
        "Content-Length: 5\r\nETag:  x ",
        frozenset({b"remote-user"}),
    )
    assert head.kept_lines() == [b"date: today", b"content-type: text/html", b"ETag:  x "]
    assert head.set_cookies == (b"a=b, c", b"d=e")
    assert (head.has_date, head.content_type, head.content_length) == (True, b"text/html", 5)
    assert not head.keeps_alive()


@pytest.mark.parametrize("space", [" ", "\t", " \t  "])
def test_white_space_before_a_colon_is_removed_before_anything_is_judged(space: str) -> None:
    """Every field is the one that it is without it: those with a meaning, those that are dropped, and all others."""
    text = (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\nServer: x\r\nX-Accel-Redirect: /x\r\n"
        "Remote_User: eve\r\nDate: today\r\nContent-Type: text/html\r\nETag:  x : y \r\nConnection: close, x-hop\r\n"
        "X-Hop: 1\r\nUpgrade: h2c"
    )
    parser = AnswerParser(LIMITS, frozenset({b"remote-user"}))
    plain = parser.parse(text.encode())
    for _ in range(2):
        spaced = parser.parse(re.sub(r"(?<=\n)([^:]+):", rf"\1{space}:", text).encode())
        assert (
            spaced.kept_lines() == plain.kept_lines() == [b"date: today", b"content-type: text/html", b"ETag:  x : y "]
        )
        for name in ("set_cookies", "content_length", "connection", "close", "nominated", "content_type", "upgrade"):
            assert getattr(spaced, name) == getattr(plain, name)
        assert (spaced.content_length, spaced.set_cookies, spaced.upgrade) == (5, (b"a=b",), b"h2c")


@pytest.mark.parametrize("fields", ["5\r\nContent-Length: 5", "5, 5", "5,5 ,\t5", "5\r\nContent-Length : 5, 5"])
def test_equal_lengths_are_one(fields: str) -> None:
    """Repeated or in a list, a number that stays the same is that number (RFC 9112 §6.3)."""
    assert parse(f"HTTP/1.1 200 OK\r\nContent-Length: {fields}").content_length == 5
