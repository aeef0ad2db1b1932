"""What is written: heads that our own parser reads back, bodies framed as the client can take them."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings

from gateway.core.cookie import CookiePolicy
from gateway.wire.cookies import CookiePicker
from gateway.wire.forward import (
    AnswerFraming,
    add_header_rules,
    answer_head,
    check_loop,
    foreign_cookies,
    informational_head,
    request_head,
)
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import AnswerHead, AnswerParser
from tests.wire.feeding import LIMITS, Accepted, outcome, parse, request
from tests.wire.strategies import BROKEN_REQUESTS, REQUESTS


def answer(*lines: str, first: str = "HTTP/1.1 200 OK") -> AnswerHead:
    return AnswerParser(LIMITS, frozenset()).parse("\r\n".join([first, *lines]).encode("latin-1"))


@given(REQUESTS | BROKEN_REQUESTS)
@settings(max_examples=300)
def test_what_we_send_is_what_we_read(text: bytes) -> None:
    """A request head that goes upstream has the method, target, lines and framing of the one that came."""
    if not isinstance(outcome([text]), Accepted):
        return
    head = parse(text[: text.index(b"\r\n\r\n")])
    sent = request_head(head, head.lines, head.target, b"up:1", b"c=d", b"X-Request-Id: 1", False)
    assert sent.endswith(b"\r\n\r\n")
    assert sent.count(b"\r\n\r\n") == 1
    again = parse(sent)
    assert (again.method, again.target, again.version) == (head.method, head.target, 1)
    assert (again.content_length, again.chunked) == (head.content_length, head.chunked)
    assert (again.host_value, again.cookie_lines) == (b"up:1", (b"c=d",))
    assert again.lines == head.lines
    assert not again.connection
    assert again.upgrade is None


def sent_for(*lines: str, first: str = "GET / HTTP/1.1", websocket: bool = False) -> bytes:
    head = parse(request(*lines, first=first))
    return request_head(head, head.lines, head.target, b"a", b"", b"X: 1", websocket)


def test_a_request_with_nothing_special() -> None:
    """The head is written to the byte."""
    assert sent_for("A: b") == b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nX: 1\r\n\r\n"


def test_what_is_for_one_hop_is_written_anew() -> None:
    """Expect goes on for HTTP/1.1 only (RFC 9110 §10.1.1), Upgrade for a WebSocket only (§7.8)."""
    assert b"\r\nExpect: 100-continue\r\n" in sent_for("Expect: 100-Continue", "Content-Length: 1")
    assert b"Expect" not in sent_for("Expect: 100-continue", "Content-Length: 1", first="POST / HTTP/1.0")
    assert b"pgrade" not in sent_for("Upgrade: h2c", "Connection: Upgrade")
    both = sent_for("Upgrade: websocket", "Connection: Upgrade", websocket=True)
    assert b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" in both


class Framed(NamedTuple):
    """An answer, who asked, and how its body goes out: ``size`` None for a length that is not known."""

    why: str
    asked: str
    said: list[str]
    lines: list[bytes]
    follows: bool
    size: int | None
    chunked: bool = False
    close: bool = False


CL, TE = "Content-Length: 5", "Transfer-Encoding: chunked"
L5, T, C, K = b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive"
NONE = b"Content-Length: 0"
NEW, OLD, HEAD = "GET / HTTP/1.1", "GET / HTTP/1.0", "HEAD / HTTP/1.1"
FRAMED = [
    Framed("a known length", NEW, ["HTTP/1.1 200 OK", CL], [L5], True, 5),
    Framed("no body, by length", NEW, ["HTTP/1.1 200 OK", "Content-Length: 0"], [b"Content-Length: 0"], True, 0),
    Framed("chunked", NEW, ["HTTP/1.1 200 OK", TE], [T], True, None, chunked=True),
    Framed("until close", NEW, ["HTTP/1.1 200 OK"], [T], True, None, chunked=True),
    Framed("until close, from HTTP/1.0", NEW, ["HTTP/1.0 200 OK"], [T], True, None, chunked=True),
    Framed("RFC 9112 §6.1: HTTP/1.0 knows no chunks", OLD, ["HTTP/1.1 200 OK", TE], [C], True, None, close=True),
    Framed("until close for HTTP/1.0", OLD, ["HTTP/1.1 200 OK"], [C], True, None, close=True),
    Framed("a known length for HTTP/1.0", OLD, ["HTTP/1.1 200 OK", CL], [L5, K], True, 5),
    Framed("RFC 9110 §9.3.2: HEAD keeps the length of GET", HEAD, ["HTTP/1.1 200 OK", CL], [L5], False, 0),
    Framed("HEAD of a chunked answer", HEAD, ["HTTP/1.1 200 OK", TE], [], False, 0),
    Framed("HEAD of an answer without length", HEAD, ["HTTP/1.1 200 OK"], [], False, 0),
    Framed("§15.4.5: 304 keeps the length of 200", NEW, ["HTTP/1.1 304 x", CL], [L5], False, 0),
    Framed("304 without length", NEW, ["HTTP/1.1 304 x"], [], False, 0),
    Framed("304 with chunked, which cannot follow", NEW, ["HTTP/1.1 304 x", TE], [], False, 0),
    Framed("§8.6: no Content-Length in 204", NEW, ["HTTP/1.1 204 x", CL], [], False, 0),
    Framed("RFC 9112 §6.1: no Transfer-Encoding in 204", NEW, ["HTTP/1.1 204 x", TE], [], False, 0),
    Framed("RFC 9110 §15.3.6: no content in 205", NEW, ["HTTP/1.1 205 x", "Content-Length: 0"], [NONE], False, 0),
    Framed("205 that ends with its connection", NEW, ["HTTP/1.1 205 x"], [NONE], False, 0),
    Framed("205 in chunks", NEW, ["HTTP/1.1 205 x", TE], [NONE], False, 0),
    Framed("205 with a body", OLD, ["HTTP/1.1 205 x", CL], [NONE, K], False, 0),
    Framed("204 for HTTP/1.0", OLD, ["HTTP/1.1 204 x"], [K], False, 0),
]


@pytest.mark.parametrize("case", FRAMED, ids=[case.why for case in FRAMED])
def test_how_a_body_is_framed(case: Framed) -> None:
    """RFC 9112 §6.3, row by row."""
    asked = parse(request(first=case.asked))
    framing = AnswerFraming(answer(*case.said[1:], first=case.said[0]), asked, close=False)
    assert framing.lines == case.lines
    assert (framing.body_follows, framing.size, framing.chunked_out) == (case.follows, case.size, case.chunked)
    assert framing.close is case.close


@pytest.mark.parametrize("case", FRAMED, ids=[case.why for case in FRAMED])
def test_a_body_that_may_come_yet(case: Framed) -> None:
    """Where no body follows although one was announced, the upstream's connection is good for nobody else."""
    framing = AnswerFraming(answer(*case.said[1:], first=case.said[0]), parse(request(first=case.asked)), close=False)
    announced = not {CL, TE, "HTTP/1.1 205 x"}.isdisjoint(case.said) and "Content-Length: 0" not in case.said
    assert framing.reusable is (case.follows or not announced)


