"""The JSON Schema: valid itself, and of one mind with what is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.settings import json_schema
from gateway.settings.document import read_document

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
EXAMPLES = sorted(path for path in CONFIG.glob("*.yaml") if path.name != "users.yaml")
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
KEYS = {"keys": ["${KEY}"]}


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    document = read_document(path.read_bytes(), path.name)
    assert [error.message for error in VALIDATOR.iter_errors(document.data)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"session": {}},
        {"session": {"keys": []}},
        {"session": {"keys": ["abc"]}},
        {"session": KEYS, "lisen": "127.0.0.1:80"},
        {"session": KEYS, "listen": 8080},
        {"session": {**KEYS, "idle": "5 minutes"}},
        {"session": {**KEYS, "idle": 5}},
        {"session": {**KEYS, "store": "memcached://a"}},
        {"session": KEYS, "workers": 0},
        {"session": KEYS, "workers": 257},
        {"session": KEYS, "workers": "many"},
        {"session": KEYS, "login": {"oidc": [1]}},
        {"session": KEYS, "routes": [{"name": "a"}]},
        {"session": KEYS, "routes": [{"name": "A", "upstream": "http://a"}]},
        {"session": KEYS, "routes": [{"name": "a", "upstream": "http://a/b"}]},
        {"session": KEYS, "routes": [{"name": "a", "upstream": {"ca": "b"}}]},
        {"session": KEYS, "routes": [{"name": "a", "upstream": []}]},
        {"session": KEYS, "routes": [{"name": "a", "upstream": "http://a", "public": "yes"}]},
        {"session": KEYS, "routes": [{"name": "a", "upstream": "http://a", "allow": {"methods": ["get"]}}]},
    ],
)
def test_what_is_wrong_is_invalid(wrong: dict[str, Any]) -> None:
    assert list(VALIDATOR.iter_errors(wrong))


@pytest.mark.parametrize(
    "right",
    [
        {"session": KEYS},
        {"session": {**KEYS, "idle": "${IDLE:-5m}", "memory": "${MEMORY}", "cookie": {"secure": "${SECURE}"}}},
        {
            "session": KEYS,
            "routes": [{"name": "${NAME}", "upstream": ["http://a", {"url": "unix:/b"}], "public": "${P}"}],
        },
        {"session": KEYS, "limits": {"body": 5, "head": "8KiB", "head_time": "500ms"}},
    ],
)
def test_what_is_right_is_valid_wherever_it_comes_from(right: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(right)] == []


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, definition in {"": schema, **schema["$defs"]}.items():
        for key, value in definition.get("properties", {}).items():
            yield f"{name}.{key}", value


def test_every_key_says_what_it_is_for() -> None:
    silent = [name for name, value in properties(SCHEMA) if "description" not in value and "$ref" not in str(value)]
    assert silent == []
    assert not [name for name, value in SCHEMA["$defs"].items() if "description" not in value]


def test_every_default_is_valid_itself() -> None:
    for name, value in properties(SCHEMA):
        if "default" in value:
            own = Draft202012Validator({**value, "$defs": SCHEMA["$defs"]})
            assert [error.message for error in own.iter_errors(value["default"])] == [], name


def test_no_name_of_the_code_shows() -> None:
    text = yaml.safe_dump(SCHEMA)
    assert "Part" not in text
    assert "title" not in {key for _, value in properties(SCHEMA) for key in value}
