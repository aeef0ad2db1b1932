"""Picking cookies: only an exact pair of ours is a token, and nothing of ours goes to an upstream."""

from __future__ import annotations

import string
from random import Random

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from gateway.core.cookie import CookiePolicy
from gateway.wire.cookies import CookiePicker, PickedCookies

OWN = ("gateway_", "__Host-gateway_")
PICKER = CookiePicker("__Host-session", OWN)

NAMES = [
    "__Host-session", "__Host-session", "__Host-session", "__Host-session_1", "__Host-session_1", "__Host-session_2",
    "__host-session", "session", "x__Host-session", "__Host-sessio", "__Host-session2", "__Host-session_",
    "__Host-session_01",
    "__Host-session_x", '"__Host-session"', "gateway_csrf", "__Host-gateway_x", "a", "", "__Host-session_1 ",
    "\t__Host-session",
]  # fmt: skip
VALUES = [
    "v1.abc", "v1.abc", "v1.def", "2.v1.a", "2.v1.a", "3.v1.a", "1.v1.a", "0.x", "9.x", "22.x", "2.", "b", "c", "",
    '"v1.abc"',
    '"a; __Host-session=v1.evil"', " v1.abc", "v1.abc\t", "a=b", "\xe4", "a, __Host-session=v1.evil",
    "__Host-session=v1.evil",
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


def reference(lines: list[bytes]) -> tuple[bytes | None, list[bytes], list[bytes]]:
    """Return token, our other pairs and the pairs of others, written for clearness alone."""
    name = b"__Host-session"
    found: dict[bytes, set[bytes]] = {}
    kept, others = [], []
    for pair in (piece.strip(b" \t") for line in lines for piece in line.split(b";")):
        key, equals, value = (part.strip(b" \t") for part in pair.partition(b"="))
        suffix = key[len(name) :] if key.startswith(name) else None
        if equals and suffix is not None and (suffix == b"" or (suffix[:1] == b"_" and (suffix[1:] or b"0").isdigit())):
            found.setdefault(key, set()).add(value)
        elif pair.startswith((b"gateway_", b"__Host-gateway_")):
            kept.append(pair)
        elif pair:
            others.append(pair)
    values = {key: next(iter(several)) for key, several in found.items() if len(several) == 1}
    first = values.get(name, b"")
    count = first[:1]
    if first[1:2] == b"." and count.isdigit():
        parts = [first[2:], *(values.get(name + b"_%d" % i, b"") for i in range(1, int(count)))]
        first = b"".join(parts) if 2 <= int(count) <= 8 and all(parts) and all(map(bytes.isascii, parts)) else b""
    return first if first and first.isascii() else None, kept, others


def summary(picked: PickedCookies) -> tuple[str | None, bytes, bytes]:
    return picked.token, picked.kept, picked.others


def pairs(value: bytes) -> list[bytes]:
    return [pair.strip(b" \t") for pair in value.split(b";") if pair.strip(b" \t")]


@given(LINES)
@example([b"__Host-session=2.; __Host-session_1=v1.abc"])
@settings(max_examples=400)
@example([b"__Host-session=2.; __Host-session_1=v1.abc"])
def test_the_picker_agrees_with_a_plain_one(lines: list[bytes]) -> None:
    """Token, kept pairs and the upstream's pairs are those of an implementation that is written to be read."""
    token, kept, others = reference(lines)
    event("token" if token else "none")
    picked = PICKER.pick(lines)
    assert (picked.token, picked.kept) == (token.decode("ascii") if token else None, b"; ".join(kept))
    assert pairs(picked.others) == others


@pytest.mark.parametrize(
    ("line", "others"),
    [
        (b"__Host-session=v1.a_-B", b""),
        (b"a=1; __Host-session=v1.a_-B", b"a=1"),
        (b"__Host-session=v1.a_-B; a=1", b"a=1"),
        (b"a=1; b=2; __Host-session=v1.a_-B; c=3; d=4", b"a=1; b=2; c=3; d=4"),
    ],
)
def test_the_usual_line(line: bytes, others: bytes) -> None:
    """Wherever the session cookie stands among others, these reach the upstream without a trace of it."""
    assert summary(PICKER.pick((line,))) == ("v1.a_-B", b"", others)


@given(LINES | st.lists(st.binary(max_size=60), max_size=3))
@settings(max_examples=400)
def test_a_token_was_sent_as_an_exact_pair(lines: list[bytes]) -> None:
    """No quoting, no comma, no neighbour and no other spelling of the name ever makes a token."""
    token = PICKER.pick(lines).token
    if token is None:
        return
    pairs = [piece.partition(b"=") for line in lines for piece in line.split(b";")]
    sent = {(name.strip(b" \t"), value.strip(b" \t")) for name, equals, value in pairs if equals}
    whole = (b"__Host-session", token.encode("ascii")) in sent
    firsts = [value for key, value in sent if key == b"__Host-session"]
    assert len(set(firsts)) == 1
    assert whole or (firsts[0][1:2] == b"." and token.encode("ascii").startswith(firsts[0][2:]))


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
    ("a=b; __Host-session=v1.x; c=d", "v1.x", "", "a=b; c=d"),
    ("; __Host-session=v1.x; c=d", "v1.x", "", "c=d"),
    ("a; __Host-session=v1.x", "v1.x", "", "a"),
    ("__Host-session=v1.x; __Host-session=v1.x", "v1.x", "", ""),
    ("__Host-session=v1.x; __Host-session=v1.y", None, "", ""),
    ("__Host-session=v1.x; __Host-session=v1.y; __Host-session=v1.x", None, "", ""),
    ("session=v1.x", None, "", "session=v1.x"),
    ("__HOST-SESSION=v1.x", None, "", "__HOST-SESSION=v1.x"),
    ('a="x; __Host-session=v1.x"', 'v1.x"', "", 'a="x'),
    ("a=b, __Host-session=v1.x", None, "", "a=b, __Host-session=v1.x"),
    ("__Host-session", None, "", "__Host-session"),
    ("__Host-session=", None, "", ""),
    ("=__Host-session=v1.x", None, "", "=__Host-session=v1.x"),
    ("\x0c__Host-session=v1.x", None, "", "\x0c__Host-session=v1.x"),
    ("\xa0__Host-session=v1.x", None, "", "\xa0__Host-session=v1.x"),
    ("__Host-session=2.v1.; __Host-session_1=y", "v1.y", "", ""),
    ("__Host-session_1=y; a=b; __Host-session=2.v1.", "v1.y", "", "a=b"),
    ("__Host-session=2.; __Host-session_1=v1.y", None, "", ""),
    ("__Host-session=2.v1.", None, "", ""),
    ("__Host-session=2.v1.; __Host-session_1=y; __Host-session_1=z", None, "", ""),
    ("__Host-session=3.v1.; __Host-session_1=y", None, "", ""),
    ("__Host-session=9.v1.x", None, "", ""),
    ("gateway_csrf=1; __Host-gateway_x=2", None, "gateway_csrf=1; __Host-gateway_x=2", ""),
    ("Gateway_csrf=1", None, "", "Gateway_csrf=1"),
    ("a=b; a=c;;  ;d", None, "", "a=b; a=c; d"),
]


