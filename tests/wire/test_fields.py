"""What each header line means to a gateway: forwarded, dropped, stripped; and the memory of known lines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.header_name import normalised
from gateway.core.limits import Limits
from gateway.wire.blocks import MEMO_BLOCK_BYTES, MEMO_BLOCKS, KnownBlocks
from gateway.wire.grammar import TOKEN, BadSyntax
from gateway.wire.head import REQUEST_LINES, REQUEST_PREFIXES, AnswerParser, RequestParser
from gateway.wire.headers import MEMO_LINE_BYTES, MEMO_LINES, KnownLines, LineTable
from gateway.wire.identity_headers import TRUSTED_BY_APPS
from tests.wire.feeding import LIMITS, facts, outcome, parse, request
from tests.wire.strategies import BROKEN_REQUESTS, REQUESTS

TABLE = LineTable(REQUEST_LINES, TRUSTED_BY_APPS, REQUEST_PREFIXES)
TRUSTED = [
    "Remote-User", "Remote-Groups", "Remote-Email", "Remote-Name", "X-Remote-User", "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Auth-Request-User",
    "X-Auth-Request-Redirect", "X-WEBAUTH-USER", "X-Authentik-Username", "X-Pomerium-Claim-Email",
    "X-Pomerium-Jwt-Assertion",
    "X-Goog-Authenticated-User-Email", "X-MS-CLIENT-PRINCIPAL", "X-MS-CLIENT-PRINCIPAL-NAME", "Tailscale-User-Login",
    "Cf-Access-Authenticated-User-Email", "Cf-Access-Jwt-Assertion", "OIDC_CLAIM_sub", "OIDC-CLAIM-email",
    "X-Original-URL",
    "X-Rewrite-URL", "X-Original-URI", "X-HTTP-Method-Override", "X-Identity-Token", "X-Gateway-Session",
    "X-Forwarded-Protocol", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-For-Original",
    "X-Remote-Group", "X-Remote-Role", "X-SSL-Client-Verify", "X-SSL-Client-S-DN", "SSL-Client-Cert",
    "Ssl-Client-Subject-Dn", "Client-Cert", "Client-Cert-Chain", "X-ARR-ClientCert", "X-Original-Forwarded-For",
]  # fmt: skip
HOP = ["Connection", "Proxy-Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization", "Proxy"]
FORWARDED = [
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "X-Forwarded-Prefix",
    "X-HTTP-Host-Override", "X-Original-Host", "WL-Proxy-Client-IP", "Forwarded-For",
]  # fmt: skip


def spellings(name: str) -> list[str]:
    signs = [sign for sign in map(chr, TOKEN) if not sign.isalnum() and sign != "-"]
    mixed = name.replace("-", "~", 1).replace("-", "!")
    return [name, name.lower(), name.upper(), *(name.replace("-", sign).swapcase() for sign in signs), mixed]


@pytest.mark.parametrize("name", TRUSTED)
def test_what_apps_trust_is_stripped_in_every_spelling(name: str) -> None:
    """Case makes no difference to CGI, WSGI and PHP, nor does any sign that is no letter to one or another."""
    for spelling in spellings(name):
        head = parse(request(f"{spelling}: admin"))
        assert head.lines == [], spelling
        assert [line.value for line in head.stripped] == [b"admin"], spelling


@pytest.mark.parametrize("name", [*HOP, *FORWARDED, "Cookie", "Content-Length", "Transfer-Encoding", "Host", "Expect"])
def test_what_we_write_ourselves_is_never_passed_on(name: str) -> None:
    """A look-alike of a header that we understand is not forwarded beside ours."""
    for spelling in spellings(name)[3:]:
        if "-" in name:
            assert parse(request(f"{spelling}: 5")).lines == [], spelling


@pytest.mark.parametrize("name", HOP)
def test_hop_by_hop_headers_end_here(name: str) -> None:
    """They are for one connection only (RFC 9110 §7.6.1)."""
    assert parse(request(f"{name}: a")).lines == []


@pytest.mark.parametrize("name", FORWARDED)
def test_forwarded_headers_are_kept_apart(name: str) -> None:
    """They are read only when the peer is a trusted proxy."""
    head = parse(request(f"{name}: a", f"{name}: b"))
    assert head.lines == []
    assert [(line.name, line.value) for line in head.forwarded] == [
        (name.lower().encode(), b"a"),
        (name.lower().encode(), b"b"),
    ]


def test_configured_names_are_stripped_too() -> None:
    """The identity headers of this gateway's configuration are nobody's to send."""
    parser = RequestParser(LIMITS, frozenset({b"x-who-it-is"}))
    head = parser.parse(b"GET / HTTP/1.1\r\nHost: a\r\nX_Who.It-is: admin")
    assert head.lines == []


def test_other_lines_stay_as_they_came() -> None:
    """Order, case, spaces and repeats of what means nothing to us are kept, byte by byte."""
    lines = ["b: 2", "A:1 ", "b:  3\t", "X-A: \xe4", "Accept: text/html, */*"]
    assert parse(request(*lines)).lines == [line.encode("latin-1") for line in lines]


def test_nominated_lines_go_and_ours_stay() -> None:
    """Connection removes what it names, but not what means something to us (RFC 9110 §7.6.1)."""
    head = parse(
        request(
            "Connection: close, X-Hop, Cookie, Host, X-Forwarded-For, Content-Length, Upgrade",
            "connection: keep-alive, x-other",
            "x-hOP: 1", "X-Other: 2", "X-Kept: 3", "Cookie: a=b", "X-Forwarded-For: 192.0.2.1", "Content-Length: 5",
        )
    )  # fmt: skip
    assert head.kept_lines() == [b"X-Kept: 3"]
    assert (head.host, head.cookie_lines, head.content_length) == ("a", (b"a=b",), 5)
    assert len(head.forwarded) == 1
    assert head.close


ALIVE = [
    ("HTTP/1.1", [], True),
    ("HTTP/1.1", ["Connection: close"], False),
    ("HTTP/1.1", ["Connection: keep-alive", "Connection: a, CLOSE"], False),
    ("HTTP/1.1", ["Connection: closed"], True),
    ("HTTP/1.0", [], False),
    ("HTTP/1.0", ["Connection: Keep-Alive"], True),
    ("HTTP/1.0", ["Connection: keep-alive, close"], False),
]


@pytest.mark.parametrize(("version", "lines", "alive"), ALIVE)
def test_whether_a_connection_is_kept(version: str, lines: list[str], alive: bool) -> None:
    """RFC 9112 §9.3, line by line; close wins."""
    assert parse(request(*lines, first=f"GET / {version}")).keeps_alive() is alive


@given(st.lists(REQUESTS | BROKEN_REQUESTS, min_size=1, max_size=4))
@settings(max_examples=200)
def test_the_memory_never_changes_an_answer(texts: list[bytes]) -> None:
    """A parser that has seen other requests, and this one, reads it as a new one does."""
    old = RequestParser(LIMITS, frozenset())
    for text in texts * 2:
        assert outcome([text], old) == outcome([text])


def test_two_heads_share_no_state() -> None:
    """Lines are remembered, and what they are applied to is not."""
    parser = RequestParser(LIMITS, frozenset())
    text = request("Connection: x", "Cookie: a=b", "X-Forwarded-For: c", "Via: 1.1 x", "Remote-User: y", "Z: 1")[:-4]
    before = facts(parser.parse(text))
    first = parser.parse(text)
    first.lines.append(b"Y: 1")
    assert facts(parser.parse(text)) == before


def test_the_memory_is_bounded() -> None:
    """However many lines clients invent, few are remembered, and no long ones."""
    known = KnownLines(TABLE, LIMITS.line, LIMITS.cookie)
    for number in range(3 * MEMO_LINES):
        assert known[b"X-A: %d" % number] is None
        assert len(known) <= MEMO_LINES
    size = len(known)
    for number in range(50):
        assert known[b"X-A: %d" % number + b"x" * MEMO_LINE_BYTES] is None
    assert len(known) == size


def test_the_memory_of_blocks_is_bounded() -> None:
    """Few blocks of lines are remembered, no long ones, and none that holds somebody's cookies."""
    known = KnownBlocks(KnownLines(TABLE, LIMITS.line, LIMITS.cookie), LIMITS)
    for number in range(2 * MEMO_BLOCKS + 10):
        assert known[b"\r\nX-A: %d" % number].plain == [b"X-A: %d" % number]
        assert len(known) <= MEMO_BLOCKS
    size = len(known)
    for lines in (b"\r\nX-A: " + b"x" * MEMO_BLOCK_BYTES, b"\r\nCookie: a=b", b"\r\nCOOKIE: a=b", b"\r\ncOOkie:"):
        assert known[lines].count == 1
    assert len(known) == size


