"""The WebSocket handshake on both sides, and following the frames of a tunnel (RFC 6455)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.grammar import BadSyntax
from gateway.wire.head import AnswerHead, AnswerParser, RequestHead
from gateway.wire.websocket import (
    FrameCursor,
    accept_key,
    asks_for_websocket,
    check_answer,
    check_request,
    close_frame,
    origin_allowed,
    switching_head,
)
from tests.support import frames
from tests.wire.feeding import LIMITS, parse, request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""Key and answer of RFC 6455 §1.3."""
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade"]
ASKED = [*UPGRADE, f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]


def asked(*lines: str, first: str = "GET / HTTP/1.1") -> RequestHead:
    return parse(request(*(lines or ASKED), first=first))


def answered(*lines: str) -> AnswerHead:
    text = "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines])
    return AnswerParser(LIMITS, frozenset()).parse(text.encode("ascii"))


def test_the_example_of_the_rfc() -> None:
    """The accept key of §1.3 comes out."""
    assert accept_key(KEY.encode()) == ACCEPT.encode()


ASKS = [
    (ASKED, "GET / HTTP/1.1", True),
    (["upgrade: WebSocket", "connection: keep-alive, UPGRADE"], "GET / HTTP/1.1", True),
    (["Upgrade: websocket"], "GET / HTTP/1.1", False),
    (["Connection: Upgrade"], "GET / HTTP/1.1", False),
    (["Upgrade: h2c", "Connection: Upgrade"], "GET / HTTP/1.1", False),
    (["Upgrade: websocket, h2c", "Connection: Upgrade"], "GET / HTTP/1.1", False),
    (["Upgrade: websocket", "Upgrade: websocket", "Connection: Upgrade"], "GET / HTTP/1.1", False),
    (ASKED, "GET / HTTP/1.0", False),
]


@pytest.mark.parametrize(("lines", "first", "asks"), ASKS)
def test_who_asks_for_a_websocket(lines: list[str], first: str, asks: bool) -> None:
    """Upgrade needs Connection, one protocol, and HTTP/1.1 (RFC 9110 §7.8)."""
    assert asks_for_websocket(asked(*lines, first=first)) is asks