@pytest.mark.parametrize(("line", "token", "kept", "others"), TABLE)
def test_what_a_line_holds(line: str, token: str | None, kept: str, others: str) -> None:
    """The names are exact, the values opaque, and of two different ones there is none."""
    picked = PICKER.pick([line.encode("latin-1")])
    assert summary(picked) == (token, kept.encode("latin-1"), others.encode("latin-1"))


@given(st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=9000), st.randoms())
@settings(max_examples=60)
def test_a_split_token_comes_back(text: str, random: Random) -> None:
    """What the policy writes in several cookies the picker puts together, in any order and among others."""
    policy = CookiePolicy(budget=20_000)
    pairs = [value.partition(";")[0] for value in policy.set("v1." + text, max_age=None, now=0)] + ["a=b", "session=x"]
    random.shuffle(pairs)
    picked = CookiePicker(policy.full_name, OWN).pick(["; ".join(pairs).encode("ascii")])
    assert picked.token == "v1." + text
    assert sorted(picked.others.split(b"; ")) == [b"a=b", b"session=x"]


CLAIMED = [
    "__Host-session", "__host-SESSION", "session", "Session", "__Secure-session", "__SECURE-session_1", "session_1",
    "session_0012",
    "gateway_csrf", "__Host-gateway_x", "GATEWAY_", "__secure-Gateway_y",
]  # fmt: skip
FREE = ["sessions", "session_x", "mysession", "session-1", "gateway", "_session", "sess", "", "__Host-", "__Host-other"]


@pytest.mark.parametrize("picker", [PICKER, CookiePicker("session", OWN)])
def test_which_names_are_claimed(picker: CookiePicker) -> None:
    """An app may set no cookie that a browser or we could take for ours, and any other."""
    assert [name for name in CLAIMED if not picker.claims(name.encode("ascii"))] == []
    assert [name for name in FREE if picker.claims(name.encode("ascii"))] == []


@given(st.sampled_from(NAMES), st.booleans())
def test_what_is_picked_is_claimed(name: str, bare: bool) -> None:
    """Every cookie that is taken for ours is one that no upstream may set."""
    picker = CookiePicker("session" if bare else "__Host-session", OWN)
    text = name.replace("__Host-session", "session") if bare else name
    picked = picker.pick([text.encode("latin-1") + b"=v1.x"])
    if not picked.others:
        assert picker.claims(text.strip(" \t").encode("latin-1"))
