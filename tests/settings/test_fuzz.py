"""Whatever the operator writes, the answer is settings or a list of problems, never a traceback."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError, Problem
from gateway.settings import Settings, load_settings, parse_users
from gateway.settings.interpolation import Interpolation
from gateway.settings.misfit import Misfit
from tests.settings.support import ENVIRON, FILE, KEY
from tests.settings.test_settings import FULL

SAMPLE = FULL.replace("${KEY}", KEY)
LINES = SAMPLE.split("\n")
SIGNS = "{}[]:,-&*#?|>'\"%@`!~$\\\t\n\r\x00\x85\u2028 <=./_09azÄ€😀\N{ZERO WIDTH NO-BREAK SPACE}"
WORDS = [
    "null",
    "true",
    "{}",
    "[]",
    "''",
    "-1",
    "0",
    "1e9",
    "!!int x",
    "&a",
    "*a",
    "<<",
    "${KEY}",
    "${X",
    "x: y",
    "\ud800",
]


def _load(content: bytes) -> Settings:
    """Read a configuration from a file, so that the files which it names are looked at too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        path.write_bytes(content)
        return load_settings(path, ENVIRON)


def outcome(content: bytes) -> Settings | None:
    """Read a configuration, None where it has problems; an error that is not ours fails the test."""
    problems: list[Problem] | None = None
    try:
        return _load(content)
    except ConfigError as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert problem.text
        assert "\n" not in str(problem)
        assert KEY not in str(problem)
    return None


@given(st.binary(max_size=200))
@example(b'"\\UFFFFFFFF"')
@example(b"%YAML 1" + b"9" * 5000)
@example(b"? - - - ? - :")
def test_any_bytes(content: bytes) -> None:
    outcome(content)


@given(st.text(st.sampled_from(SIGNS), max_size=60))
def test_any_text_of_the_signs_of_yaml(text: str) -> None:
    outcome(text.encode("utf-8", "surrogatepass"))
    outcome(("routes:\n  - name: a\n    upstream: " + text).encode("utf-8", "surrogatepass"))


@given(st.data())
@settings(max_examples=300)
def test_a_configuration_with_a_piece_changed(data: st.DataObject) -> None:
    """One stretch of a full configuration is replaced by signs or words, or left out."""
    start = data.draw(st.integers(0, len(SAMPLE)))
    length = data.draw(st.integers(0, 40))
    piece = data.draw(st.one_of(st.text(st.sampled_from(SIGNS), max_size=8), st.sampled_from(WORDS)))
    outcome((SAMPLE[:start] + piece + SAMPLE[start + length :]).encode("utf-8", "surrogatepass"))


@given(st.data())
@settings(max_examples=200)
def test_a_configuration_with_lines_dropped_doubled_or_moved(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        target = data.draw(st.integers(0, len(lines) - 1))
        action = data.draw(st.sampled_from(["drop", "double", "move", "indent"]))
        if action == "indent":
            lines[index] = "  " + lines[index]
        else:
            line = lines[index] if action == "double" else lines.pop(index)
            if action != "drop":
                lines.insert(target, line)
        if not lines:
            return
    outcome("\n".join(lines).encode())


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(["1s", "http://a", "/a", "GET"]),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
DATA = yaml.safe_load(SAMPLE.replace("${OTHER_KEY}", KEY[::-1]))


def places(data: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path]
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        found += places(value, (*path, key))
    return found


PLACES = places(DATA)[1:]


def replaced(data: object, path: tuple[str | int, ...], value: object) -> object:
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)  # type: ignore[call-overload]
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


@given(st.sampled_from(PLACES), TREES)
@settings(max_examples=300)
def test_a_configuration_with_any_value_at_any_place(path: tuple[str | int, ...], value: object) -> None:
    outcome(yaml.safe_dump(replaced(DATA, path, value), allow_unicode=False).encode())


def test_the_sample_itself_is_read() -> None:
    assert isinstance(outcome(SAMPLE.encode()), Settings)


@given(st.one_of(st.binary(max_size=100), st.text(st.sampled_from(SIGNS), max_size=60).map(str.encode)))
def test_any_users_file(content: bytes) -> None:
    for text in (content, b"users:\n  a:\n    password: " + content, b"users: {" + content + b": {password: x}}"):
        with contextlib.suppress(ConfigError):
            parse_users(text, Path("users.yaml"))


@given(st.text(st.sampled_from("${}:-AX fileKEY/.\n"), max_size=30))
def test_any_interpolation(text: str) -> None:
    with contextlib.suppress(Misfit):
        expanded, outside = Interpolation(ENVIRON, Path()).expand(text)
        assert outside or expanded == text.replace("$$", "$")
