"""Small questions about texts: can it be written, how is it shown, which known word was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def is_text(value: str) -> bool:
    """Tell whether a value has no surrogates, which stand for bytes that are not UTF-8 (PEP 383)."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str, limit: int = 60) -> str:
    """Return a text of the file as one bounded line for a message."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "x"?`` for a word that is nearly a known one, else nothing."""
    found = get_close_matches(word.lower()[:100], list(known), 1, 0.6)
    return f'; did you mean "{found[0]}"?' if found else ""
