"""The codes of refusals, cuts and drops: a closed set, explained in the docs, given by everything that refuses."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gateway.core import reasons
from gateway.proxy import telling
from gateway.wire.replies import DETAILS

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs/refusals.md").read_text(encoding="utf-8")
TABLES = {"Refusals": reasons.REFUSALS, "Cuts": reasons.CUTS, "Drops": reasons.DROPS}


@pytest.mark.parametrize("heading", TABLES)
def test_the_docs_list_every_code_with_its_meaning(heading: str) -> None:
    """No more and no less than the tables, and in the same words."""
    (section,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `([a-z_]+)` \|(?: [0-9, ]+ \|)? (.+) \|$", section, re.MULTILINE)
    assert dict(rows) == dict(TABLES[heading])
    assert len(rows) == len(TABLES[heading])


@pytest.mark.parametrize("code", [*reasons.REFUSALS, *reasons.CUTS, *reasons.DROPS])
def test_codes_are_short_and_fixed(code: str) -> None:
    assert re.fullmatch(r"[a-z_]{3,24}", code)


def test_every_constant_is_in_a_table_and_every_status_has_a_code() -> None:
    constants = {
        value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str) and name != "HEADER"
    }
    assert constants == {*reasons.REFUSALS, *reasons.CUTS, *reasons.DROPS}
    assert set(reasons.OF_STATUS) == set(DETAILS)
    assert {reasons.of_status(status) for status in range(400, 600)} <= set(reasons.REFUSALS)
    assert set(reasons.CUT_BY_REFUSAL) <= set(reasons.REFUSALS)
    assert set(reasons.CUT_BY_REFUSAL.values()) <= set(reasons.CUTS)


def test_warnings_name_keys_that_exist() -> None:
    """What a warning tells operators to change is a key of the configuration."""
    every = (ROOT / "config/all-keys.yaml").read_text(encoding="utf-8")
    assert set(telling.REFUSED) <= set(reasons.REFUSALS)
    assert set(telling.CUT) <= set(reasons.CUTS)
    for text in (*telling.REFUSED.values(), *telling.CUT.values()):
        keys = re.findall(r"(?:limits|routes\[\])\.([a-z_]+)", text)
        assert keys
        assert all(re.search(rf"^ +{key}:", every, re.MULTILINE) for key in keys), text


def calls() -> list[tuple[str, ast.Call]]:
    return [
        (f"{file.name}:{node.lineno}", node)
        for file in (ROOT / "gateway/proxy/exchange.py", ROOT / "gateway/proxy/answering.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def test_every_answer_of_ours_gives_a_reason() -> None:
    """`_answer` is called without one only for what is no refusal: the 204 of OPTIONS."""
    without = [
        where
        for where, call in calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "_answer"
        and not any(word.arg == "reason" for word in call.keywords)
    ]
    assert [where.partition(":")[0] for where in without] == ["exchange.py"]
