"""Picking cookies: only an exact pair of ours is a token, and nothing of ours goes to an upstream."""

from __future__ import annotations

import string
from itertools import product
from random import Random

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from gateway.core.cookie import CookiePolicy
from gateway.wire.cookies import MAX_CANDIDATES, CookiePicker, PickedCookies

PICKER = CookiePicker(CookiePolicy())
NAME = "__Host-gateway_session"
HELPER = "__Host-gateway_browser"
TRANSFER = "__Host-gateway_handover_66f00d00_0123abcd"

NAMES = [
    NAME, NAME, NAME, f"{NAME}_1", f"{NAME}_1", f"{NAME}_2", f"{NAME}_3", "__host-gateway_session", "gateway_session",
    f"x{NAME}", NAME[:-1], f"{NAME}2", f"{NAME}_", f"{NAME}_01", f"{NAME}_x", f'"{NAME}"', HELPER, "gateway_browser",
    f"{HELPER}x", TRANSFER, f"{TRANSFER}0", "__Host-gateway_x", "session", "a", "", f"{NAME}_1 ", f"\t{NAME}",
]  # fmt: skip
VALUES = [
    "v1.abc", "v1.abc", "v1.def", "2.v1.a", "2.v1.a", "3.v1.a", "1.v1.a", "0.x", "9.x", "22.x", "2.", "b", "c", "",
    '"v1.abc"', f'"a; {NAME}=v1.evil"', " v1.abc", "v1.abc\t", "a=b", "\xe4", f"a, {NAME}=v1.evil", f"{NAME}=v1.evil",
]  # fmt: skip
PAIRS = st.tuples(st.sampled_from(NAMES), st.sampled_from(["=", "=", "=", " = ", ""]), st.sampled_from(VALUES)).map(
    "".join
)
LINES = st.lists(
    st.lists(st.tuples(PAIRS, st.sampled_from(["; ", "; ", ";", ";;", " ;\t", ", "])), max_size=5).map(
        lambda parts: "".join(pair + separator for pair, separator in parts).encode("latin-1")
    ),
    max_size=3,
)


def reference(lines: list[bytes]) -> tuple[set[bytes], list[bytes], list[bytes]]:
    """Return all tokens, our other pairs and the pairs of others, written for clearness alone."""
    ours = [NAME.encode(), f"{NAME}_1".encode(), f"{NAME}_2".encode()]
    found: dict[bytes, set[bytes]] = {name: set() for name in ours}
    kept, others = [], []
    for pair in (piece.strip(b" \t") for line in lines for piece in line.split(b";")):
        key, equals, value = (part.strip(b" \t") for part in pair.partition(b"="))
        if equals and key in ours:
            found[key].add(value)
        elif key in (HELPER.encode(), TRANSFER.encode()):
            kept.append(pair)
        elif pair:
            others.append(pair)
    tokens = set()
    for first in found[ours[0]]:
        count = int(first[:1]) if first[1:2] == b"." and first[:1].isdigit() else None
        choices = [{first}] if count is None else [{first[2:]}, *(found[name] for name in ours[1:count])]
        if count is None or 2 <= count <= len(ours):
            tokens |= {b"".join(parts) for parts in product(*choices) if all(parts)}
    return {token for token in tokens if token.isascii()}, kept, others


def summary(picked: PickedCookies) -> tuple[str | None, bytes, bytes]:
    return picked.token, picked.kept, picked.others


def pairs(value: bytes) -> list[bytes]:
    return [pair.strip(b" \t") for pair in value.split(b";") if pair.strip(b" \t")]


@given(LINES)
@example([f"{NAME}=2.; {NAME}_1=v1.abc".encode()])
@settings(max_examples=400)
def test_the_picker_agrees_with_a_plain_one(lines: list[bytes]) -> None:
    """Tokens, kept pairs and the upstream's pairs are those of an implementation that is written to be read."""
    tokens, kept, others = reference(lines)
    event(f"{len(tokens)} tokens")
    picked = PICKER.pick(lines)
    found = {picked.token} if picked.token else set(picked.candidates)
    assert found == {token.decode("ascii") for token in tokens} if len(tokens) <= MAX_CANDIDATES else len(found) == 8
    assert bool(picked.candidates) == (len(tokens) > 1)
    assert (picked.kept, pairs(picked.others)) == (b"; ".join(kept), others)