@pytest.mark.parametrize(
    ("lines", "cookies"),
    [
        (["Cookie: a=1", "X: 1"], (b"a=1",)),
        (["X: 1", "Cookie: a=1"], (b"a=1",)),
        (["X: 1", "Cookie:a=1"], (b"a=1",)),
        (["cookie: a=1", "X: 1", "Cookie: b=2", "Cookie: c=3"], (b"a=1", b"b=2", b"c=3")),
        (["Cookie: ", "X: Cookie: b=2"], (b"",)),
    ],
)
def test_cookie_lines_are_found_wherever_they_stand(lines: list[str], cookies: tuple[bytes, ...]) -> None:
    """Each Cookie line is taken, in order, and none of them is forwarded as a plain line."""
    head = parse(request(*lines))
    assert head.cookie_lines == cookies
    assert head.lines == [line.encode() for line in lines if line.startswith("X")]


@pytest.mark.parametrize(
    "lines", [b"Cookie: a=1\rX: 1\r\n", b"Cookie: a=1\r", b"Cookie: a\0=1\r\n", b"Cookie: a\n=1\r\n"]
)
@pytest.mark.parametrize("before", [b"", b"Host: a\r\n"])
def test_a_control_character_in_a_cookie_is_refused(before: bytes, lines: bytes) -> None:
    """Neither a bare CR nor another control character passes in a Cookie line."""
    after = b"" if before else b"\r\nHost: a"
    with pytest.raises(BadSyntax):
        RequestParser(LIMITS, frozenset()).parse(b"GET / HTTP/1.1\r\n" + before + lines.removesuffix(b"\r\n") + after)


