"""Letters without their case: whatever some server takes for an ASCII letter is that letter to routes and rules."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import pytest

from gateway.core.case_fold import fold_case
from gateway.core.policy import Rule
from gateway.core.route import Route, Router
from gateway.core.upstream import UpstreamAddress
from gateway.wire.grammar import BadSyntax
from gateway.wire.target import parse_target

_NO_SIGNS = ("Cn", "Co", "Cs")
"""Unassigned, private, surrogates: no server does anything to them."""
HOST = "apps.example.com"
CHARACTERS = [sign for sign in map(chr, range(0x80, sys.maxunicode + 1)) if unicodedata.category(sign) not in _NO_SIGNS]
MAPS: Final[tuple[Callable[[str], str], ...]] = (
    str.upper,
    str.lower,
    str.casefold,
    str.title,
    lambda text: unicodedata.normalize("NFKC", text),
    lambda text: unicodedata.normalize("NFKD", text),
    lambda text: "".join(letter.lower()[0] for letter in text),
)
"""What servers do to names before they compare them; the last one is lower case letter by letter, as in Java."""


def spellings(text: str) -> set[str]:
    """Return what becomes of a text by any of `MAPS`, in any order, as often as one likes."""
    found, to_do = {text}, [text]
    while to_do:
        last = to_do.pop()
        new = {change(last) for change in MAPS} - found
        found |= new
        to_do += new
    return found


def words() -> Iterator[tuple[str, str]]:
    """Yield characters outside ASCII with the ASCII words that some server takes them for."""
    for character in CHARACTERS:
        if all(change(character) == character for change in MAPS):
            continue
        for word in spellings(character):
            # A digit is no matter of case, and one in a circle is that digit under NFKC.
            if word.isascii() and word.isalnum():
                yield character, word.lower()


WORDS = sorted(set(words()))


def is_judged(path: str, guarded: str) -> bool:
    """Tell whether a request for ``path`` is refused where a rule guards ``guarded``, as `Exchange` judges it."""
    app = Route("app", (UpstreamAddress("up", 80),), Rule("1"), rules=(Rule("2", path=guarded),))
    hosts = Router([app], HOST).host(HOST)
    assert hosts is not None
    try:
        found = parse_target(quote(path).encode())
    except BadSyntax:
        return True
    return not all(hosts.leads_to(app, app.default, reading, "GET") for reading in (found.path, *found.readings))


def test_the_known_ones_are_among_those_that_are_tried() -> None:
    """What this measures with knows long s, the Kelvin sign, both letters of Turkish, ligatures, sharp s."""
    known = {("\u017f", "s"), ("\u212a", "k"), ("\u0131", "i"), ("\u0130", "i"), ("\ufb05", "st"), ("\u00df", "ss")}
    assert known <= set(WORDS)
    assert len(WORDS) > 1000


def test_every_character_is_every_letter_that_some_server_takes_it_for() -> None:
    """All of Unicode: what becomes ASCII by upper, lower or folded case or NFKC is judged as that, or refused."""
    missed = [(hex(ord(sign)), word) for sign, word in WORDS if not is_judged(f"/a{sign}z", f"/a{word}z")]
    assert not missed


@pytest.mark.parametrize("letter", "abcdefghijklmnopqrstuvwxyz")
def test_every_character_that_a_caseless_pattern_matches_is_its_letter(letter: str) -> None:
    """Django's ``(?i)`` and its like: Python's patterns match more than case folding says."""
    matches = re.compile(letter, re.IGNORECASE).fullmatch
    assert {fold_case(character) for character in CHARACTERS if matches(character)} <= {letter}


@pytest.mark.parametrize("text", ["\u00fc", "\u4f60", "\u0237", "e\u0301", "\u03c3", "wiki"])
def test_other_letters_stay_themselves(text: str) -> None:
    """Accents are no matter of case."""
    assert fold_case(text) == text


@pytest.mark.parametrize("code", [0xAD, 0x34F, 0x200B, 0x3164, 0xFE0F, 0xE0020])
def test_signs_that_are_not_to_be_seen_are_left_out(code: int) -> None:
    """File systems that disregard case leave them out: ext4 and f2fs all that Unicode calls ignorable."""
    assert is_judged(f"/adm{chr(code)}in", "/admin")
