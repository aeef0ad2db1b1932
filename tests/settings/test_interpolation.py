"""Values from the environment and from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.settings import load_settings
from gateway.settings.interpolation import MAX_FILE_BYTES, Interpolation
from gateway.settings.misfit import Misfit
from tests.settings.support import Case, assert_case, case, problems_of, settings_of, unmarked

ENVIRON = {"A": "alpha", "EMPTY": "", "NUMBER": "7", "DOLLAR": "${A}", "BAD": "\udcff"}


def expand(text: str, folder: Path = Path()) -> str:
    return Interpolation(ENVIRON, folder).expand(text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${A}", "alpha"),
        ("<${A}|${A}>", "<alpha|alpha>"),
        ("${A:-x}", "alpha"),
        ("${NONE:-x}", "x"),
        ("${NONE:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-a:-b $ c}", "a:-b $ c"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$$$", "$$"),
        ("$5 and $A", "$5 and $A"),
        ("cost: 5$", "cost: 5$"),
        ("${DOLLAR}", "${A}"),
    ],
)
def test_the_forms(text: str, expected: str) -> None:
    assert expand(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NONE}", "the environment variable NONE is not set"),
        ("${A", "not closed"),
        ("${", "not closed"),
        ("${}", "none of the known forms"),
        ("${1}", "none of the known forms"),
        ("${A-x}", "none of the known forms"),
        ("${A B}", "none of the known forms"),
        ("${A:-{user}}", "not closed"),
        ("${file:}", "without a proper file name"),
        ("${file:none}", "the file none cannot be read: No such file or directory"),
        ("${file:.}", "the file . cannot be read: Is a directory"),
        ("${BAD}", "the environment variable BAD is not UTF-8"),
    ],
)
def test_what_cannot_be_had_is_told(text: str, problem: str) -> None:
    with pytest.raises(Misfit) as caught:
        expand(text)
    assert problem in caught.value.text


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_file_gives_its_content_without_newlines_at_its_end(tmp_path: Path, end: str) -> None:
    (tmp_path / "secret").write_bytes(b"line 1\nline 2" + end.encode())
    assert expand("${file:secret}", tmp_path) == "line 1\nline 2"
    assert expand(f"${{file:{tmp_path}/secret}}") == "line 1\nline 2"


def test_a_file_is_not_expanded_again(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("${A}")
    assert expand("${file:secret}", tmp_path) == "${A}"


def test_a_file_that_is_too_large_or_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(Misfit, match="more than"):
        expand("${file:large}", tmp_path)
    with pytest.raises(Misfit, match="not UTF-8"):
        expand("${file:binary}", tmp_path)


CASES = {
    "unset variable": case("state_dir: ▸${NONE}", ("state_dir", "the environment variable NONE is not set")),
    "several": case(
        "state_dir: ▸${NONE}\nlog: {access: ▸'${file:/none}', level: ▸wrong}",
        ("state_dir", "NONE"),
        ("log.access", "the file /none cannot be read"),
        ("log.level", "is not one of"),
    ),
    "wrong value from outside": case("public_url: ▸${A}", ("public_url", "the value put in here is not a URL")),
    "unset variable beside other mistakes": case(
        "routes:\n  - name: ▸${NONE}\n    upstream: http://a\n    ▸pth: /x\n    public: ▸maybe",
        ("routes[0].name", "NONE is not set"),
        ("routes[0].pth", 'did you mean "path"?'),
        ("routes[0].public", "is not true or false"),
    ),
}


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_what_cannot_be_had_is_a_problem_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text)
    assert_case("gateway.yaml", problems_of(text, ENVIRON), places, expected)


def test_without_quotes_a_value_is_read_as_a_plain_word_and_with_quotes_it_stays_text() -> None:
    settings = settings_of("limits:\n  connections: ${NUMBER}\n  body: '${NUMBER}'\nadmin_listen: ${NONE:-}", ENVIRON)
    assert settings.limits.connections == 7
    assert settings.limits.body == 7
    assert settings.admin_listen is None
    found = problems_of("limits: {connections: '${NUMBER}'}", ENVIRON)
    assert [str(problem) for problem in found] == [
        "gateway.yaml:1:23: limits.connections: the value put in here is not a whole number above zero"
    ]


def test_keys_are_taken_as_they_stand() -> None:
    found = problems_of("log: {'${A}': x}", ENVIRON)
    assert [problem.key for problem in found] == ['log["${A}"]']


def test_what_came_from_outside_is_repeated_for_no_other_key(tmp_path: Path) -> None:
    """A rule that does not fit its route is told without the route's path, if that is none of the file's own words."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "routes: [{name: a, path: '/${PLACE}/', upstream: 'http://a', rules: [{path: /b, public: true}]}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(file, {"PLACE": "kept-from-all-eyes"})
    texts = {problem.key: problem.text for problem in caught.value.problems}
    assert "kept-from" not in str(texts)
    assert '"/…"' in texts["routes[0].rules[0].path"]