@pytest.mark.parametrize(
    ("line", "others"),
    [
        (b"__Host-gateway_session=v1.a_-B", b""),
        (b"a=1; __Host-gateway_session=v1.a_-B", b"a=1"),
        (b"__Host-gateway_session=v1.a_-B; a=1", b"a=1"),
        (b"a=1; b=2; __Host-gateway_session=v1.a_-B; c=3; d=4", b"a=1; b=2; c=3; d=4"),
    ],
)
def test_the_usual_line(line: bytes, others: bytes) -> None:
    """Wherever the session cookie stands among others, these reach the upstream without a trace of it."""
    assert summary(PICKER.pick((line,))) == ("v1.a_-B", b"", others)


@given(LINES | st.lists(st.binary(max_size=60), max_size=3))
@settings(max_examples=400)
def test_a_token_was_sent_as_an_exact_pair(lines: list[bytes]) -> None:
    """No quoting, no comma, no neighbour and no other spelling of the name ever makes a token."""
    picked = PICKER.pick(lines)
    raw = [piece.partition(b"=") for line in lines for piece in line.split(b";")]
    sent = {(name.strip(b" \t"), value.strip(b" \t")) for name, equals, value in raw if equals}
    firsts = [value for key, value in sent if key == NAME.encode()]
    for token in filter(None, (picked.token, *picked.candidates)):
        value = token.encode("ascii")
        assert any(first == value or (first[1:2] == b"." and value.startswith(first[2:])) for first in firsts)


@given(LINES | st.lists(st.binary(max_size=60), max_size=3))
@settings(max_examples=300)
def test_nothing_of_ours_goes_to_the_upstream(lines: list[bytes]) -> None:
    """What the upstream sees gives no token, holds none of our cookies, and invents nothing."""
    picked = PICKER.pick(lines)
    again = PICKER.pick([picked.others])
    assert (again.token, again.kept, pairs(again.others)) == (None, b"", pairs(picked.others))
    assert all(pair in b"; ".join(lines) for pair in picked.others.split(b"; "))
    assert not picked.others.startswith(b";")


TABLE = [
    ("a=b; {N}=v1.x; c=d", "v1.x", "", "a=b; c=d"),
    ("; {N}=v1.x; c=d", "v1.x", "", "c=d"),
    ("a; {N}=v1.x", "v1.x", "", "a"),
    ("{N}=v1.x; {N}=v1.x", "v1.x", "", ""),
    ("{N}=; {N}=v1.x", "v1.x", "", ""),
    ("gateway_session=v1.x", None, "", "gateway_session=v1.x"),
    ("session=v1.x", None, "", "session=v1.x"),
    ("__HOST-gateway_session=v1.x", None, "", "__HOST-gateway_session=v1.x"),
    ('a="x; {N}=v1.x"', 'v1.x"', "", 'a="x'),
    ("a=b, {N}=v1.x", None, "", "a=b, {N}=v1.x"),
    ("{N}", None, "", "{N}"),
    ("{N}=", None, "", ""),
    ("={N}=v1.x", None, "", "={N}=v1.x"),
    ("\x0c{N}=v1.x", None, "", "\x0c{N}=v1.x"),
    ("\xa0{N}=v1.x", None, "", "\xa0{N}=v1.x"),
    ("{N}=2.v1.; {N}_1=y", "v1.y", "", ""),
    ("{N}_1=y; a=b; {N}=2.v1.", "v1.y", "", "a=b"),
    ("{N}=2.; {N}_1=v1.y", None, "", ""),
    ("{N}=2.v1.", None, "", ""),
    ("{N}=3.v1.; {N}_1=y", None, "", ""),
    ("{N}=9.v1.x", None, "", ""),
    ("{N}_3=y", None, "", "{N}_3=y"),
    ("{H}=1; gateway_csrf=2", None, "{H}=1", "gateway_csrf=2"),
    ("__Host-Gateway_browser=1", None, "", "__Host-Gateway_browser=1"),
    ("a=b; a=c;;  ;d", None, "", "a=b; a=c; d"),
]


@pytest.mark.parametrize(("line", "token", "kept", "others"), TABLE)
def test_what_a_line_holds(line: str, token: str | None, kept: str, others: str) -> None:
    """The names are exact, the values opaque."""

    def named(text: str) -> bytes:
        return text.replace("{N}", NAME).replace("{H}", HELPER).encode("latin-1")

    picked = PICKER.pick([named(line)])
    assert summary(picked) == (token, named(kept), named(others))
    assert not picked.candidates