BAD_REQUESTS = [
    (ASKED, "POST / HTTP/1.1", 400),
    ([*ASKED, "Content-Length: 5"], "GET / HTTP/1.1", 400),
    ([*ASKED, "Transfer-Encoding: chunked"], "GET / HTTP/1.1", 400),
    ([*UPGRADE, f"Sec-WebSocket-Key: {KEY}"], "GET / HTTP/1.1", 426),
    ([*UPGRADE, f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 8"], "GET / HTTP/1.1", 426),
    ([*ASKED, "Sec-WebSocket-Version: 13"], "GET / HTTP/1.1", 426),
    ([*UPGRADE, "Sec-WebSocket-Version: 13"], "GET / HTTP/1.1", 400),
    ([*ASKED, f"Sec-WebSocket-Key: {KEY}"], "GET / HTTP/1.1", 400),
    ([*UPGRADE, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhl"], "GET / HTTP/1.1", 400),
    ([*UPGRADE, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: !!!"], "GET / HTTP/1.1", 400),
    ([*UPGRADE, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: \xe4"], "GET / HTTP/1.1", 400),
    ([*UPGRADE, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key:"], "GET / HTTP/1.1", 400),
]


@pytest.mark.parametrize(("lines", "first", "status"), BAD_REQUESTS)
def test_a_bad_handshake(lines: list[str], first: str, status: int) -> None:
    """What is no handshake of §4.2.1 is refused; 426 where only the version is wrong."""
    with pytest.raises(BadSyntax) as caught:
        check_request(asked(*lines, first=first))
    assert caught.value.status == status


def test_a_good_handshake() -> None:
    """A handshake as browsers send it passes on both sides."""
    check_request(asked())
    check_answer(asked(), answered(*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT}"))
    check_answer(
        asked(*ASKED, "Sec-WebSocket-Protocol: a, B", "Sec-WebSocket-Extensions: permessage-deflate; x, foo"),
        answered(*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT}", "Sec-WebSocket-Protocol: B",
                 "Sec-WebSocket-Extensions: permessage-deflate"),
    )  # fmt: skip


BAD_ANSWERS = [
    ["Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"],
    ["Upgrade: websocket", f"Sec-WebSocket-Accept: {ACCEPT}"],
    ["Upgrade: h2c", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"],
    UPGRADE,
    [*UPGRADE, "Sec-WebSocket-Accept: x"],
    [*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT.lower()}"],
    [*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT}", f"Sec-WebSocket-Accept: {ACCEPT}"],
    [*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT}", "Sec-WebSocket-Protocol: chat"],
    [*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT}", "Sec-WebSocket-Extensions: permessage-deflate"],
]


def test_a_101_with_two_subprotocols() -> None:
    """One at most is chosen (§4.2.2), were both offered."""
    for second in ("b", "evil"):
        chosen = ["Sec-WebSocket-Protocol: a", f"Sec-WebSocket-Protocol: {second}"]
        with pytest.raises(BadSyntax):
            check_answer(
                asked(*ASKED, "Sec-WebSocket-Protocol: a, b"),
                answered(*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT}", *chosen),
            )


@pytest.mark.parametrize("lines", BAD_ANSWERS)
def test_a_bad_101(lines: list[str]) -> None:
    """A 101 that does not answer this handshake is a fault of the upstream (§4.1)."""
    with pytest.raises(BadSyntax):
        check_answer(asked(), answered(*lines))


ORIGINS = [
    ([], True),
    (["Origin: https://a"], True),
    (["Origin: HTTPS://A"], True),
    (["Origin: https://a."], True),
    (["Origin: https://a.."], False),
    (["Origin: https://.a"], False),
    (["Origin: https://friend.example"], True),
    (["Origin: http://a"], False),
    (["Origin: https://a.evil.example"], False),
    (["Origin: https://evil.example"], False),
    (["Origin: https://a:8443"], False),
    (["Origin: null"], False),
    (["Origin:"], False),
    (["Origin: https://a", "Origin: https://evil.example"], False),
    (["Origin: https://a https://evil.example"], False),
]


@pytest.mark.parametrize(("lines", "allowed"), ORIGINS)
def test_which_page_may_open_a_socket(lines: list[str], allowed: bool) -> None:
    """A page of the same origin may, a listed one, and programs, which send none (§10.2)."""
    head = asked(*ASKED, *lines)
    assert origin_allowed(head, frozenset({"https://friend.example"}), "https") is allowed


def test_the_101_for_the_client() -> None:
    """The client gets the upstream's lines, our own Upgrade and Connection, and cookies in lines of their own.

    What Connection names is for one hop only (RFC 9110 §7.6.1).
    """
    said = answered(*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT}", "Server: x", "X-Hop: 1", "Connection: x-hop")
    head = switching_head(said, (b"a=b", b"c=d"))
    assert head == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n"
    )


@pytest.mark.parametrize("code", [1001, 1008])
def test_a_close_frame(code: int) -> None:
    """It is one that a client's parser understands."""
    found, rest = frames.decode(close_frame(code))
    assert (found, rest) == ([frames.Frame(frames.CLOSE, code.to_bytes(2, "big"))], b"")


SIZES = st.sampled_from([0, 1, 5, 125, 126, 127, 300, 65535, 65536])
FRAMES = st.lists(
    st.builds(
        lambda opcode, size, masked: frames.encode(opcode, b"\x88" * size, masked=masked),
        st.sampled_from([0, frames.TEXT, frames.BINARY, frames.PING, frames.PONG]),
        SIZES,
        st.booleans(),
    ),
    max_size=5,
)


@given(FRAMES, st.lists(st.integers(0, 70_000), max_size=6), st.integers(1, 20))
@settings(max_examples=200)
def test_frames_are_followed_wherever_they_are_cut(made: list[bytes], cuts: list[int], tail: int) -> None:
    """The cursor is at a boundary exactly where a frame has ended, whatever the pieces."""
    data = b"".join(made)
    ends = {0}
    for frame in made:
        ends.add(max(ends) + len(frame))
    places = sorted(
        {0, len(data), *(cut % (len(data) + 1) for cut in cuts), *(max(0, end - tail) for end in ends), *ends}
    )
    cursor = FrameCursor()
    for start, end in itertools.pairwise(places):
        cursor.feed(data[start:end])
        assert cursor.at_boundary() is (end in ends), end
    assert not cursor.closed


@given(FRAMES, st.booleans())
@settings(max_examples=50)
def test_nothing_follows_a_close_frame(made: list[bytes], masked: bool) -> None:
    """Once a close frame has begun to pass, no frame of ours may be sent (§5.5.1)."""
    cursor = FrameCursor()
    cursor.feed(b"".join(made))
    close = frames.encode(frames.CLOSE, b"\x03\xe8", masked=masked)
    for index in range(len(close)):
        cursor.feed(close[index : index + 1])
        assert not cursor.at_boundary()
    assert cursor.closed


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_can_be_followed(pieces: list[bytes]) -> None:
    """Nonsense is followed like frames, in pieces as well as whole, without an error."""
    one, many = FrameCursor(), FrameCursor()
    one.feed(b"".join(pieces))
    for piece in pieces:
        many.feed(piece)
    assert (one.at_boundary(), one.closed) == (many.at_boundary(), many.closed)
