"""The gateway's own answers: whole, valid, and of the kind that the asker understands."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.core.next_url import safe_next
from gateway.wire.grammar import BadSyntax
from gateway.wire.head import AnswerHead, AnswerParser
from gateway.wire.replies import DETAILS, REQUEST_ID_MARK, OwnAnswers, login_url, wants_page
from gateway.wire.target import parse_target
from tests.wire.feeding import LIMITS, parse, request

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
ID = b"0123456789abcdef0123456789abcdef"
PAGE = b"<p>%b</p><i>%b</i>" % (REQUEST_ID_MARK, REQUEST_ID_MARK)
ANSWERS = OwnAnswers(dict.fromkeys([403, 404, 502], PAGE), "default-src 'none'")
BROWSER = parse(request("Sec-Fetch-Mode: navigate"))


def split(data: bytes) -> tuple[AnswerHead, bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    return AnswerParser(LIMITS, frozenset()).parse(head), body


WANTS = [
    ("GET", ["Sec-Fetch-Mode: navigate"], True),
    ("POST", ["Sec-Fetch-Mode: navigate"], True),
    ("GET", ["sec-fetch-MODE: navigate", "Accept: */*"], True),
    ("GET", ["Sec-Fetch-Mode: cors", "Accept: text/html"], False),
    ("GET", ["Sec-Fetch-Mode: websocket"], False),
    ("GET", ["Sec-Fetch-Dest: image", "Accept: text/html"], False),
    ("GET", ["Sec-Fetch-Site: cross-site", "Accept: text/html"], False),
    ("GET", ["Accept: text/html,application/xhtml+xml;q=0.9"], True),
    ("HEAD", ["Accept: TEXT/HTML"], True),
    ("POST", ["Accept: text/html"], False),
    ("GET", ["Accept: */*"], False),
    ("GET", ["Accept: application/json"], False),
    ("GET", [], False),
]


@pytest.mark.parametrize(("method", "lines", "wants"), WANTS)
def test_who_wants_a_page(method: str, lines: list[str], wants: bool) -> None:
    """A navigation does, by Fetch Metadata, or without any a GET or HEAD that accepts HTML."""
    assert wants_page(parse(request(*lines, first=f"{method} / HTTP/1.1"))) is wants


@pytest.mark.parametrize("status", sorted(DETAILS))
@pytest.mark.parametrize("understood", [True, False])
def test_a_problem_is_valid(status: int, understood: bool) -> None:
    """Each status that we answer has a problem+json (RFC 9457) of its announced length, never cached."""
    answer = ANSWERS.answer(status, parse(request()) if understood else None, ID, DATE, close=not understood)
    head, body = split(answer)
    problem = json.loads(body)
    assert head.status == problem["status"] == status
    assert problem["title"]
    assert problem["detail"] == DETAILS[status]
    assert problem["request_id"] == ID.decode()
    assert head.content_length == len(body)
    assert head.content_type == b"application/problem+json"
    assert head.get(b"cache-control") == b"no-store"
    assert answer.count(b"\r\nX-Request-Id: %b\r\n" % ID) == 1
    assert head.get(b"x-content-type-options") == b"nosniff"
    assert head.keeps_alive() is understood


def test_a_page_names_the_request() -> None:
    """The mark of a page is replaced wherever it stands, and the length is that of the result."""
    head, body = split(ANSWERS.answer(404, BROWSER, ID, DATE, close=False))
    assert body == b"<p>" + ID + b"</p><i>" + ID + b"</i>"
    assert head.content_length == len(body)
    assert head.content_type == b"text/html; charset=utf-8"
    assert head.get(b"content-security-policy") == b"default-src 'none'"


def test_a_status_without_a_page_is_a_problem() -> None:
    """A browser gets problem+json where no page was made."""
    head, body = split(ANSWERS.answer(400, BROWSER, ID, DATE, close=True))
    assert head.content_type == b"application/problem+json"
    assert json.loads(body)["status"] == 400


@pytest.mark.parametrize("line", ["Sec-Fetch-Mode: navigate", "Accept: */*"])
def test_head_gets_no_body(line: str) -> None:
    """The head of an answer to HEAD is that of GET, and nothing follows it (RFC 9110 §9.3.2)."""
    got, body = split(ANSWERS.answer(404, parse(request(line)), ID, DATE, close=False))
    head, none = split(ANSWERS.answer(404, parse(request(line, first="HEAD / HTTP/1.1")), ID, DATE, close=False))
    assert none == b""
    assert head.lines == got.lines
    assert head.content_length == len(body)


def test_204_has_no_length() -> None:
    """Neither length nor body (RFC 9110 §8.6), with what else is to be said."""
    head, body = split(ANSWERS.answer(204, parse(request()), ID, DATE, close=True, extra=(b"Allow: GET",)))
    assert (head.content_length, head.chunked, body) == (None, False, b"")
    assert head.get(b"allow") == b"GET"
    assert not head.keeps_alive()


def test_http_1_0_is_told_that_the_connection_stays() -> None:
    """Without keep-alive an HTTP/1.0 client would not know (RFC 9112 §9.3)."""
    old = parse(request("Connection: keep-alive", first="GET / HTTP/1.0"))
    for close in (False, True):
        head, _ = split(ANSWERS.answer(404, old, ID, DATE, close=close))
        assert head.close is close
        assert (b"keep-alive" in head.connection) is not close


def test_a_program_learns_where_to_log_in() -> None:
    """A 401 carries the login URL in its problem."""
    extra = (b"X-Gateway-Login: /_gateway/login?next=/",)
    _, body = split(ANSWERS.answer(401, parse(request()), ID, DATE, close=False, extra=extra))
    assert json.loads(body)["login"] == "/_gateway/login?next=/"


TAIL = "abZ019-._~!$&'()*+,=:@/?%&;[]{}|^`\"<>"


@given(st.text(TAIL, max_size=40), st.sampled_from(["/_gateway/login", "https://login.example.com/_gateway/login"]))
@settings(max_examples=200)
def test_a_login_leads_back_to_the_request(tail: str, page: str) -> None:
    """Whatever a target holds, the login URL is one line of ASCII, and its ``next`` is the request."""
    target = b"/a" + tail.encode("ascii")
    try:
        parse_target(target)
    except BadSyntax:
        assume(False)
    head = parse(b"GET %b HTTP/1.1\r\nHost: a:80" % target)
    url = login_url(head, page, "https", LIMITS.target).decode("ascii")
    assert all("!" <= character <= "~" for character in url)
    here = target.decode("ascii")
    asked = {"next": [here if page.startswith("/") else f"https://a:80{here}"]}
    assert parse_qs(urlsplit(url).query) == asked
    for_more = login_url(head, page, "https", LIMITS.target, "wiki.2").decode("ascii")
    assert parse_qs(urlsplit(for_more).query) == {**asked, "step_up": ["wiki.2"]}


LONG = [
    ("/app/x?q=" + "%22" * 2000, 8192, "/app/x"),
    ("/app/x?q=" + "a" * 4078, 8192, None),
    ("/app/x?q=" + "a" * 4096, 8192, "/app/x"),
    ("/app/x?q=" + "a" * 400, 200, "/app/x"),
    ("/" + "a" * 4096 + "?q", 8192, "/"),
    ("/" + "%22" * 1300, 8192, "/" + "%22" * 1300),
    ("/" + "%22" * 1300, 6000, "/"),
]


@pytest.mark.parametrize(("target", "limit", "back"), LONG)
@pytest.mark.parametrize("page", ["/_gateway/login", "https://login.example.com/_gateway/login"])
def test_an_address_that_is_too_long_leads_back_to_its_path(
    target: str, limit: int, back: str | None, page: str
) -> None:
    """The login page would answer 414 to it, or forget where it leads: who asks for less is served (RFC 9112 §3)."""
    head = parse(b"GET %b HTTP/1.1\r\nHost: a" % target.encode("ascii"))
    origin = "https://a" if page.startswith("http") else ""
    url = login_url(head, page, "https", limit, "wiki").decode("ascii")
    assert len(url) <= limit
    asked = parse_qs(urlsplit(url).query)
    wanted = target if back is None else back
    assert asked == {"next": [origin + wanted], "step_up": ["wiki"]}
    assert safe_next(asked["next"][0], "https", "a", {"a"}.__contains__, lambda host, target: True) == origin + wanted
