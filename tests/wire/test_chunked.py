"""The chunked coding: what is decoded, what is refused, and that pieces do not matter (RFC 9112 §7)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.framing import (
    LAST_CHUNK,
    MAX_CHUNK_LINE,
    MAX_TRAILER_BYTES,
    MAX_TRAILERS,
    ChunkedBody,
    LengthBody,
    UntilClose,
    chunk,
)
from gateway.wire.grammar import BadSyntax
from tests.wire.feeding import pieces
from tests.wire.strategies import BROKEN_CHUNKED, CHUNKED

Result = tuple[bytes, bytes, bool] | int


def decode(fed: list[bytes]) -> Result:
    """Return payload, rest and completeness of a body that arrives in pieces, or the status it is refused with."""
    body, payload, rest = ChunkedBody(), b"", b""
    try:
        for piece in fed:
            taken, left = body.feed(piece)
            payload += taken
            rest += left
    except BadSyntax as error:
        return error.status
    return payload, rest, body.done


GOOD = [
    (b"0\r\n\r\n", b""),
    (b"000\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"5\r\nhello\r\nA\r\n0123456789\r\n00\r\n\r\n", b"hello0123456789"),
    (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    (b"000000000000000000000001\r\nx\r\n0\r\n\r\n", b"x"),
    (b'1;a=b;c="d, e"\r\nx\r\n0;last\r\n\r\n', b"x"),
    (b"1 ;a\r\nx\r\n0\r\n\r\n", b"x"),
    (b"1\r\nx\r\n0\r\nTrailer: value\r\nContent-Length: 5\r\n\r\n", b"x"),
    (b"1;" + b"a" * (MAX_CHUNK_LINE - 2) + b"\r\nx\r\n0\r\n\r\n", b"x"),
    (b"0\r\n" + b"A: b\r\n" * MAX_TRAILERS + b"\r\n", b""),
    (b"0\r\nA: " + b"b" * (MAX_TRAILER_BYTES - 3) + b"\r\n\r\n", b""),
]
BAD = [
    (b"\r\n", 400, "chunk-size = 1*HEXDIG"),
    (b";a\r\n", 400, "an extension without a size"),
    (b"g\r\n", 400, "no hexadecimal digit"),
    (b"0x5\r\nhello\r\n", 400, "a prefix, which int(x, 16) takes"),
    (b"+5\r\nhello\r\n", 400, "a sign"),
    (b"-5\r\nhello\r\n", 400, "a minus"),
    (b"1_0\r\n", 400, "an underscore, which int() takes"),
    (b" 5\r\nhello\r\n", 400, "a space before"),
    (b"5 \r\nhello\r\n", 400, "a space behind, without an extension"),
    (b"5\t\r\nhello\r\n", 400, "a tab behind"),
    (b"5\nhello\r\n", 400, "a bare LF after the size (CVE-2024-27316 and its kin)"),
    (b"5\r\nhello\n0\r\n\r\n", 400, "a bare LF after the data"),
    (b"5\rX\nhello\r\n", 400, "a bare CR in the line"),
    (b"5;a\rb\r\nhello\r\n", 400, "a bare CR in an extension"),
    (b"5;a\nb\r\nhello\r\n", 400, "a bare LF in an extension: the TERM.EXT attack"),
    (b"5;\x00\r\nhello\r\n", 400, "NUL in an extension"),
    (b"5\r\nhelloX\r\n", 400, "data that is longer than its size"),
    (b"5\r\nhello\rX", 400, "CR without LF after the data"),
    (b"f" * 16 + b"\r\n", 400, "a size that overflows 64 bits"),
    (b"1;" + b"a" * (MAX_CHUNK_LINE - 1) + b"\r\n", 400, "an extension over the limit"),
    (b"1" * (MAX_CHUNK_LINE + 2), 400, "a size that never ends"),
    (b"0\r\nA : b\r\n\r\n", 400, "a trailer with a space in its name"),
    (b"0\r\n A: b\r\n\r\n", 400, "a folded trailer"),
    (b"0\r\nAb\r\n\r\n", 400, "a trailer without a colon"),
    (b"0\r\nA: \x01\r\n\r\n", 400, "a control character in a trailer"),
    (b"0\r\nA: b\n\r\n", 400, "a bare LF in the trailers"),
    (b"0\r\n\n", 400, "a bare LF at the end"),
    (b"0\r\n" + b"A: b\r\n" * (MAX_TRAILERS + 1) + b"\r\n", 431, "too many trailers"),
    (b"0\r\nA: " + b"b" * (MAX_TRAILER_BYTES - 2) + b"\r\n\r\n", 431, "trailers over the limit"),
    (b"0\r\n" + b"b" * (MAX_TRAILER_BYTES + 2), 431, "a trailer that never ends"),
]


@pytest.mark.parametrize(("data", "payload"), GOOD)
def test_a_good_body(data: bytes, payload: bytes) -> None:
    """A body is decoded, and what follows it is left, whole and byte by byte."""
    for rest in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\r\n0\r\n\r\n"):
        assert decode([data + rest]) == (payload, rest, True)
        assert decode(pieces(data + rest)) == (payload, rest, True)


@pytest.mark.parametrize(("data", "status", "why"), BAD, ids=[why for _, _, why in BAD])
def test_a_bad_body(data: bytes, status: int, why: str) -> None:
    """What two decoders could read differently is refused, whole and byte by byte."""
    assert decode([data]) == status
    assert decode(pieces(data)) == status
    assert decode([b"1\r\nx\r\n", data]) == status


@pytest.mark.parametrize(("data", "payload"), GOOD)
def test_an_incomplete_body_is_never_complete(data: bytes, payload: bytes) -> None:
    """No part of a body is taken for the whole (RFC 9112 §8)."""
    step = max(1, len(data) // 200)
    for end in range(0, len(data), step):
        found = decode([data[:end]])
        assert isinstance(found, int) or found[2] is False, data[:end]


@given(CHUNKED | BROKEN_CHUNKED, st.binary(max_size=5), st.lists(st.integers(0, 150), max_size=8))
@settings(max_examples=400)
def test_a_body_split_anywhere(data: bytes, rest: bytes, cuts: list[int]) -> None:
    """Payload, rest and refusal are the same wherever the pieces end."""
    data += rest
    places = [0, *sorted(cuts), len(data)]
    split = [data[a:b] for a, b in itertools.pairwise(places)]
    assert decode(split) == decode([data]) == decode(pieces(data))


@given(st.binary(max_size=100))
@settings(max_examples=200)
def test_arbitrary_bytes_are_decoded_refused_or_wait(data: bytes) -> None:
    """Nothing but BadSyntax is ever raised, and no byte comes out that did not go in."""
    found = decode([data])
    if not isinstance(found, int):
        assert len(found[0]) + len(found[1]) <= len(data)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6))
def test_what_we_encode_we_decode(payloads: list[bytes]) -> None:
    """`chunk` and `LAST_CHUNK` make a body that gives the payload back."""
    body = b"".join(map(chunk, payloads)) + LAST_CHUNK
    assert decode([body]) == (b"".join(payloads), b"", True)


def test_a_huge_chunk_is_not_collected() -> None:
    """The payload of a chunk comes out as it comes in; nothing waits for its end."""
    body = ChunkedBody()
    assert body.feed(b"fffffffffffffff\r\n") == (b"", b"")
    for _ in range(100):
        assert body.feed(b"x" * 1000) == (b"x" * 1000, b"")
    assert not body.done


@given(st.integers(0, 40), st.lists(st.binary(max_size=20), max_size=6))
def test_a_body_of_known_length(length: int, fed: list[bytes]) -> None:
    """A body ends after its bytes, neither sooner nor later, and the rest is left."""
    body, payload, rest = LengthBody(length), b"", b""
    for piece in fed:
        taken, left = body.feed(piece)
        payload, rest = payload + taken, rest + left
    everything = b"".join(fed)
    assert (payload, rest) == (everything[:length], everything[length:])
    assert body.done is (len(everything) >= length)


def test_a_body_until_close() -> None:
    """Everything belongs to it, and it never knows that it is over."""
    body = UntilClose()
    assert body.feed(b"a") == (b"a", b"")
    assert body.done is False
