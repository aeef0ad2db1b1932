"""The documentation and the examples: complete, and true to what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.settings import load_settings, load_users, new_key
from gateway.settings.document import read_document
from gateway.settings.model import Config
from gateway.settings.users import UserPart

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
DOC = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
ENVIRON = {
    "GATEWAY_KEY": new_key(),
    "GATEWAY_OLD_KEY": new_key(),
    "OIDC_CLIENT_SECRET": "secret",
    "GITHUB_CLIENT_SECRET": "secret",
}
EXAMPLES = sorted(path for path in CONFIG.glob("*.yaml") if path.name != "users.yaml")
REQUIRED = {"session", "session.keys"}
"""What is demanded by a check between keys, for its message."""
SHOWN_APART = {"identity.headers"}


def model_in(annotation: Any) -> tuple[type[BaseModel], bool] | None:
    """Return the model in an annotation, and whether it stands in a list."""
    if get_origin(annotation) is None:
        return (annotation, False) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    for argument in get_args(annotation):
        if found := model_in(argument):
            return found[0], found[1] or get_origin(annotation) is list
    return None


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the path and model of every mapping, as ``routes[].rules[]``."""
    yield prefix, model
    for name, field in model.model_fields.items():
        if found := model_in(field.annotation):
            inner, listed = found
            yield from sections(inner, f"{prefix}.{name}".lstrip(".") + ("[]" if listed else ""))


def default_text(path: str, field: FieldInfo) -> str:
    """Return a default as the documentation writes it."""
    if field.is_required() or path in REQUIRED:
        return "required"
    if path in SHOWN_APART:
        return "see below"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, BaseModel) or default == {}:
        return "`{}`"
    words = {"None": "null", "True": "true", "False": "false", "": '""'}
    return f"`{words.get(str(default), default)}`"


def documented(heading: str) -> dict[str, str]:
    """Return keys and defaults of the table under a heading."""
    match = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert match, f"no section {heading}"
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", match[1], re.MULTILINE))


SECTIONS = {f"`{path}`" if path else "Top level": (path, model) for path, model in sections(Config)}
SECTIONS["`users[]`"] = ("users[]", UserPart)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_documented_with_its_default(heading: str) -> None:
    path, model = SECTIONS[heading]
    expected = {name: default_text(f"{path}.{name}".lstrip("."), field) for name, field in model.model_fields.items()}
    assert documented(heading) == expected


def test_the_documentation_has_no_section_of_a_mapping_that_is_none() -> None:
    headings = re.findall(r"^## (`.*`)$", DOC, re.MULTILINE)
    assert set(headings) - set(SECTIONS) == set()
    assert len(headings) == len(set(headings))


def test_the_yaml_in_the_documentation_is_yaml() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        assert read_document(block.encode(), "docs").found == []


def test_there_are_examples() -> None:
    assert {"gateway.yaml", "all-keys.yaml", "several-hosts.yaml"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads_without_warnings_and_with_its_users(path: Path) -> None:
    settings = load_settings(path, ENVIRON)
    assert settings.warnings == ()
    assert settings.users_file
    assert set(load_users(settings.users_file)) == {"alice", "bob", "admin"}


def keys_of(data: object, prefix: str = "") -> Iterator[str]:
    if isinstance(data, list):
        for item in data:
            yield from keys_of(item, f"{prefix}[]")
    elif isinstance(data, dict):
        for key, value in data.items():
            path = f"{prefix}.{key}".lstrip(".")
            yield path
            yield from keys_of(value, path)


def test_one_example_shows_every_key() -> None:
    shown = set(keys_of(read_document((CONFIG / "all-keys.yaml").read_bytes(), "all-keys.yaml").data))
    every = {f"{path}.{name}".lstrip(".") for path, model in sections(Config) for name in model.model_fields}
    assert every - shown == {"tls.certificate", "tls.key"}


def test_the_example_of_every_key_has_the_defaults_of_what_it_says_nothing_about() -> None:
    """The limits and the session, for which it promises defaults, are those of a file without them."""
    every = load_settings(CONFIG / "all-keys.yaml", ENVIRON)
    little = load_settings(CONFIG / "gateway.yaml", ENVIRON)
    for name in (
        "limits",
        "lifetimes",
        "session_cookie",
        "memory",
        "identity_headers",
        "log",
        "listen",
        "admin_listen",
    ):
        assert getattr(every, name) == getattr(little, name), name


@pytest.mark.parametrize("line", re.findall(r"^gateway\.yaml:.*$", DOC, re.MULTILINE))
def test_the_messages_in_the_documentation_are_real(line: str) -> None:
    from tests.settings.support import KEY, problems_of

    said = {
        "upstrem": "routes: [{name: a, upstream: http://a}, {name: b, upstrem: http://b}]",
        "5 minutes": f"session:\n  keys: [{KEY}]\n  idle: 5 minutes",
    }
    text = next(text for word, text in said.items() if word in line)
    assert line.partition(": ")[2] in [f"{problem.key}: {problem.text}" for problem in problems_of(text)]