def test_a_bad_line_is_refused_every_time() -> None:
    """A refusal is not forgotten, and not remembered as something else."""
    known = KnownLines(TABLE, 100, 200)
    for line, status in ((b"X : a", 400), (b"X: \0", 400), (b"X: " + b"a" * 100, 431), (b"Cookie: " + b"a" * 200, 431)):
        for _ in range(3):
            with pytest.raises(BadSyntax) as caught:
                known[line]
            assert caught.value.status == status


@given(st.text(TOKEN.decode(), max_size=12), st.sampled_from("!#$%&'*+.^_`|~"))
def test_normalised_names_are_alike(name: str, sign: str) -> None:
    """Normalising is idempotent, and forgets case and which signs there are; letters and digits stay."""
    once = normalised(name.encode())
    assert normalised(once) == once
    assert once == normalised(name.upper().replace("-", sign).encode()) == normalised(name.replace(sign, "-").encode())
    assert once.decode() == "".join(each if each.isalnum() else "-" for each in name.lower())


def test_small_limits_hold() -> None:
    """The limits are those that were given."""
    parser = RequestParser(Limits(headers=2, target=5, line=10), frozenset())
    for text, status in ((b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2", 431), (b"GET /12345 HTTP/1.1\r\nHost: a", 414)):
        with pytest.raises(BadSyntax) as caught:
            parser.parse(text)
        assert caught.value.status == status
    answers = AnswerParser(Limits(answer_headers=1), frozenset())
    with pytest.raises(BadSyntax):
        answers.parse(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2")


@pytest.mark.parametrize("first", ["GET / HTTP/1.1", "GET http://Wiki.example.{end}/ HTTP/1.1"])
@pytest.mark.parametrize(("end", "sent"), [("com.", "com"), ("com.:80", "com:80"), ("com:80", "com:80")])
def test_a_host_goes_on_without_its_final_dot(first: str, end: str, sent: str) -> None:
    """An app might know the host with the dot as another one, but it is the one that the route is found by."""
    head = parse(request(host=f"Host: Wiki.example.{end}", first=first.format(end=end)))
    assert (head.host, head.host_value) == ("wiki.example.com", f"Wiki.example.{sent}".encode())
