"""What the log says of heads that were refused: as much as is safe, and nothing that is secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.glimpse import MAX_SHOWN, glimpse


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /a?token=x HTTP/1.1\r\nHost: a.example\r\n", ("GET", "a.example", "/a")),
        (b"\r\nGET /a HTTP/1.1\nhost:a.example:80\n", ("GET", "a.example:80", "/a")),
        (b"GET /a b?c HTTP/1.1\r\n", ("GET", "", "/a")),
        (b"GET /a#b HTTP/1.1\r\nX: y\r\n  Host : c\r\n", ("GET", "c", "/a")),
        (b"POST http://u:secret@a.example/x?y HTTP/1.1\r\n", ("POST", "a.example", "/x")),
        (b"GET http://a.example?q=secret HTTP/1.1\r\n", ("GET", "a.example", "")),
        (b"GET / HTTP/1.1\r\nHost: u:secret@b/x?y\r\n", ("GET", "b", "/")),
        (b"GET / HTTP/1.1\r\nX: 1\r\nHost: a\r\nHost: b\r\n", ("GET", "a", "/")),
        (b'GET /"\\\x1b\xff HTTP/1.1\r\nHost: "\x01\r\n', ("GET", '"\x01', '/"\\\x1b\ufffd')),
        (b"GET //u:secret@b/x@y HTTP/1.1\r\n", ("GET", "", "//b/x@y")),
        (b"%b / HTTP/1.1\r\n" % (b"secret" * 6), ("", "", "")),
        (b"GET", ("GET", "", "")),
        (b"GET mailto:secret HTTP/1.1\r\n", ("GET", "", "")),
        (b"Cookie: session=secret\r\nHost: a\r\n", ("", "", "")),
        (b"Authorization: Basic secret", ("", "", "")),
        (b"\x16\x03\x01\x02\x00\x01\x00", ("", "", "")),
        (b"", ("", "", "")),
    ],
)
def test_what_is_said_of_a_head(head: bytes, expected: tuple[str, str, str]) -> None:
    """Method, host and path where they are there; no query, no user and password, nothing of another protocol."""
    assert glimpse(head) == expected


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_it_is_bounded_whatever_comes(first: bytes, second: bytes) -> None:
    """No input raises, and none makes more than three short texts."""
    for head in (first, b"GET /" + first + b"\r\nHost:" + second, b"GET /" + first * 20 + b" HTTP/1.1\r\n"):
        assert all(len(part) <= MAX_SHOWN for part in glimpse(head))
