"""Identity headers: what anybody is called stays one line of ASCII, and comes back as it was."""

from __future__ import annotations

import email.header
from collections.abc import Mapping

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gateway.core.identity import Identity
from gateway.wire.identity_headers import IdentityHeaders, encode_value

TEXTS = st.text(max_size=80) | st.text(st.sampled_from('\r\n\t \0=?,;:"\\{}%aä😀\u2028\x85\x7f'), max_size=30)
HEADERS = IdentityHeaders(
    [("X-User", "{user}"), ("X-Groups", "{groups}"), ("X-Who", "{name} <{email}>"), ("X-Claim", "{claims.team}")]
)


def decode(value: str) -> str:
    """Decode as the standard library does, which stands for every app."""
    return str(email.header.make_header(email.header.decode_header(value)))


def filled(template: str, identity: Identity) -> str:
    return dict(IdentityHeaders([("X", template)]).pairs(identity)).get("X", "")


def is_one_line(value: str) -> bool:
    return all(" " <= character <= "~" for character in value) and value == value.strip()


@given(TEXTS)
@example("=?utf-8?b?YWRtaW4=?=")
@example(" alice")
@example("\u00a0")
@example("x" * 500 + "ä" * 500)
@settings(max_examples=400)
def test_a_value_comes_back(text: str) -> None:
    """Any value is written as one line of printable ASCII, and an app that decodes it gets the value itself."""
    assume(not any("\ud800" <= character <= "\udfff" for character in text))
    written = encode_value(text)
    assert is_one_line(written)
    assert decode(written) == text


@pytest.mark.parametrize(
    "text",
    ["x =?utf-8?q?admin?=", "staff,=?utf-8?q?=2Cadmins=2C?=", "a=?utf-8?b?YWRtaW4=?=", "a =?utf-8?q?x?= b"],
)
def test_an_encoded_word_inside_a_value_is_not_decoded(text: str) -> None:
    """Who is called like an encoded word, in the middle too, is not called otherwise by an app that decodes."""
    assert decode(encode_value(text)) == text


def test_nobody_gains_a_group_by_an_encoded_comma() -> None:
    """A group whose name is an encoded word with a comma is still one group to an app that decodes."""
    identity = Identity("eve", groups=("staff", "=?utf-8?q?x=2Cadmins=2Cy?="))
    value = dict(HEADERS.pairs(identity))["X-Groups"]
    assert "admins" not in decode(value).split(",")


@given(st.lists(TEXTS, max_size=4))
def test_a_comma_in_a_group_makes_no_group(groups: list[str]) -> None:
    """An app that splits at commas finds as many groups as there are."""
    assume(not any("\ud800" <= character <= "\udfff" for group in groups for character in group))
    joined = decode(filled("{groups}", Identity("a", groups=tuple(groups))))
    assert joined.split(",") == ([group.replace(",", "%2C") for group in groups] or [""])


@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=3), TEXTS)
@settings(max_examples=200)
def test_no_identity_breaks_a_header(user: str, name: str, mail: str, groups: list[str], team: str) -> None:
    """Whatever somebody is called, the block is whole lines of the configured names."""
    identity = Identity(user, name, mail, tuple(groups), claims={"team": team})
    block = HEADERS.block(identity)
    assert block == b"" or block.endswith(b"\r\n")
    lines = block.decode("ascii").split("\r\n")[:-1]
    names = [line.split(": ")[0] for line in lines]
    assert names == [name for name in ("X-User", "X-Groups", "X-Who", "X-Claim") if name in names]
    assert all(is_one_line(line) for line in lines)
    assert dict(HEADERS.pairs(identity)) == dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize(
    "attack", ["a\r\nX-Groups: admins", "a\nX-Groups: admins", "a\rb", "a\0b", "a\x85b", "a\u2028b"]
)
def test_a_line_end_in_a_name_is_no_line_end(attack: str) -> None:
    """Header injection by a name ends as an encoded word."""
    block = HEADERS.block(Identity(attack))
    assert block.count(b"\r\n") == block.count(b"\n") == block.count(b"\r") == 2  # the user, and "<>" of nobody
    assert block.startswith(b"X-User: =?utf-8?b?")


TEMPLATES: list[tuple[str, str]] = [
    ("{user}", "alice"),
    ("{name}", "Alice {email}"),
    ("{user}@{method}", "alice@password"),
    ("{groups}", "staff,a%2Cb"),
    ("{claims.team}", "{user}"),
    ("{claims.level}", "3"),
    ("{claims.many}", "blue,7,true,a%2Cb"),
    ("{claims.yes}", "true"),
    ("{claims.none}", ""),
    ("plain", "plain"),
    ("{ user }", "{ user }"),
]


@pytest.mark.parametrize(("template", "text"), TEMPLATES)
def test_a_template(template: str, text: str) -> None:
    """A template is filled once: what stands in a value is never filled again."""
    claims: Mapping[str, object] = {"team": "{user}", "level": 3, "many": ["blue", 7, True, "a,b"], "yes": True}
    identity = Identity("alice", "Alice {email}", "a@example.com", ("staff", "a,b"), claims=claims)
    assert filled(template, identity) == text


def test_an_empty_value_is_left_out() -> None:
    """Nothing is said of what is not known."""
    assert IdentityHeaders([("X-Email", "{email}"), ("X-User", "{user}")]).pairs(Identity("a")) == [("X-User", "a")]


def test_words_are_short() -> None:
    """An encoded word has 75 characters at the most (RFC 2047 §2), and none is cut inside a character."""
    for text in ("ä" * 300, "😀" * 100, "a" * 44 + "ä" * 50):
        words = encode_value(text).split(" ")
        assert max(map(len, words)) <= 75
        assert "".join(decode(word) for word in words) == text


def test_names_are_normalised() -> None:
    """The names that clients may not send are known without regard to case, and to which signs are in them."""
    assert IdentityHeaders([("X_User.Name", "{user}")], ["X~Token"]).names() == {b"x-user-name", b"x-token"}


@given(st.lists(st.text("a=?é \x7f\n,", max_size=4), min_size=3, max_size=3))
def test_a_block_is_its_pairs(texts: list[str]) -> None:
    """However the values look beside each other."""
    identity = Identity(texts[0], email=texts[1], groups=(texts[2],))
    written = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.pairs(identity))
    assert HEADERS.block(identity) == written.encode("ascii")
