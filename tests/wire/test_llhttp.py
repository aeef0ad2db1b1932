"""llhttp as a second opinion: what we accept it accepts, and reads as we do (RFC 9112 §11.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import httptools
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from gateway.core.header_name import normalised
from gateway.wire.framing import ChunkedBody
from gateway.wire.grammar import OWS, BadSyntax
from gateway.wire.head import REQUEST_LINES, AnswerParser, RequestHead
from gateway.wire.headers import ForwardedLine, NotedLine, StrippedLine
from gateway.wire.identity_headers import TRUSTED_BY_APPS, TRUSTED_PREFIXES
from gateway.wire.message import HeaderLine
from tests.wire.feeding import LIMITS, Accepted, outcome, parse, request
from tests.wire.strategies import BROKEN_CHUNKED, BROKEN_REQUESTS, CHUNKED, METHODS, REQUESTS

Field = tuple[bytes, bytes]


class Llhttp:
    """What llhttp makes of a request."""

    def __init__(self, text: bytes) -> None:
        self.target = b""
        self.fields: list[Field] = []
        self.body = b""
        self.has_head = False
        self.is_complete = False
        self._parser = httptools.HttpRequestParser(self)
        self.feed(text)
        self.method = self._parser.get_method().decode("ascii") if self.has_head else ""

    def feed(self, data: bytes) -> None:
        """Feed more; raises HttpParserError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_complete = True

    def version(self) -> str:
        return str(self._parser.get_http_version())

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(OWS)))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True


def values(fields: Iterable[Field], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name]


def is_stripped(name: bytes) -> bool:
    alias = normalised(name)
    return name.lower() not in REQUEST_LINES and (alias in TRUSTED_BY_APPS or alias.startswith(TRUSTED_PREFIXES))


def is_forwarded_as_it_came(name: bytes) -> bool:
    kind = REQUEST_LINES.get(name.lower())
    if kind is None:
        alias = REQUEST_LINES.get(normalised(name))
        return not is_stripped(name) and (alias is None or alias is NotedLine)
    return kind is NotedLine


def pairs(lines: Iterable[HeaderLine]) -> list[Field]:
    return [(line.name, line.value) for line in lines]


def lower(fields: Iterable[Field]) -> list[Field]:
    return [(name.lower(), value) for name, value in fields]


def assert_same_reading(head: RequestHead, other: Llhttp) -> None:
    fields = other.fields
    assert head.method == other.method
    assert head.target == other.target or other.target.endswith(head.target) or other.target.lower().startswith(b"http")
    assert f"1.{head.version}" == other.version()
    assert [re.sub(rb"\.(?=:|$)", b"", value) for value in values(fields, b"host")] == [head.host_value]
    assert list(map(int, values(fields, b"content-length"))) == (
        [] if head.content_length is None else [head.content_length]
    )
    assert [value.lower() for value in values(fields, b"transfer-encoding")] == [b"chunked"] * head.chunked
    assert values(fields, b"cookie") == list(head.cookie_lines)
    options = {option.strip(OWS).lower() for value in values(fields, b"connection") for option in value.split(b",")}
    assert options - {b""} == head.connection
    ours = [(line.partition(b":")[0], line.partition(b":")[2].strip(OWS)) for line in head.lines]
    assert lower(ours) == lower(field for field in fields if is_forwarded_as_it_came(field[0]))
    assert pairs(head.stripped) == [(normalised(name), value) for name, value in fields if is_stripped(name)]
    assert pairs(head.forwarded) == [
        (name, value) for name, value in lower(fields) if REQUEST_LINES.get(name) is ForwardedLine
    ]
    assert not any(isinstance(line, StrippedLine) for line in head.forwarded)


@given(REQUESTS | BROKEN_REQUESTS)
@example(request("Transfer-Encoding: Chunked ", first="POST / HTTP/1.1"))
@example(request("Content-Length: 000000000000000005", first="POST / HTTP/1.1"))
@example(request(first='GET /[]^`{|}"<>?[]^`{|}"<>\\ HTTP/1.1'))
@settings(max_examples=600)
def test_llhttp_agrees_with_what_we_accept(text: bytes) -> None:
    """Method, target, version, framing and every header name and value are the same for both."""
    found = outcome([text])
    event("accepted" if isinstance(found, Accepted) else "refused")
    if not isinstance(found, Accepted):
        return
    head = parse(text[: text.index(b"\r\n\r\n")])
    if head.method not in METHODS:
        return
    other = Llhttp(text[: text.index(b"\r\n\r\n") + 4])
    assert other.has_head
    assert_same_reading(head, other)
    assert other.is_complete is (not head.has_body())


def decoded(data: bytes) -> tuple[bytes, bytes] | None:
    """Return payload and rest of a body in the chunked coding, or None if it is broken or incomplete."""
    body = ChunkedBody()
    try:
        payload, rest = body.feed(data)
    except BadSyntax:
        return None
    return (payload, rest) if body.done else None


CHUNKED_HEAD = request("Transfer-Encoding: chunked", first="POST / HTTP/1.1")


@given(CHUNKED | BROKEN_CHUNKED, st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"\r\n"]))
@settings(max_examples=300)
def test_llhttp_agrees_with_the_bodies_we_accept(data: bytes, rest: bytes) -> None:
    """Where both accept a chunked body, its payload is the same, and so is the byte at which it ends."""
    found = decoded(data + rest)
    event("accepted" if found else "refused")
    if found is None:
        return
    length = len(data + rest) - len(found[1])
    other = Llhttp(CHUNKED_HEAD)
    try:
        other.feed((data + rest)[: length - 1])
        assert not bool(other.is_complete)
        other.feed((data + rest)[length - 1 : length])
    except httptools.HttpParserError:
        event("llhttp refuses")
        return
    assert other.is_complete
    assert other.body == found[0]


def test_the_second_opinion_is_one() -> None:
    """llhttp reads a head that both take, and refuses what is plainly broken: the comparison compares."""
    head = request("A: b", first="POST /x HTTP/1.0")
    assert_same_reading(parse(head), Llhttp(head))
    with pytest.raises(httptools.HttpParserError):
        Llhttp(request("A : b"))


@pytest.mark.parametrize(
    "fields", ["Content-Length : 5", "Content-Length\t: 5, 5", "Transfer-Encoding : chunked", "A : b"]
)
def test_what_a_response_is_once_put_right_llhttp_reads_too(fields: str) -> None:
    """Without the white space that we remove, llhttp finds the same length, coding and lines."""
    head = AnswerParser(LIMITS, frozenset()).parse(f"HTTP/1.1 200 OK\r\n{fields}".encode())
    framing = [b"Transfer-Encoding: chunked"] if head.chunked else []
    framing += [] if head.content_length is None else [b"Content-Length: %d" % head.content_length]
    found: list[Field] = []

    class Reader:
        def on_header(self, name: bytes, value: bytes) -> None:
            found.append((name, value))

    httptools.HttpResponseParser(Reader()).feed_data(
        b"\r\n".join([b"HTTP/1.1 200 OK", *head.lines, *framing, b"", b""])
    )
    name, _, value = fields.partition(":")
    assert found == [(name.strip().encode(), value.split(",")[0].strip().encode())]
