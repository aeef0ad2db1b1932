"""Targets: one reading, or none at all; what several parties could read differently shows all its readings."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from itertools import product
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gateway.wire.grammar import BadSyntax
from gateway.wire.target import (
    MAX_GROWTH,
    MAX_MARKS,
    MAX_READ,
    MAX_READINGS,
    Target,
    parse_target,
    simple_path,
    split_absolute,
    without_prefix,
)

ACCEPTED = [
    ("/", "/"),
    ("/a/b?c=/../d", "/a/b"),
    ("/a?", "/a"),
    ("/a%20b", "/a b"),
    ("/%61", "/a"),
    ("/%C3%A4", "/ä"),
    ("/a.b/.c/..d/e..", "/a.b/.c/..d/e.."),
    ("/a//b/", "/a//b/"),
    ("/a;b=c/d", "/a;b=c/d"),
    ("/a%2Fb", "/a%2Fb"),
    ("/a%3Fb", "/a?b"),
    ("/100%25", "/100%"),
    ("/f/100%2525.pdf", "/f/100%25.pdf"),
    ("/100%25usd", "/100%usd"),
    ("/100%25u0041", "/100%u0041"),
    ("/job/feature%252Flogin/", "/job/feature%2Flogin/"),
    ("/a%255cb", "/a%5cb"),
    ("/a%25252fb", "/a%252fb"),
    ("/a%25ff", "/a%ff"),
    ("/?a=%zz%00..//\\", "/"),
    ("/%d9%85%db%8c%e2%80%8c%d8%b1", "/\u0645\u06cc\u200c\u0631"),
    ("/%c2%a5/1%e2%81%842", "/\u00a5/1\u20442"),
]
REFUSED = [
    ("", "no path"),
    ("a", "no path"),
    ("/a#b", "a fragment"),
    ("/a?b#c", "a fragment behind a query"),
    ("/a\\b", "a backslash"),
    ("/a b", "a space"),
    ("/\xe4", "not ASCII"),
    ("/a?\xe4", "not ASCII in the query"),
    ("/%", "an escape that is none"),
    ("/%4", "half an escape"),
    ("/%zz", "no hexadecimal escape"),
    ("/%u002e", "the %u escape of IIS"),
    ("/%25u002e", "the same, escaped"),
    ("/%00", "NUL"),
    ("/a%0d%0aX:y", "a line end"),
    ("/%7f", "DEL"),
    ("/%2500", "NUL, escaped twice"),
    ("/..", "dots"),
    ("/a/../b", "dots"),
    ("/a/./b", "a dot"),
    ("/.", "a dot at the end"),
    ("/...", "dots, which Windows cuts"),
    ("/a/%2e%2e/b", "escaped dots"),
    ("/a/.%2E/b", "half escaped dots"),
    ("/a/..;/b", "dots with parameters, as Tomcat reads them"),
    ("/a/..;x=y/b", "dots with parameters"),
    ("/a/.%3bx/b", "dots with an escaped semicolon"),
    ("/a/..%20/b", "dots and a space, which Windows cuts"),
    ("/a/..%2fb", "dots before an escaped slash"),
    ("/a%2f../b", "dots behind an escaped slash"),
    ("/a%5c..%5cb", "dots between escaped backslashes"),
    ("/a/%252e%252e/b", "dots escaped twice"),
    ("/a/%25%32%65/b", "dots escaped twice, digit by digit"),
    ("/a/%25252e%25252e/b", "dots escaped thrice"),
    ("/a/%252525252e./b", "a dot escaped five times"),
    ("/a%252f..%252fb", "dots between slashes escaped twice"),
    ("/a%252f../b", "dots behind a slash escaped twice"),
    ("/a%255c%252e.%255cb", "dots between backslashes escaped twice"),
    ("/a/%25252e%252e/b", "dots escaped twice and thrice"),
    ("/a/%25%32%35%32%65./b", "a dot escaped thrice, digit by digit"),
    ("/a/%25u002e%25u002E/b", "dots in IIS' escapes, escaped"),
    ("/a/%25u0025%2532%2565./b", "a dot behind two kinds of escapes"),
    ("/a/%25c0%25ae./b", "an overlong dot, escaped twice"),
    ("/a/%25e0%2580%25ae./b", "a longer one, escaped twice"),
    ("/a/..%253bx/b", "dots with parameters, escaped twice"),
    ("/a/%25ef%25bc%258e./b", "a full-width dot, escaped twice"),
    ("/a%25250d%25250aX:y", "a line end, escaped thrice"),
    ("/a%25u000ab", "a line end in IIS' escape"),
    ("/a%257f", "DEL, escaped twice"),
    ("/a/%" + "25" * 40 + "2e", "a dot escaped too often to look"),
    ("/%c0%ae", "an overlong dot"),
    ("/%c0%af", "an overlong slash"),
    ("/%e0%80%af", "a longer slash"),
    ("/%ff", "not UTF-8"),
    ("/%ed%a0%80", "a surrogate"),
    ("/%ef%bc%8e%ef%bc%8e/a", "full-width dots"),
    ("/..%ef%bc%8fa", "a full-width slash behind dots"),
    ("/a/%e2%80%a5/b", "a two-dot leader"),
    ("/a/%e2%80%a6/b", "an ellipsis"),
    ("/a/..%23/b", "dots before what is a fragment once it is decoded"),
    ("/a/..%3Fx/b", "dots before what is a query once it is decoded"),
    ("/a/..%e2%88%95b", "dots before a division slash, Windows' best fit for which is a slash"),
    ("/a/..%e2%81%84b", "dots before a fraction slash"),
    ("/a%e2%88%96..%e2%88%96b", "dots between set minus signs, which become backslashes"),
    ("/a/..%c2%a5b", "dots before a yen sign, which has the backslash's place in Japan"),
    ("/a/%e3%80%82%e3%80%82/b", "ideographic full stops"),
    ("/a/.%e2%80%8c./b", "dots around a sign that file systems overlook"),
    ("/a/%e2%80%ae../b", "dots behind a mark of direction"),
]
BITS = [
    "a", "admin", "/", "//", ".", "..", "...", ";", ";x=y", "%3b", "%2e", "%2E", "%2f", "%5C", "\\", "%", "%25",
    "%252e", "%252f",
    "%61", "%2561", "%c0%ae", "%c3%a4", "%ef%bc%8e", "%ef%bc%8f", "%ef%bc%bc", "%e2%80%a6", "%20", "%00", "%0a",
    "%u002e", "%7f",
    "~", "+", "%ff", ":", "@", "[", "%5B", "a.b", ".a", "a.", "%e2%84%80",
]  # fmt: skip
PATHS = st.lists(st.sampled_from(BITS), max_size=8).map(lambda bits: "/" + "".join(bits)) | st.lists(
    st.sampled_from(["a", "b", "%61", ";x", "%2F", "%5c", "//", "/", "%C3%A4", "%20", ".a"]), max_size=8
).map(lambda bits: "/" + "".join(bits))


def target(path: str) -> Target | None:
    try:
        return parse_target(path.encode("latin-1"))
    except BadSyntax:
        return None


def readings(found: Target) -> set[str]:
    return {found.path, *found.readings}


def has_dot_segment(path: str) -> bool:
    return any(segment.split(";", 1)[0].rstrip(" ") in (".", "..") for segment in re.split(r"[/\\]", path))


@pytest.mark.parametrize(("text", "path"), ACCEPTED)
def test_a_sound_target(text: str, path: str) -> None:
    """A target that everybody reads alike is decoded once."""
    found = target(text)
    assert found is not None
    assert found.path == path


@pytest.mark.parametrize("text", ["/admin.", "/admin../x", "/admin%20", "/admin.%20/x", "/admin.;a=b/x", "/%61dmin%2e"])
def test_a_name_is_read_without_its_last_dots(text: str) -> None:
    """Windows leaves out dots and spaces at the end of a name, so a rule for ``/admin`` must hold here as well."""
    found = target(text)
    assert found is not None
    assert not simple_path(text.encode())
    assert any(re.fullmatch("/admin(/x)?", reading) for reading in found.readings)


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[f"{why}-{text}" for text, why in REFUSED])
def test_an_ambiguous_target(text: str, why: str) -> None:
    """A target that two parties could read differently is refused before routing."""
    assert target(text) is None


@given(PATHS)
@settings(max_examples=250)
def test_no_reading_has_a_dot_segment(path: str) -> None:
    """However often and however leniently an accepted path is decoded, no dot segment comes out of it."""
    found = target(path)
    assume(found is not None)
    assert found is not None
    for reading in readings(found):
        for decoded in (reading, unquote(reading), unquote(unquote(reading))):
            assert not has_dot_segment(decoded)
            assert not re.search(r"[\x00-\x1f\x7f]", decoded)


@given(PATHS)
@settings(max_examples=250)
def test_decoding_once_brings_no_slash(path: str) -> None:
    """A path without an encoded slash has its segments; others come by decoding it again, and are readings then."""
    found = target(path)
    assume(found is not None and not found.encoded_slash)
    assert found is not None
    assert found.path.count("/") == path.count("/")
    assert unquote(found.path).replace("\\", "/") in {reading.replace("\\", "/") for reading in readings(found)}


@given(PATHS)
@settings(max_examples=250)
@example("/a%2f;x//b;y/%5cc")
def test_the_readings_hold_what_servers_make_of_a_path(path: str) -> None:
    """Decoded slashes, backslashes as slashes, parameters cut, slashes merged: each, and all together, is a reading."""
    found = target(path)
    assume(found is not None)
    assert found is not None
    full = unquote(path)
    assert found.encoded_slash is (re.search("%2f|%5c", path, re.IGNORECASE) is not None)
    assert unicodedata.normalize("NFKC", full).replace("\\", "/") in readings(found)
    assume(full.isascii())
    for slashes, backslashes, parameters, merged in product([False, True], repeat=4):
        reading = full if slashes else found.path
        reading = reading.replace("\\", "/") if slashes and backslashes else reading
        reading = re.sub(";[^/]*", "", reading) if parameters else reading
        reading = re.sub("//+", "/", reading) if merged else reading
        assert reading in readings(found)


@given(PATHS)
@settings(max_examples=150)
def test_the_plain_path_keeps_its_segments(path: str) -> None:
    """The path that rules see has as many segments as the target that is forwarded: an encoded slash makes none."""
    found = target(path)
    assume(found is not None)
    assert found is not None
    assert found.path.count("/") == path.count("/")


@given(PATHS, st.sampled_from(["", "?", "?a=%zz", "?a#b", "? "]))
@settings(max_examples=250)
def test_the_short_way_agrees_with_the_long_one(path: str, query: str) -> None:
    """What `simple_path` takes, `parse_target` takes with the same path and without other readings."""
    simple = simple_path((path + query).encode("latin-1"))
    if simple:
        found = target(path + query)
        assert found is not None
        assert (found.path, found.readings, found.encoded_slash) == (simple, (), False)


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_arbitrary_bytes_are_a_target_or_not(data: bytes) -> None:
    """Nothing but BadSyntax is ever raised."""
    for text in (data, b"/" + data):
        with suppress(BadSyntax):
            assert parse_target(text).path.startswith("/")
    assert simple_path(data) == "" or data.partition(b"?")[0].isascii()


def leads_elsewhere(path: str, place: str) -> bool:
    """Tell whether an accepted path has ``place`` among its readings, so that rules for it are asked; or is refused."""
    found = target(path)
    return found is None or place in readings(found)


@pytest.mark.parametrize("path", ["/%2561dmin", "/%25%36%31dmin", "/%252561dmin"])
def test_a_letter_escaped_twice_is_read_in_both_ways(path: str) -> None:
    """An upstream that decodes twice sees /admin: rules for it are asked, too, or the request is refused."""
    assert leads_elsewhere(path, "/admin")


@pytest.mark.parametrize("path", ["/admin%3Fx", "/admin%23x", "/admin%3f/public"])
def test_an_escaped_question_mark_is_read_in_both_ways(path: str) -> None:
    """An upstream that decodes before it cuts query or fragment sees /admin (as in CVE-2024-38475)."""
    assert leads_elsewhere(path, "/admin")


@pytest.mark.parametrize("path", ["/a/...;x/b", "/a/%20..;x/b", "/a/..%20.;x/b"])
def test_dots_with_parameters_are_dots(path: str) -> None:
    """A segment that is refused alone is refused with parameters too."""
    assert target(path.replace(";x", "")) is None
    assert target(path) is None


@pytest.mark.parametrize("path", ["/a/%ef%bc%852e%ef%bc%852e/b", "/a/%25%ef%bc%92e./b"])
def test_look_alikes_make_no_dots(path: str) -> None:
    """Full-width signs that become an escape when normalised are that escape: dots are refused as full-width ones."""
    assert target(path) is None


COSTLY = [
    ("%EF%B7%BA" * 900, "signs that become 18 characters each"),
    ("a;b%3Fc%2541//x./" * 400, "readings of many characters together"),
    (";x//%253F./%5C", "many readings"),
    ("a" + "%CC%A3%CC%81" * 600, "marks that are sorted"),
    ("%25CC%25A3" * 40, "marks that are escaped twice"),
]


@pytest.mark.parametrize(("text", "why"), COSTLY, ids=[why for _, why in COSTLY])
def test_what_is_costly_to_read_is_refused(text: str, why: str) -> None:
    """No request keeps the others waiting: what would take long to read in all ways is refused."""
    assert target(f"/{text}") is None


def test_what_people_write_is_not_costly() -> None:
    """A short path may grow, a long one is in any script, and marks come as they do in text."""
    for text in ("\ufdfa", "wiki/\ufdfa", "\u4f60\u597d/" * 150, "\ud55c\uad6d/" * 130, "a\u0323\u0301" * 200):
        assert target(f"/{quote(text)}") is not None
    assert target("/a%20b;c=d" * 600) is not None


@given(st.text(st.sampled_from("\ufdfa\u3316\u0301\u0323\u0344a/%"), max_size=400))
@settings(max_examples=200)
def test_normalising_has_bounds(text: str) -> None:
    """A path that is accepted neither grew beyond measure, nor has it endless marks."""
    found = target(f"/{quote(text)}")
    assume(found is not None)
    assert found is not None
    longest = max(map(len, readings(found)))
    assert longest <= max(MAX_GROWTH * (len(text) + 1), 256)
    assert not re.search(f"[\u0301\u0323\u0344]{{{MAX_MARKS + 1}}}", found.path)


@given(PATHS)
@settings(max_examples=250)
def test_readings_have_bounds(path: str) -> None:
    """There are so many readings, and no more, and together they are no longer than they may be."""
    for text in (path, path * 300):
        if (found := target(text)) is not None:
            assert len(readings(found)) <= MAX_READINGS
            assert sum(map(len, readings(found))) <= MAX_READ


SPLIT = [
    (b"http://a/b?c", (b"a", b"/b?c")),
    (b"HTTPS://a:1", (b"a:1", b"/")),
    (b"http://a?b/c", (b"a", b"/?b/c")),
    (b"http:///b", (b"", b"/b")),
    (b"http://a//b", (b"a", b"//b")),
]


@pytest.mark.parametrize(("text", "parts"), SPLIT)
def test_an_absolute_target_is_split(text: bytes, parts: tuple[bytes, bytes]) -> None:
    """Authority and origin-form are told apart at the first slash or question mark (RFC 9112 §3.2.2)."""
    assert split_absolute(text) == parts


@pytest.mark.parametrize("text", [b"", b"a", b"ftp://a/b", b"http:/a", b"http:a", b"//a/b", b"://a"])
def test_other_forms_are_refused(text: bytes) -> None:
    """A target that is neither a path nor an http URL is refused."""
    with pytest.raises(BadSyntax):
        split_absolute(text)


PREFIXES = [
    (b"/app/x?y", "/app", b"/x?y"),
    (b"/app/x", "/app/", b"/x"),
    (b"/app", "/app", b"/"),
    (b"/app?x=/app", "/app", b"/?x=/app"),
    (b"/app/", "/app", b"/"),
    (b"/%61pp/x", "/app", b"/x"),
    (b"/a/b/c", "/a/b", b"/c"),
    (b"/a%2Fb/c", "/a/b", b"/"),
    (b"/app//evil.example/x", "/app", b"/evil.example/x"),
    (b"/app///x", "/app", b"/x"),
    (b"/x", "/", b"/x"),
]


@pytest.mark.parametrize(("text", "prefix", "rest"), PREFIXES)
def test_a_prefix_is_removed(text: bytes, prefix: str, rest: bytes) -> None:
    """As many segments as the prefix has are removed, whatever escapes they are written with."""
    assert without_prefix(text, prefix) == rest


@given(PATHS, st.sampled_from(["/a", "/a/b", "/admin/", "/"]))
@settings(max_examples=150)
def test_what_is_left_is_a_path_of_this_site(path: str, prefix: str) -> None:
    """Without the prefix a path still starts with one slash, and is what came behind the prefix, byte by byte."""
    assume(target(path) is not None)
    rest = without_prefix(f"{prefix.rstrip('/')}{path}?q".encode("latin-1"), prefix)
    assert rest == b"/" + path.lstrip("/").encode("latin-1") + b"?q"
    assert not rest.startswith(b"//")
