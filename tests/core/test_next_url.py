"""Where a login may lead: whatever is accepted, a browser stays on this site or a configured host."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from gateway.core.next_url import MAX_LENGTH, is_local_path, safe_next, way_back
from tests.support.urls import resolve_origin

BASE = "https://apps.example.com"
HOSTS = {"apps.example.com", "wiki.example.com", "[::1]"}
BITS = [
    "/", "//", "\\", "/\\", "http:", "https:", "HTTPS:", "https://", "http://", "javascript:", "data:",
    "apps.example.com",
    "wiki.example.com", "WIKI.example.com", "evil.example", "@", ":", ":443", ":80", "#", "?", "?next=", ".", "..",
    "./", "../", "%2e", "%2f",
    "%5c", "%09", "%00", "%25", "%252f", "\t", "\n", "\r", " ", "\0", "\x7f", "\x85", "\xa0", "\u2028", "\u3000",
    "\uff0f", "\u3002",
    ";", "&", "=", "a", "wiki", "~", "[::1]", "[", "]", "{", "|", "<", '"', "'", "\u00e4", "\ud800", "-", "_",
]  # fmt: skip
URLS = st.lists(st.sampled_from(BITS), max_size=9).map("".join)
GOOD_STARTS = st.sampled_from(
    ["/", "/wiki", "https://wiki.example.com", "https://apps.example.com:443/", "https://[::1]/"]
)
DOTS = ("", ".", "..", "%2e", ".%2e", "%2e.", "%2e%2e")


def safe(value: str, *, serves: bool = False) -> str:
    return safe_next(value, "https", "apps.example.com", HOSTS.__contains__, lambda host, target: serves)


def resolved_path(location: str) -> str:
    """Return the path that a browser asks for (WHATWG URL, path state): dot segments gone, backslashes turned."""
    text = re.sub(r"[\t\n\r]", "", location)
    text = re.sub(r"^[a-z]+://[^/?#\\]*", "", text)
    path = re.split("[?#]", text, maxsplit=1)[0].replace("\\", "/")
    out: list[str] = []
    for segment in path.split("/")[1:]:
        plain = segment.lower().replace("%2e", ".")
        if plain == "..":
            out = out[:-1]
        elif plain != ".":
            out.append(segment)
    return "/" + "/".join(out)


def stays(value: str) -> bool:
    origin = resolve_origin(value, BASE) or ""
    scheme, _, authority = origin.partition("://")
    return scheme == "https" and re.sub(r":\d+$", "", authority) in HOSTS


@given(URLS | st.builds("".join, st.tuples(GOOD_STARTS, URLS)) | st.text(max_size=30), st.booleans())
@example("/..//evil.example", True)
@example("https://wiki.example.com@evil.example/", True)
@example("https://wiki.example.com\\@evil.example/", True)
@example("/%2e%2e//evil.example", True)
@example("/a//..//evil.example", True)
@settings(max_examples=800)
def test_what_is_accepted_stays(value: str, serves: bool) -> None:
    """Resolved as a browser does it, an accepted value is on a configured host, by https, and no second URL.

    Whatever is served there: that a route takes a path does not make it one.
    """
    accepted = safe(value, serves=serves)
    event("accepted" if accepted == value else "refused")
    assert accepted in (value, "/")
    assert stays(accepted)
    assert re.fullmatch(r"[!-~]+", accepted), "one line of ASCII, for it goes into a header"
    assert not resolved_path(accepted).startswith("//")
    split = urlsplit(accepted)
    assert split.scheme in ("", "https")
    assert (split.hostname or "apps.example.com") in {host.strip("[]") for host in HOSTS}
    assert split.username is None
    assert not any(segment.lower() in DOTS[1:] for segment in split.path.split("/"))


@given(URLS)
@settings(max_examples=300)
def test_a_local_path_is_local_to_every_parser(value: str) -> None:
    """A path that is called local has one slash in front and is no authority, however it is read."""
    if is_local_path(value):
        assert re.match(r"/(?![/\\])", value)
        assert resolve_origin(value, BASE) == BASE
        assert urlsplit(value).netloc == ""
        assert "\\" not in re.split("[?#]", value)[0]


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20))
def test_judging_twice_changes_nothing(value: str) -> None:
    """What is safe stays what it is."""
    assert safe(safe("/" + value)) == safe("/" + value)


GOOD = [
    "/", "/wiki", "/wiki/", "/wiki/a?b=//c#d//e", "/a%20b", "/a;b", "/~a", "https://wiki.example.com",
    "https://wiki.example.com/",
    "https://WIKI.example.com/a", "https://apps.example.com:8443/a", "https://[::1]/a", "/a/.b/c..d", "/a?x=%2f%2f",
    "/a?..//b", "/a?x=\\d", "/a?100%", '/a?x="b"<c>', "/a#b\\c", "/a?//evil.example", '/a"b<c>',
]  # fmt: skip
BAD = [
    "", "wiki", "//wiki.example.com", "http://wiki.example.com/", "https:/wiki.example.com", "https:wiki.example.com",
    "https://wiki.example.com?a", "https://evil.example/", "https://wiki.example.com.evil.example/",
    "https://wiki.example.com:x/",
    "https://a@wiki.example.com/", "https://wiki.example.com//evil", "/a//b", "/a/../b", "/a/%2E/b", "/..;/b",
    "/%2f", "/a%5c", "/a%0a",
    "/a%00", "/a%25", "/a%7f", "/a b", "/a\n", "/\xe4", "/a%", "/a%g0", "HTTPS://wiki.example.com/",
    "https://wiki.example.com\n",
    "/" + "a" * MAX_LENGTH,
]  # fmt: skip


@pytest.mark.parametrize("value", GOOD)
def test_a_good_place(value: str) -> None:
    """Paths of this site and URLs of configured hosts are kept as they are."""
    assert safe(value) == value


@pytest.mark.parametrize("value", BAD)
def test_a_bad_place(value: str) -> None:
    """All else becomes the start page."""
    assert safe(value) == "/"


def test_the_longest_place() -> None:
    """A path may be as long as is said, and no longer."""
    assert safe("/" + "a" * (MAX_LENGTH - 1)) == "/" + "a" * (MAX_LENGTH - 1)


def test_http_stays_http() -> None:
    """A gateway on http leads to http URLs only: the scheme is its own."""
    for value, kept in (("http://wiki.example.com/", "http://wiki.example.com/"), ("https://wiki.example.com/", "/")):
        assert safe_next(value, "http", "apps.example.com", HOSTS.__contains__, lambda host, target: True) == kept


@pytest.mark.parametrize("value", ["/a//b", "/%2f", "/a%5c", "/a%25", "/a//b?c=%zz#d", "/a%252f", "/a//", "/a%0a"])
@pytest.mark.parametrize("origin", ["", "https://wiki.example.com", "https://[::1]:8443", "https://WIKI.example.com"])
def test_what_depends_on_the_route_is_asked_of_it(value: str, origin: str) -> None:
    """Paths that some routes serve and others refuse: their host is asked, for the target without the fragment."""
    asked: list[tuple[str, str]] = []

    def serves(host: str, target: str) -> bool:
        asked.append((host, target))
        return len(asked) == 1

    given_host = re.sub(r":\d+$", "", origin.partition("://")[2].lower()) or "apps.example.com"
    for kept in (origin + value, "/"):
        assert safe_next(origin + value, "https", "apps.example.com", HOSTS.__contains__, serves) == kept
    assert asked == [(given_host, value.partition("#")[0])] * 2


@pytest.mark.parametrize(
    "value", ["//a", "/\\a", "/a/../b", "/..//a", "/a//..", "/a/%2e%2E//b", "/a\\b", "/a%", "/a b"]
)
def test_what_leads_away_is_not_asked_about(value: str) -> None:
    """No route makes an authority or a dot segment a path."""
    assert safe(value, serves=True) == "/"


@pytest.mark.parametrize(
    ("target", "back"),
    [("/a?b", "/a?b"), ("/a/b?cdef", "/a/b"), ("/a/b#cdef", "/a/b"), ("/abcdef?g", "/"), ("/abcdef", "/"), ("/", "/")],
)
def test_what_fits_of_the_way_back(target: str, back: str) -> None:
    """A query is given up before the path, and the path before nothing is left."""
    assert way_back(target, lambda way: len(way) <= 5) == back