@pytest.mark.parametrize("case", FRAMED, ids=[case.why for case in FRAMED])
def test_the_last_answer_says_so(case: Framed) -> None:
    """Whatever the framing, a connection that ends is announced to end, once."""
    framing = AnswerFraming(answer(*case.said[1:], first=case.said[0]), parse(request(first=case.asked)), close=True)
    assert framing.close
    assert framing.lines.count(C) == 1
    assert K not in framing.lines


def test_the_head_of_an_answer() -> None:
    """Own reason phrase, the upstream's lines without nominated ones, cookies in lines of their own, a Date."""
    said = answer("ETag: x", "X-Hop: 1", "Connection: x-hop", "Content-Length: 5", first="HTTP/1.1 404 \x01evil")
    head = answer_head(said, AnswerFraming(said, parse(request()), close=False), (b"a=b", b"c=d"), b"today", b"id")
    assert head == (
        b"HTTP/1.1 404 Not Found\r\nETag: x\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n"
        b"Date: today\r\nX-Request-Id: id\r\n\r\n"
    )
    dated = answer("Date: then", "Content-Length: 0")
    head = answer_head(dated, AnswerFraming(dated, parse(request()), close=False), (), b"today", b"id")
    assert head.lower().count(b"date: ") == 1
    assert b"then" in head


