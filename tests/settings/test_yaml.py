"""Reading YAML: the rules of version 1.2, mistakes in the syntax, and bounds that nothing gets past."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.settings import load_settings, parse_settings
from gateway.settings.document import Document, read_document
from gateway.settings.yaml_nodes import MAX_DEPTH
from tests.settings.support import ENVIRON, FILE, Case, assert_case, case, problems_of, settings_of, unmarked


def read(text: str) -> Document:
    return read_document(text.encode(), "gateway.yaml")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2001-12-14", "2001-12-14"),
        ("=", "="),
        ("0b1", "0b1"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("010", 10),
        ("0o10", 8),
        ("0xfF", 255),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("'true'", "true"),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("!!int 1", 1),
    ],
)
def test_plain_words_are_read_by_the_core_schema_of_yaml_1_2(word: str, value: object) -> None:
    document = read(f"a: {word}")
    assert document.found == []
    assert document.data == {"a": value}
    assert type(document.get(("a",))) is type(value)


CASES = {
    "second key of one name": case(
        "listen: 127.0.0.1:1\nlog: {}\n▸listen: 127.0.0.1:2", ("listen", "given twice; the first is on line 1")
    ),
    "third key of one name": case(
        "log: {level: info, ▸level: info, ▸level: info}",
        ("log.level", "the first is on line 1"),
        ("log.level", "the first is on line 1"),
    ),
    "key that is a number": case("log: {▸1: x}", ("log", "the key 1 is not text; put it in quotes")),
    "key that is a truth value": case("▸true: x", ("", "the key true is not text")),
    "key that is null": case("log: {▸~: x}", ("log", "the key ~ is not text")),
    "key that is a list": case("log: {? ▸[a] : x}", ("log", "not a list or mapping")),
    "merge key": case("log: {▸<<: {level: info}}", ("log", "merge keys (<<) are not part of YAML 1.2")),
    "tag of python": case(
        "state_dir: ▸!!python/object/apply:os.system [ls]", ("state_dir", "remove what starts with !")
    ),
    "tag of nobody": case("log: ▸!x {level: info}", ("log", "remove what starts with !")),
    "tag that does not fit": case("state_dir: ▸!!int hello", ("state_dir", "does not fit the value")),
    "tag on a scalar": case("state_dir: ▸!secret hello", ("state_dir", "remove what starts with !")),
    "long number": case(f"workers: ▸{'9' * 5000}", ("workers", "more than 100 characters")),
    "surrogate": case('state_dir: ▸"\\uD800"', ("state_dir", "characters that are not Unicode")),
    "surrogate in a key": case('log: {▸"\\uD800": 1}', ("log", "characters that are not Unicode")),
    "alias into itself": case("log: &a {level: ▸*a}", ("log.level", "an alias that contains itself")),
}


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_what_yaml_allows_and_we_do_not_is_told_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text)
    if "alias" in expected.text or "*a" in expected.text:
        places = [(1, 6)]  # An alias is where its anchor is.
    assert_case("gateway.yaml", problems_of(text), places, expected)


SYNTAX = {
    "tab": case("log:\n▸\tlevel: info", ("", "YAML is indented with spaces")),
    "open list": case("log: [a\n▸", ("", "while parsing a flow sequence that starts on line 1")),
    "open quote": case('log: "a\n▸', ("", "while scanning a quoted scalar that starts on line 1")),
    "colon in a word": case("log: a▸: b", ("", "mapping values are not allowed here")),
    "wrong indent": case("log:\n    level: info\n  ▸access: off", ("", "not valid YAML")),
    "unknown alias": case("log: ▸*nothing", ("", "undefined alias")),
    "second document": case("log: {}\n▸---\nlog: {}", ("", "a single document")),
    "control character": case("log: ▸\x00", ("", "a control character")),
    "character beyond Unicode": case('log: "\\U▸FFFFFFFF"', ("", "a number out of range")),
    "version beyond all bounds": case("%YAML ▸" + "9" * 5000 + ".0\n---\na: b", ("", "not valid YAML")),
    "depth": case("[" * MAX_DEPTH + "▸[" + "]" * (MAX_DEPTH + 1), ("", f"more than {MAX_DEPTH} levels")),
    "a list": case("▸- a\n- b", ("", "keys with values")),
    "a text": case("▸hello", ("", "keys with values")),
}


@pytest.mark.parametrize("expected", SYNTAX.values(), ids=SYNTAX)
def test_a_mistake_in_the_syntax_is_one_problem_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text)
    with pytest.raises(ConfigError) as caught:
        parse_settings(text.encode(), FILE, ENVIRON)
    assert_case("gateway.yaml", caught.value.problems, places, expected)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "null\n", "~"])
def test_an_empty_file_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text.encode(), FILE, ENVIRON)
    assert str(caught.value) == "gateway.yaml: the file is empty"


@pytest.mark.parametrize("encoded", [b"listen: \xff", "listen: ä".encode("latin-1"), "listen: a".encode("utf-16")])
def test_a_file_that_is_not_utf_8_is_told_with_its_line(encoded: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(b"#\n" * (not encoded.startswith(b"\xff\xfe")) + encoded, FILE, ENVIRON)
    line = 1 if encoded.startswith(b"\xff\xfe") else 2
    assert str(caught.value) == f"gateway.yaml:{line}:1: the file is not UTF-8 text"


def test_a_byte_order_mark_is_passed_over() -> None:
    text, places = unmarked("▸lisen: x")
    found = problems_of("\N{ZERO WIDTH NO-BREAK SPACE}" + text)
    assert [problem.where for problem in found] == ["gateway.yaml:1:1"]
    assert places == [(1, 1)]


def test_an_alias_repeats_a_value() -> None:
    settings = settings_of(
        "routes:\n"
        "  - {name: a, path: /a, upstream: http://a, allow: &staff {groups: [staff]}}\n"
        "  - {name: b, path: /b, upstream: http://b, allow: *staff}\n"
    )
    assert [route.default.allow.groups for route in settings.routes] == [frozenset({"staff"})] * 2


def test_aliases_that_multiply_are_bounded_in_time() -> None:
    """Ten levels of ten aliases each would be ten thousand million values."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        parse_settings("\n".join(lines).encode(), FILE, ENVIRON)
    assert "values, aliases included" in str(caught.value)
    assert time.monotonic() - started < 30


def test_a_file_of_ten_thousand_brackets_is_refused_without_recursion() -> None:
    with pytest.raises(ConfigError, match=f"more than {MAX_DEPTH} levels"):
        parse_settings(b"a: " + b"[" * 100_000, FILE, ENVIRON)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none.yaml", "No such file or directory"), (".", "Is a directory"), ("a\0b", "not a file name")],
)
def test_a_file_that_cannot_be_read_is_told_with_its_name(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigError) as caught:
        load_settings(path, ENVIRON)
    assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_a_huge_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="has more than 4194304 bytes"):
        load_settings(Path("/dev/zero"), ENVIRON)


def test_places_are_named_by_the_path_that_was_given(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("lisen: x\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, ENVIRON)
    assert caught.value.problems[0].where == f"{path}:1:1"
