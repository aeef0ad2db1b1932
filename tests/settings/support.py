"""Reading configurations from texts in which a mark shows where the problem is expected."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.errors import ConfigError, Problem
from gateway.settings import Settings, parse_settings, parse_users

MARK = "▸"
"""Stands in front of the key or value that a problem is about; it is taken out before reading."""
KEY = secrets.token_urlsafe(32)
OTHER_KEY = secrets.token_urlsafe(32)
ENVIRON = {"KEY": KEY, "OTHER_KEY": OTHER_KEY, "EMPTY": "", "SECRET": "hunter2-hunter2"}
FILE = Path("gateway.yaml")


@dataclass(frozen=True)
class Case:
    """A text with one mark per problem, and what the problems say, in the order of the text."""

    text: str
    expected: tuple[tuple[str, str], ...]
    """Key, and a part of the text."""


def case(text: str, *expected: tuple[str, str]) -> Case:
    return Case(text, expected)


def with_session(text: str) -> str:
    """Return a configuration that has a session key, added at its end where there is none."""
    return text if "session:" in text or text.startswith("-") else f"{text}\nsession: {{keys: [{KEY}]}}\n"


def unmarked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text without its marks, and the lines and columns they stood at."""
    places = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        pieces = line.split(MARK)
        places += [(number, len("".join(pieces[: index + 1])) + 1) for index in range(len(pieces) - 1)]
        lines[number - 1] = "".join(pieces)
    return "\n".join(lines), places


def settings_of(text: str, environ: Mapping[str, str] = ENVIRON, path: Path = FILE) -> Settings:
    """Return the settings in a text, to which a session key is added."""
    return parse_settings(with_session(text).encode(), path, environ)


def problems_of(text: str, environ: Mapping[str, str] = ENVIRON) -> list[Problem]:
    """Return what is wrong with a configuration; fails where nothing is."""
    with pytest.raises(ConfigError) as caught:
        settings_of(text, environ)
    return caught.value.problems


def users_problems_of(text: str) -> list[Problem]:
    """Return what is wrong with a users file; fails where nothing is."""
    with pytest.raises(ConfigError) as caught:
        parse_users(text.encode(), Path("users.yaml"))
    return caught.value.problems


def assert_case(name: str, found: list[Problem], places: list[tuple[int, int]], expected: Case) -> None:
    """Require exactly the expected problems, each at its mark."""
    said = "\n".join(map(str, found))
    assert [problem.where for problem in found] == [f"{name}:{line}:{column}" for line, column in places], said
    assert [problem.key for problem in found] == [key for key, _ in expected.expected], said
    for problem, (_, text) in zip(found, expected.expected, strict=True):
        assert text in problem.text, said
