"""What responses say about caches: read as RFC 9111 has it, and made private without losing anything else."""

from __future__ import annotations

import pytest

from gateway.core.limits import Limits
from gateway.wire.caching import CLOSED, SAYS, SHARED, TARGETED, caching_of, is_closed, is_for_shared, make_private
from gateway.wire.head import AnswerHead, AnswerParser

VALUES = [
    ("", 0),
    ("no-cache", 0),
    ("max-age=60", 0),
    ("private", CLOSED),
    ("PRIVATE , max-age=5", CLOSED),
    ("no-store", CLOSED),
    ("no-store, must-understand", 0),
    ('private="Set-Cookie"', 0),
    ('private="a", private', CLOSED),
    ("public", SHARED),
    ("Public, max-age=5", SHARED),
    ("s-maxage=5", SHARED),
    ("public, private", CLOSED | SHARED),
    ('x="a, private"', 0),
    ('x="a, private", no-store', CLOSED),
    (r'x="a\", private"', 0),
    ('x="a, no-store', 0),
    ("privately", 0),
    ("x-no-store", 0),
]


@pytest.mark.parametrize(("value", "said"), VALUES)
def test_directives(value: str, said: int) -> None:
    assert caching_of(value.encode()) == said


def answer(*lines: str) -> AnswerHead:
    parser = AnswerParser(Limits(), frozenset())
    return parser.parse("\r\n".join(["HTTP/1.1 200 OK", *lines]).encode())


HEADS = [
    ((), 0),
    (("Expires: 0",), SAYS),
    (("Pragma: no-cache",), SAYS),
    (("Cache-Control: private",), SAYS | CLOSED),
    (("Cache-Control: max-age=1", "cache-control: no-store"), SAYS | CLOSED),
    (("Cache-Control: private", "CDN-Cache-Control: max-age=9"), SAYS | CLOSED | TARGETED),
    (("Surrogate-Control: no-store",), SAYS),
]


@pytest.mark.parametrize(("lines", "said"), HEADS)
def test_heads(lines: tuple[str, ...], said: int) -> None:
    """All fields count together, and each is forwarded as it came."""
    head = answer("A: 1", *lines)
    assert head.caching == said
    assert [line.decode().lower() for line in head.lines] == ["a: 1", *(line.lower() for line in lines)]


def test_what_is_closed() -> None:
    """A field for shared caches alone counts more than Cache-Control (RFC 9213 §2.2)."""
    assert is_closed(SAYS | CLOSED)
    assert is_closed(SAYS | CLOSED | SHARED)
    assert not is_closed(SAYS | CLOSED | TARGETED)
    assert not is_closed(SAYS)
    assert is_for_shared(SAYS | TARGETED)
    assert not is_for_shared(SAYS | CLOSED)


def test_connection_takes_no_caching_away() -> None:
    """What is decided by is what is sent, whatever an app names as for one hop."""
    head = answer("Cache-Control: private", "Connection: cache-control, a", "A: 1")
    assert head.kept_lines() == [b"cache-control: private"]


@pytest.mark.parametrize(
    ("lines", "made"),
    [
        ((), "private"),
        (("Cache-Control: public, max-age=60",), "private, max-age=60"),
        (("Cache-Control: s-maxage=9", "Cache-Control: no-transform, proxy-revalidate"), "private, no-transform"),
        (('Cache-Control: private="a, b", x="c, d"', "CDN-Cache-Control: max-age=1"), 'private, x="c, d"'),
        (("Surrogate-Control: max-age=1", "Cache-Control: must-revalidate"), "private, must-revalidate"),
    ],
)
def test_made_private(lines: tuple[str, ...], made: str) -> None:
    kept = make_private(answer("A: 1", *lines, "B: 2").lines)
    assert [line.decode() for line in kept] == ["A: 1", "B: 2", f"Cache-Control: {made}"]
    assert is_closed(answer(*(line.decode() for line in kept)).caching)
