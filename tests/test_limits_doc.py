"""docs/http.md says of every limit what it is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from gateway.core.limits import Limits

TABLE = (Path(__file__).resolve().parents[1] / "docs" / "http.md").read_text(encoding="utf-8")


def test_every_limit_is_documented_with_its_default() -> None:
    """The table has one row for each limit, and no other, and the numbers are the code's."""
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| ([0-9.]+) ", TABLE, re.MULTILINE))
    assert rows.keys() == {limit.name for limit in fields(Limits)}
    for limit in fields(Limits):
        written = float(rows[limit.name])
        assert any(limit.default == written * unit for unit in (1, 1024, 1024**3)), limit.name
