"""Plausible and nasty messages, made by grammar so that many of them are accepted."""

from __future__ import annotations

from hypothesis import strategies as st

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "MKCOL", "SEARCH"]
"""All of these are known to llhttp, too."""
NAMES = [
    "Accept", "X-A", "x_b", "!#$%&'*+-.^_`|~9z", "Cookie", "Connection", "Upgrade", "Expect", "Via", "Range",
    "X-Forwarded-For", "X-Forwarded-User", "Remote_User", "Authorization", "Content-Type", "TE", "Keep-Alive",
    "Transfer_Encoding", "Content_Length", "Max-Forwards", "Proxy", "Forwarded", "HTTP2-Settings", "Origin",
]  # fmt: skip
VALUES = [
    "", "a", "a b", "close", "keep-alive", "upgrade, close", "websocket", "100-continue", "chunked", "5", "a=b; c=d",
    "session=x; session=y", "\xe4\xf6", "\x80\xff", '"quoted, string"', "a,,b", "=?utf-8?q?x?=", ":", "a:b", "\t",
    "x" * 300,
]  # fmt: skip
TARGETS = [
    "/", "/a", "/a/b?c=d", "/%41", "/a%20b", "/a;b=c", "/a%2Fb", "/~a!$&'()*+,=:@", "/a//b", "/?", "/a?b#c", "/..",
    "/a/./b",
    "/[]^`{|}\"<>", "*", "http://a/x", "http://a", "https://A?x", "/\x7f", "a", "", "/%", "/a%0a", "//b", "/a\\b",
    "/x?\"<>^`{|}\\",
]  # fmt: skip
NASTY = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"\0",
    b":",
    b";",
    b",",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\r\n ",
]

_OWS = st.sampled_from(["", " ", "\t", "  ", " \t"])
_LINES = st.builds(
    lambda name, before, value, after: f"{name}:{before}{value}{after}",
    st.sampled_from(NAMES),
    _OWS,
    st.sampled_from(VALUES)
    | st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12),
    _OWS,
)
_BODY_LINES = st.sampled_from(
    [
        [], ["Content-Length: 0"], ["content-length:\t007 "], ["Transfer-Encoding: chunked"],
        ["transfer-encoding:CHUNKED"],
    ] * 4
    + [
        ["Transfer-Encoding: gzip"], ["Content-Length: 5", "Content-Length: 5"], ["Content-Length: +5"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"], ["Content-Length: 5,5"],
    ]
)  # fmt: skip
_PATHS = st.sampled_from(TARGETS[:9] * 4 + TARGETS)
_VERSIONS = ["HTTP/1.1"] * 20 + ["HTTP/1.0"] * 3 + ["HTTP/1.2", "HTTP/2.0", "http/1.1"]
_HOSTS = [["Host: a"]] * 20 + [["host:A:80"], ["HOST:\ta. "], [], ["Host: a", "Host: a"], ["Host: a b"]]


def _text(method: str, target: str, version: str, host: list[str], body: list[str], lines: list[str]) -> bytes:
    return "\r\n".join([f"{method} {target} {version}", *host, *body, *lines, "", ""]).encode("latin-1")


REQUESTS = st.builds(
    _text,
    st.sampled_from(METHODS),
    _PATHS,
    st.sampled_from(_VERSIONS),
    st.sampled_from(_HOSTS),
    _BODY_LINES,
    st.lists(_LINES, max_size=6),
)
"""Requests of which about half are accepted."""


@st.composite
def _broken(draw: st.DrawFn) -> bytes:
    text = draw(REQUESTS)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(text)))
        gone = draw(st.integers(0, 2))
        text = text[:at] + draw(st.sampled_from(NASTY)) + text[at + gone :]
    return text


BROKEN_REQUESTS = _broken()
"""Requests with nasty bytes put in."""

_SIZES = st.sampled_from(
    ["{:x}", "{:X}", "0{:x}", "000000{:x}", "{:x};a=b", '{:x};a="b"', "{:x} ;a", "{:x};\t", "{:x};a;b=c"]
)
_CHUNK = st.tuples(st.binary(min_size=1, max_size=20) | st.just(b"\r\n0\r\n\r\n"), _SIZES).map(
    lambda both: both[1].format(len(both[0])).encode() + b"\r\n" + both[0] + b"\r\n"
)
_TRAILERS = st.lists(st.sampled_from([b"A: b\r\n", b"Content-Length: 5\r\n", b"X:\r\n"]), max_size=3).map(b"".join)
CHUNKED = st.builds(
    lambda chunks, last, trailers: b"".join(chunks) + last + trailers + b"\r\n",
    st.lists(_CHUNK, max_size=5),
    st.sampled_from([b"0\r\n", b"000\r\n", b"0;a=b\r\n"]),
    _TRAILERS,
)
"""Whole bodies in the chunked coding."""


@st.composite
def _broken_chunked(draw: st.DrawFn) -> bytes:
    data: bytes = draw(CHUNKED)
    at = draw(st.integers(0, len(data)))
    nasty: bytes = draw(st.sampled_from([*NASTY, b"g", b"0x", b"+", b"-", b"_", b"f" * 15, b"f" * 16]))
    gone = draw(st.integers(0, 2))
    return data[:at] + nasty + data[at + gone :]


BROKEN_CHUNKED = _broken_chunked()