def test_several_values_are_candidates() -> None:
    """Whoever has the keys decides between them: one of ours counts, two of ours are none."""
    picked = PICKER.pick([f"{NAME}=v1.x; a=b; {NAME}=v1.y; {NAME}=v1.x".encode()])
    assert (summary(picked), picked.candidates) == ((None, b"", b"a=b"), ("v1.x", "v1.y"))
    picked.settle(["v1.y"])
    assert (picked.token, picked.ambiguous) == ("v1.y", False)
    picked.settle([])
    assert (picked.token, picked.ambiguous) == (None, False)
    picked.settle(["v1.x", "v1.y"])
    assert (picked.token, picked.ambiguous) == (None, True)


def test_parts_of_two_gateways_are_put_together_in_every_way() -> None:
    """Which first belongs to which second, only the keys tell; the number of ways is bounded."""
    line = "; ".join(
        f"{NAME}{suffix}={value}" for suffix, value in (("", "2.a"), ("", "2.b"), ("_1", "c"), ("_1", "d"))
    )
    assert PICKER.pick([line.encode()]).candidates == ("ac", "ad", "bc", "bd")
    many = "; ".join([*(f"{NAME}=3.{i}" for i in range(20)), *(f"{NAME}_{1 + i % 2}=x{i}" for i in range(40))])
    assert len(PICKER.pick([many.encode()]).candidates) == MAX_CANDIDATES


def test_no_more_is_kept_than_is_looked_at() -> None:
    """The values of a request of any size cost no more than those of a small one: the ninth counts for nothing."""
    first = "; ".join(f"{NAME}=v1.{number}" for number in range(MAX_CANDIDATES))
    more = "; ".join(f"{NAME}=v1.x{number}" for number in range(1000))
    assert PICKER.pick([f"{first}; {more}".encode()]).candidates == PICKER.pick([first.encode()]).candidates


@given(st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=9000), st.randoms())
@settings(max_examples=60)
def test_a_split_token_comes_back(text: str, random: Random) -> None:
    """What the policy writes in several cookies the picker puts together, in any order and among others."""
    policy = CookiePolicy(budget=20_000)
    pairs = [value.partition(";")[0] for value in policy.set("v1." + text, max_age=None, now=0)] + ["a=b", "session=x"]
    random.shuffle(pairs)
    picked = CookiePicker(policy).pick(["; ".join(pairs).encode("ascii")])
    assert picked.token == "v1." + text
    assert sorted(picked.others.split(b"; ")) == [b"a=b", b"session=x"]


CLAIMED = [NAME, f"{NAME}_1", f"{NAME}_2", HELPER, TRANSFER, "__Host-gateway_logins", "__Host-gateway_handed_over"]
FREE = [
    "session", "gateway_session", "gateway_session_1", "__Secure-gateway_session", "__host-gateway_session",
    f"{NAME}_0", f"{NAME}_3", f"{NAME}_01", f"{NAME}s", "gateway_browser", "__Host-gateway_csrf",
    "__Host-gateway_handover_",
    f"{TRANSFER}0", TRANSFER.upper(), "gateway", "", "__Host-", "__Host-other",
]  # fmt: skip


def test_which_names_are_claimed() -> None:
    """An app may set any cookie but those that this configuration sets, each by its exact name."""
    assert [name for name in CLAIMED if not PICKER.claims(name.encode("ascii"))] == []
    assert [name for name in FREE if PICKER.claims(name.encode("ascii"))] == []


def test_on_http_names_have_no_prefix() -> None:
    """There the bare names are ours, and those with a prefix the apps'."""
    picker = CookiePicker(CookiePolicy(secure=False))
    assert all(picker.claims(name.removeprefix("__Host-").encode()) for name in CLAIMED)
    assert not any(picker.claims(name.encode()) for name in CLAIMED)


@given(st.sampled_from(NAMES), st.booleans())
def test_what_is_picked_is_claimed(name: str, secure: bool) -> None:
    """Every cookie that is taken for ours is one that no upstream may set."""
    picker = CookiePicker(CookiePolicy(secure=secure))
    text = name if secure else name.replace("__Host-", "")
    picked = picker.pick([text.encode("latin-1") + b"=v1.x"])
    if not picked.others:
        assert picker.claims(text.strip(" \t").encode("latin-1"))
