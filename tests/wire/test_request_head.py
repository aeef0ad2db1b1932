"""Request heads: what is refused, with the sentence of the RFC that says so, and what is understood."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.wire.grammar import BadSyntax
from gateway.wire.head import find_head_end
from tests.wire.feeding import LIMITS, Accepted, Refused, outcome, parse, parser, pieces, request
from tests.wire.strategies import BROKEN_REQUESTS, REQUESTS


class Case(NamedTuple):
    """One head; ``status`` 0 stands for accepted."""

    why: str
    text: bytes
    status: int = 400


def first(line: str, *lines: str) -> bytes:
    return request(*lines, first=line)


def with_line(line: str) -> bytes:
    return request(line)


REQUEST_LINE = [
    Case("RFC 9112 §3: request-line = method SP request-target SP HTTP-version", first("GET / HTTP/1.1"), 0),
    Case("§2.3: HTTP/1.0 is spoken too", first("GET / HTTP/1.0"), 0),
    Case("RFC 9110 §9.1: the method token is case-sensitive, but not to every server", first("get / HTTP/1.1"), 501),
    Case("RFC 9110 §16.1: methods are an open set", first("BREW-IT! / HTTP/1.1"), 0),
    Case("§3: one SP, for lenient splitting reads two targets", first("GET  / HTTP/1.1")),
    Case("§3: no tab for a space", first("GET\t/ HTTP/1.1")),
    Case("§3: no form feed for a space", first("GET\x0c/ HTTP/1.1")),
    Case("§3.2: no whitespace is allowed in the request-target", first("GET /a b HTTP/1.1")),
    Case("§3: nothing before the method", first(" GET / HTTP/1.1")),
    Case("§3: nothing after the version", first("GET / HTTP/1.1 ")),
    Case("§3: a target must be there", first("GET HTTP/1.1")),
    Case("§3: a target is not empty", first("GET  HTTP/1.1")),
    Case("HTTP/0.9 has no version", first("GET /")),
    Case("§2.3: HTTP-name is case-sensitive", first("GET / http/1.1")),
    Case("§2.3: HTTP-version = HTTP-name / DIGIT . DIGIT", first("GET / HTTP/1.11")),
    Case("§2.3: a version has digits", first("GET / HTTP/1.x")),
    Case("§2.3: a version has ASCII digits", first("GET / HTTP/1.\xb2")),
    Case("RFC 9110 §15.6.6: 505 for a major version that is not supported", first("GET / HTTP/2.0"), 505),
    Case("a minor version nobody knows", first("GET / HTTP/1.2"), 505),
    Case("RFC 9110 §9.1: method = token", first("G(T / HTTP/1.1")),
    Case("§9.1: a method is not empty", first(" / HTTP/1.1")),
    Case("§3: 501 for a method longer than any known", first("A" * 33 + " / HTTP/1.1"), 501),
    Case("a method of 32 characters is forwarded", first("A" * 32 + " / HTTP/1.1"), 0),
    Case("RFC 9110 §9.3.6: CONNECT is for proxies", first("CONNECT a:443 HTTP/1.1"), 405),
    Case("§3.2.4: asterisk-form is for OPTIONS", first("OPTIONS * HTTP/1.1"), 0),
    Case("§3.2.4: asterisk-form is for OPTIONS only", first("GET * HTTP/1.1")),
    Case("§3.2: a fragment is not sent", first("GET /a#b HTTP/1.1")),
    Case("RFC 3986 §2: a target is ASCII", first("GET /\xe4 HTTP/1.1")),
    Case("§3: no control character in the target", first("GET /\x01 HTTP/1.1")),
    Case("§3: no NUL in the target", first("GET /\x00 HTTP/1.1")),
    Case("§3.2.1: origin-form begins with a slash", first("GET a HTTP/1.1")),
    Case("§3: 414 for a target over the limit", first("GET /" + "a" * LIMITS.target + " HTTP/1.1"), 414),
    Case("§3: 8000 octets of request-line at the least", first("GET /" + "a" * (LIMITS.target - 1) + " HTTP/1.1"), 0),
]
ABSOLUTE = [
    Case("RFC 9112 §3.2.2: a server MUST accept absolute-form", first("GET http://a/x HTTP/1.1"), 0),
    Case("§3.2.2: the scheme is case-insensitive, and the path may be empty", first("GET HTTPS://A HTTP/1.1"), 0),
    Case("a path may be empty before a query", first("GET http://a?x HTTP/1.1"), 0),
    Case("§3.2: Host must be identical to the authority", first("GET http://b/x HTTP/1.1")),
    Case("§3.2: with its port", first("GET http://a:80/x HTTP/1.1")),
    Case("RFC 9110 §4.2.4: userinfo is refused", first("GET http://u@a/x HTTP/1.1")),
    Case("RFC 9110 §4.2.1: an empty host is invalid", first("GET http:///x HTTP/1.1")),
    Case("other schemes are for proxies", first("GET ftp://a/x HTTP/1.1")),
    Case("no scheme at all", first("GET //a/x HTTP/1.1"), 0),
    Case("a backslash is no slash", first("GET http:\\\\a/x HTTP/1.1")),
]
HOST = [
    Case("RFC 9112 §3.2: 400 to any HTTP/1.1 request message that lacks a Host", request(host=None)),
    Case("and here to HTTP/1.0 too: nothing could be routed", request(host=None, first="GET / HTTP/1.0")),
    Case("§3.2: and to any that contains more than one Host", with_line("Host: a")),
    Case("§3.2: ... or a Host with an invalid value", request(host="Host: a b")),
    Case("an empty Host names nothing", request(host="Host:")),
    Case("RFC 9110 §7.2: no list", request(host="Host: a, b")),
    Case("no user information", request(host="Host: u@a")),
    Case("no path", request(host="Host: a/b")),
    Case("a port has digits", request(host="Host: a:x")),
    Case("a port is not empty", request(host="Host: a:")),
    Case("a port has 16 bits", request(host="Host: a:65536")),
    Case("a port has no sign", request(host="Host: a:+80")),
    Case("a host with its port", request(host="hOST:\t A.Example.:8080 \t"), 0),
    Case("an IPv6 address", request(host="Host: [::1]:80"), 0),
    Case("an IPv6 address that never ends", request(host="Host: [::1")),
    Case("no IPv6 address without brackets", request(host="Host: ::1")),
    Case("no zone", request(host="Host: [fe80::1%25eth0]")),
    Case("no empty label", request(host="Host: a..b")),
    Case("no label before the first dot", request(host="Host: .a")),
    Case("a dot is no host", request(host="Host: .")),
    Case("Host under a name with a space is no Host", request(host="Host : a")),
]
FIELDS = [
    Case("RFC 9112 §5.1: 400 for whitespace between name and colon", with_line("X : a")),
    Case("§5.1: a tab is whitespace", with_line("X\t: a")),
    Case("§2.2: no whitespace before the first header field", request(host=" Host: a")),
    Case("§5.2: obs-fold is 400 for a server", with_line("X: a\r\n b")),
    Case("§5.2: with a tab", with_line("X: a\r\n\tb")),
    Case("§5.2: obs-fold of nothing", with_line("X: a\r\n ")),
    Case("§5: field-line = field-name : OWS field-value OWS", with_line("X")),
    Case("§5: field-name = token, not empty", with_line(": a")),
    Case("RFC 9110 §5.1: field-name = token", with_line("X(: a")),
    Case("§5.1: ASCII", with_line("X\xe4: a")),
    Case("RFC 9110 §5.5: CR, LF and NUL are invalid and dangerous", with_line("X: a\x00b")),
    Case("§5.5: other control characters are invalid as well", with_line("X: a\x01b")),
    Case("§5.5: DEL is a control character", with_line("X: a\x7fb")),
    Case("§5.5: vertical tab", with_line("X: a\x0bb")),
    Case("§5.5: a tab inside is white space", with_line("X: a\tb"), 0),
    Case("§5.5: obs-text is opaque", with_line("X: \xe4\xff"), 0),
    Case("§5.5: a value may be empty", with_line("X:"), 0),
    Case("RFC 9112 §2.2: bare CR is invalid", with_line("X: a\rb")),
    Case("§2.2: bare CR before a line end", with_line("X: a\r")),
    Case("§2.2: a lone LF is no line end here", with_line("X: a\nY: b")),
    Case("§2.2: LF only, all the way", b"GET / HTTP/1.1\nHost: a\n\n"),
    Case("§2.2: LF in the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    Case("§2.2: LF before the head", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("RFC 9110 §5.3: Max-Forwards is no list, so one at most", with_line("Max-Forwards: 0\r\nmax-forwards: 9")),
    Case("one Max-Forwards", with_line("Max-Forwards: 1"), 0),
    Case("the last of several expectations must not hide the others", with_line("Expect: x\r\nexpect: 100-continue")),
    Case("the same one twice", with_line("Expect: 100-continue\r\nExpect: 100-continue")),
    Case("one expectation", with_line("Expect: 100-continue"), 0),
    Case("a request line alone", b"GET / HTTP/1.1\r\n\r\n"),
    Case("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Case("a TLS client hello", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n"),
]
FRAMING = [
    Case("RFC 9112 §6.3: Content-Length gives the length", first("POST / HTTP/1.1", "Content-Length: 5"), 0),
    Case("RFC 9110 §8.6: Content-Length = 1*DIGIT", first("POST / HTTP/1.1", "Content-Length: +5")),
    Case("§8.6: no minus", first("POST / HTTP/1.1", "Content-Length: -1")),
    Case("§8.6: no hexadecimal", first("POST / HTTP/1.1", "Content-Length: 0x5")),
    Case("§8.6: no fraction", first("POST / HTTP/1.1", "Content-Length: 5.0")),
    Case("§8.6: no underscore, which int() takes", first("POST / HTTP/1.1", "Content-Length: 1_0")),
    Case("§8.6: not empty", first("POST / HTTP/1.1", "Content-Length:")),
    Case("§8.6: no spaces inside", first("POST / HTTP/1.1", "Content-Length: 5 5")),
    Case("§8.6: no digits of other scripts, which int() takes", first("POST / HTTP/1.1", "Content-Length: \xb2")),
    Case("§8.6: prevent integer overflows", first("POST / HTTP/1.1", "Content-Length: " + "9" * 19)),
    Case("§6.3: a list is invalid", first("POST / HTTP/1.1", "Content-Length: 5, 5")),
    Case("§6.3: a repeated one is invalid", first("POST / HTTP/1.1", "Content-Length: 5", "Content-Length: 6")),
    Case("even if both agree", first("POST / HTTP/1.1", "Content-Length: 5", "content-length: 5")),
    Case("§6.1: chunked", first("POST / HTTP/1.1", "Transfer-Encoding: chunked"), 0),
    Case("§7: coding names are case-insensitive", first("POST / HTTP/1.1", "Transfer-Encoding: \tChunked "), 0),
    Case("§6.1: 501 for a coding nobody knows", first("POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked"), 501),
    Case("§6.3: chunked must be final", first("POST / HTTP/1.1", "Transfer-Encoding: chunked, identity"), 501),
    Case("§6.1: chunked not more than once", first("POST / HTTP/1.1", "Transfer-Encoding: chunked, chunked"), 501),
    Case(
        "§6.1: not in two lines either",
        first("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        501,
    ),
    Case("a coding that only looks like chunked", first("POST / HTTP/1.1", "Transfer-Encoding: xchunked"), 501),
    Case("a coding with a form feed", first("POST / HTTP/1.1", "Transfer-Encoding: \x0cchunked")),
    Case("a coding with a no-break space", first("POST / HTTP/1.1", "Transfer-Encoding: \xa0chunked"), 501),
    Case("a quoted coding", first("POST / HTTP/1.1", 'Transfer-Encoding: "chunked"'), 501),
    Case("an empty coding", first("POST / HTTP/1.1", "Transfer-Encoding:"), 501),
    Case(
        "§6.1: both lengths may be an attempt at smuggling",
        first("POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"),
    ),
    Case(
        "§6.1: in the other order too",
        first("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 5"),
    ),
    Case(
        "§6.1: Transfer-Encoding in HTTP/1.0 is faulty framing", first("POST / HTTP/1.0", "Transfer-Encoding: chunked")
    ),
]
TOO_MUCH = [
    Case("RFC 6585 §5: 431 for a line over the limit", with_line("X: " + "a" * LIMITS.line), 431),
    Case("a line at the limit", with_line("X: " + "a" * (LIMITS.line - 3)), 0),
    Case("cookies may be longer", with_line("Cookie: " + "a" * (LIMITS.cookie - 8)), 0),
    Case("but not without end", with_line("Cookie: " + "a" * (LIMITS.cookie - 7)), 431),
    Case("and not in several lines", request(*["Cookie: " + "a" * 8000] * 3), 431),
    Case("as many lines as are allowed", request(*["X: a"] * (LIMITS.headers - 1)), 0),
    Case("one more", request(*["X: a"] * LIMITS.headers), 431),
    Case("a head over the limit", request(*["X: " + "a" * 8000] * 5), 431),
    Case("RFC 9112 §3: a request line that never ends", b"GET /" + b"a" * 9000, 414),
]
CASES = [*REQUEST_LINE, *ABSOLUTE, *HOST, *FIELDS, *FRAMING, *TOO_MUCH]
NAMES = [f"{case.why}-{case.text[:30]!r}" for case in CASES]


def status_of(found: object) -> int:
    return found.status if isinstance(found, Refused) else 0 if isinstance(found, Accepted) else -1


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_whole(case: Case) -> None:
    """Each head is accepted or refused with its status."""
    assert status_of(outcome([case.text])) == case.status


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_byte_by_byte(case: Case) -> None:
    """It makes no difference in which pieces a head arrives; long ones come in pieces of 97 bytes."""
    assert outcome(pieces(case.text, 1 if len(case.text) < 2000 else 97)) == outcome([case.text])


@pytest.mark.parametrize("case", [case for case in CASES if b"\r\n\r\n" in case.text])
def test_with_trailing_data(case: Case) -> None:
    """What follows a head does not change it, and is left as it came."""
    for trailing in (b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", b"\n\n\r\n\r\n\x00", b" "):
        alone, followed = outcome([case.text]), outcome([case.text + trailing])
        if isinstance(alone, Accepted):
            alone = Accepted(alone.facts, alone.rest + trailing)
        assert followed == alone


@pytest.mark.parametrize("spare", range(-2, 4))
def test_the_limit_of_a_head_is_the_same_in_pieces(spare: int) -> None:
    """A head just under, at or over the limit is judged alike whole and in pieces."""
    text = request(*["X: " + "a" * 6400] * 5)
    text = text[:-4] + b"a" * (LIMITS.head + 4 + spare - len(text)) + text[-4:]
    assert status_of(outcome([text])) == (431 if spare > 0 else 0)
    for last in range(1, 6):
        assert status_of(outcome([text[:-last], text[-last:]])) == (431 if spare > 0 else 0), last


@given(st.binary(max_size=300))
@example(b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n")
@settings(max_examples=200)
def test_arbitrary_bytes_are_refused_or_wait(data: bytes) -> None:
    """Nothing but BadSyntax is ever raised."""
    for text in (data, data + b"\r\n\r\n", b"GET " + data + b" HTTP/1.1\r\nHost: a\r\n\r\n", request() + data):
        outcome([text])
    with suppress(BadSyntax):
        parser().parse(data)


@given(REQUESTS | BROKEN_REQUESTS, st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=300)
def test_pieces_never_change_a_head(text: bytes, cuts: list[int]) -> None:
    """However a request is cut, it is read as the same head, or refused; of several faults either may be named."""
    places = [0, *sorted(cuts), len(text)]
    cut, whole = outcome([text[a:b] for a, b in itertools.pairwise(places)]), outcome([text])
    assert cut == whole or (isinstance(cut, Refused) and isinstance(whole, Refused))


@given(REQUESTS | BROKEN_REQUESTS)
@settings(max_examples=200)
def test_what_is_accepted_has_one_host_and_one_framing(text: bytes) -> None:
    """An accepted head is unambiguous: a host, a path or an asterisk, one length at most."""
    found = outcome([text])
    if not isinstance(found, Accepted):
        return
    head = parse(text[: text.index(b"\r\n\r\n")])
    assert head.host
    assert head.target.startswith(b"/") or (head.target == b"*" and head.method == "OPTIONS")
    assert not (head.chunked and head.content_length is not None)
    assert not any(set(line) & set(b"\r\n\0") for line in head.lines)


@pytest.mark.parametrize("text", [b"", b"\r", b"G", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_an_incomplete_head_is_waited_for(text: bytes) -> None:
    """Nothing is said of a head that may still become one."""
    assert find_head_end(text, LIMITS) == -1
