"""A request body on its way: decoded, counted, framed anew."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.proxy.upload import Upload
from gateway.wire.framing import ChunkedBody
from tests.wire.feeding import parse, request
from tests.wire.strategies import CHUNKED

LONG = 10.0


def upload(*lines: str, limit: int = 10_000) -> Upload:
    return Upload(parse(request(*lines, first="POST / HTTP/1.1")), limit, LONG)


def send(body: Upload, fed: list[bytes]) -> tuple[bytes, bytes]:
    """Return what goes to the upstream, and what follows the body."""
    out = rest = b""
    for piece in fed:
        sent, left = body.encode(piece) if not body.done else (b"", piece)
        out, rest = out + sent, rest + left
    return out, rest


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(CHUNKED, st.binary(max_size=5), st.lists(st.integers(0, 150), max_size=5))
@settings(max_examples=200)
def test_a_chunked_body_is_framed_anew(data: bytes, more: bytes, cuts: list[int]) -> None:
    """The upstream gets the payload in chunks of ours, without extensions and trailers, and one end."""
    payload, _ = ChunkedBody().feed(data)
    body = upload("Transfer-Encoding: chunked")
    out, rest = send(body, cut(data + more, cuts))
    decoder = ChunkedBody()
    assert decoder.feed(out) == (payload, b"")
    assert decoder.done
    assert body.is_done()
    assert rest == more
    assert b";" not in out or b";" in payload
    assert out.endswith(b"0\r\n\r\n")


@given(st.binary(max_size=60), st.integers(0, 60), st.lists(st.integers(0, 60), max_size=5))
def test_a_body_of_known_length_stays_as_it_is(data: bytes, length: int, cuts: list[int]) -> None:
    """As many bytes as were announced go on, and the next request's do not."""
    body = upload(f"Content-Length: {length}")
    assert send(body, cut(data, cuts)) == (data[:length], data[length:])
    assert body.is_done() is (len(data) >= length)


@pytest.mark.parametrize("lines", [["Content-Length: 11"], ["Transfer-Encoding: chunked"]])
def test_a_body_over_the_limit(lines: list[str]) -> None:
    """It is 413 with the first byte too much, in whatever chunks it comes, and at the limit it is none."""
    data = b"b\r\n01234567890\r\n" if "chunked" in lines[0] else b"01234567890"
    with pytest.raises(RequestError) as caught:
        send(upload(*lines, limit=10), [data[i : i + 1] for i in range(len(data))])
    assert caught.value.status == 413
    send(upload(*lines, limit=11), [data])


@pytest.mark.parametrize(("data", "status"), [(b"x\r\n", 400), (b"1\nx", 400), (b"0\r\n" + b"A: b\r\n" * 60, 431)])
def test_a_broken_body(data: bytes, status: int) -> None:
    """What is wrong with its coding has its status, and nothing of it goes on."""
    with pytest.raises(RequestError) as caught:
        upload("Transfer-Encoding: chunked").encode(data)
    assert caught.value.status == status
