"""Paths that were escaped more than once: what they are at every depth is a reading like any other."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.wire.test_target import readings, target

AGAIN = [
    ("/x%252Fadmin", "/x/admin"),
    ("/x%25252fadmin", "/x/admin"),
    ("/x%255Cadmin", "/x/admin"),
    ("/x%ef%b9%aa2fadmin", "/x/admin"),
    ("/x%25ef%25b9%25aa2fadmin", "/x/admin"),
    ("/%25u0061dmin", "/admin"),
    ("/%2525u0061dmin", "/admin"),
    ("/%25ud835%25udc1admin", "/admin"),
    ("/admin%253Fx", "/admin"),
    ("/admin%25253bx=y", "/admin"),
    ("/%25ef%25bd%2581dmin", "/admin"),
    ("/%25" + "25" * 8 + "61dmin", "/admin"),
]


@pytest.mark.parametrize(("path", "place"), AGAIN)
def test_what_is_escaped_again_is_read_at_every_depth(path: str, place: str) -> None:
    """A server that decodes as often as that finds another place there, which is a reading like any other."""
    found = target(path)
    assert found is not None
    assert place in found.readings
    assert not found.encoded_slash


@given(
    st.lists(st.sampled_from(["a", "b.c", "%2F", "%5c", "%3b", "%61", "%C3%A4", "%25", "/"]), max_size=5),
    st.integers(1, 4),
)
@settings(max_examples=200)
def test_all_depths_are_readings(bits: list[str], depth: int) -> None:
    """However often a path was escaped, what it is after decoding it once, twice and so on is among its readings."""
    path = "/" + "".join(bits)
    for _ in range(depth):
        path = path.replace("%", "%25")
    found = target(path)
    assume(found is not None)
    assert found is not None
    for _ in range(depth + 1):
        path = unquote(path)
        assert path in readings(found)