def test_an_unknown_status_is_passed_on() -> None:
    """A proxy forwards statuses it does not know (RFC 9110 §15)."""
    said = answer("Content-Length: 0", first="HTTP/1.1 299 x")
    head = answer_head(said, AnswerFraming(said, parse(request()), close=False), (), b"t", b"i")
    assert head.startswith(b"HTTP/1.1 299 Unknown\r\n")


def test_an_informational_answer() -> None:
    """A 1xx is passed on with its lines (RFC 9110 §15.2), without framing and what Connection names (§7.6.1)."""
    said = answer("Link: </a.css>", "X-Hop: 1", "Connection: x-hop", "Content-Length: 5", first="HTTP/1.1 103 x")
    assert informational_head(said) == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"


OURS = [
    "__Host-gateway_session=x", "__Host-gateway_session=x; Path=/", " __Host-gateway_session =x",
    "\t__Host-gateway_session_1=x", "__Host-gateway_session_2=x", "__Host-gateway_browser=x", "__Host-gateway_logins=x",
    "__Host-gateway_handed_over=x", "__Host-gateway_handover_66f00d00_0123abcd=x",
    "=__Host-gateway_session=forged", " = __Host-gateway_session=forged", "=__Host-gateway_browser=x",
]  # fmt: skip
THEIRS = [
    "a=b; Path=/; HttpOnly", "session=x", "=nameless", "nameless",
    "==__Host-gateway_session=x", "Session=x", "a=__Host-gateway_session=x", "a=b, __Host-gateway_session=x",
    'a="__Host-gateway_session=x; b"', "gateway_session=x", "gateway_session_1=x", "__Host-gateway_session_3=x",
    "__host-gateway_session=x", "__Host-gateway_session_01=x", "__Host-gateway_csrf=x", "gateway_browser=x",
    "__Host-gateway_handover_x=x", "__Host-gateway_handover_66f00d00_0123abcde=x", "__Secure-gateway_session=x",
]  # fmt: skip


def test_an_app_may_not_set_our_cookies() -> None:
    """Neither by an exact name, nor as a cookie without a name whose value reads like one of ours; any other it may."""
    picker = CookiePicker(CookiePolicy())
    said = answer(*(f"Set-Cookie: {value}" for value in [*OURS, *THEIRS]))
    assert foreign_cookies(said, picker) == tuple(value.encode() for value in THEIRS)


def test_header_rules_of_a_route() -> None:
    """What is set replaces, in any spelling of its name, what the client sent; what is dropped goes."""
    lines = [b"A: 1", b"x-b: 2", b"X_B: 3", b"X.b: 3", b"X~B:3", b"XB: 3", b"C: 4"]
    done = add_header_rules(lines, ((b"X-New", b"5"), (b"a", b"6")), frozenset({b"x-b", b"a"}))
    assert done == [b"XB: 3", b"C: 4", b"X-New: 5", b"a: 6"]
    assert lines[0] == b"A: 1"


def test_a_loop_is_refused() -> None:
    """A request whose Via names this gateway has been here (RFC 9110 §7.6.3)."""
    check_loop(b"1.1 other, 1.0 proxy", b"gateway-1")
    with pytest.raises(BadSyntax) as caught:
        check_loop(b"1.1 other, 1.1 gateway-1", b"gateway-1")
    assert caught.value.status == 508
