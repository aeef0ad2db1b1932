"""The users file."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from gateway.core.identity import Identity
from gateway.core.local_user import LocalUser
from gateway.errors import ConfigError
from gateway.settings import load_users, parse_users
from tests.settings.support import Case, assert_case, case, unmarked, users_problems_of


def b64(raw: bytes) -> str:
    return b64encode(raw).decode().rstrip("=")


def phc(memory: int = 65536, iterations: int = 3, lanes: int = 4, salt: int = 16, digest: int = 32) -> str:
    return f"$argon2id$v=19$m={memory},t={iterations},p={lanes}${b64(bytes(salt))}${b64(bytes(digest))}"


HASH = phc()
Q = f'"{HASH}"'
"""In quotes, for there are commas in it."""
TEXT = f"""\
users:
  alice:
    password: "{HASH}"
    name: Alice Liddell
    email: Alice@Example.com
    groups: [staff, wiki]
  "Zoë Bär": {{password: {Q}, disabled: true}}
"""


def test_users_are_read_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert load_users(path) == {
        "alice": LocalUser(
            "alice", HASH, "Alice Liddell", "alice@example.com", ("staff", "wiki"), False, f"{path}:2:3"
        ),
        "Zoë Bär": LocalUser("Zoë Bär", HASH, disabled=True, where=f"{path}:7:3"),
    }


def test_a_user_is_an_identity_and_does_not_show_its_hash() -> None:
    user = parse_users(TEXT.encode(), Path("users.yaml"))["alice"]
    assert user.identity() == Identity("alice", "Alice Liddell", "alice@example.com", ("staff", "wiki"), "password")
    assert HASH not in repr(user)


def test_a_file_may_have_no_users_yet() -> None:
    assert parse_users(b"users: {}", Path("users.yaml")) == {}


@pytest.mark.parametrize("text", ["$$x ${NAME}", "${"])
def test_nothing_is_put_in_from_the_environment(text: str) -> None:
    users = parse_users(f"users: {{a: {{password: {Q}, name: '{text}'}}}}".encode(), Path("users.yaml"))
    assert users["a"].name == text


@pytest.mark.parametrize("cost", [(8, 1, 1), (1024 * 1024, 20, 16), (47104, 1, 1)])
def test_costs_within_bounds_are_taken(cost: tuple[int, int, int]) -> None:
    parse_users(f"users: {{a: {{password: '{phc(*cost)}'}}}}".encode(), Path("users.yaml"))


PASSWORD = "users.a.password"
CASES = {
    "no users": case("▸usrs: {}", ("users", "is missing"), ("usrs", 'did you mean "users"?')),
    "a list of users": case("users: ▸[a]", ("users", "should be a mapping")),
    "nothing for users": case("users:▸", ("users", "should be a mapping")),
    "unknown key": case(f"users: {{a: {{password: {Q}, ▸gruops: []}}}}", ("users.a.gruops", 'did you mean "groups"?')),
    "unknown key of a user called like one": case(
        f"users: {{groups: {{password: {Q}, ▸nam: x}}}}", ("users.groups.nam", 'did you mean "name"?')
    ),
    "no password": case("users: {a: ▸{name: A}}", (PASSWORD, "is missing")),
    "user twice": case(f"users:\n  a: {{password: {Q}}}\n  ▸a: {{password: {Q}}}", ("users.a", "given twice")),
    "user that is a number": case(f"users: {{▸7: {{password: {Q}}}}}", ("users", "put it in quotes")),
    "user with a space": case(f"users: {{▸'a ': {{password: {Q}}}}}", ('users["a "]', "no space at its ends")),
    "user with a control character": case(
        f'users: {{▸"a\\tb": {{password: {Q}}}}}',
        (
            'users["a\N{REPLACEMENT CHARACTER}b"]',
            "no control characters",
        ),
    ),
    "user with too long a name": case(
        f"users:\n  ? ▸{'a' * 257}\n  : {{password: {Q}}}",
        (
            f'users["{"a" * 39}…"]',
            "1 to 256 characters",
        ),
    ),
    "plain password": case("users: {a: {password: ▸hunter2}}", (PASSWORD, "make one with `gateway hash-password`")),
    "number for a password": case("users: {a: {password: ▸12345}}", (PASSWORD, "not a password hash")),
    "hash of another kind": case("users: {a: {password: ▸$2b$12$abcdefghijklmnopqrstuv}}", (PASSWORD, "not argon2id")),
    "group with a comma": case(f"users: {{a: {{password: {Q}, groups: [▸'a,b']}}}}", ("users.a.groups[0]", "a comma")),
    "groups in one text": case(f"users: {{a: {{password: {Q}, groups: ▸a}}}}", ("users.a.groups", "should be a list")),
    "email that is none": case(
        f"users: {{a: {{password: {Q}, email: ▸alice}}}}",
        ("users.a.email", "is not an address: write alice@example.com"),
    ),
    "email that is a pattern": case(
        f"users: {{a: {{password: {Q}, email: ▸'*@a.b'}}}}",
        ("users.a.email", "is not an address: write alice@example.com"),
    ),
    "name with a line break": case(f'users: {{a: {{password: {Q}, name: ▸"a\\nb"}}}}', ("users.a.name", "control")),
    "disabled in words": case(f"users: {{a: {{password: {Q}, disabled: ▸no}}}}", ("users.a.disabled", "true or false")),
    "several": case(
        f"users:\n  a: {{password: ▸x, ▸nme: x}}\n  b: {{password: {Q}, email: ▸x}}",
        ("users.a.password", "hash-password"),
        ("users.a.nme", 'did you mean "name"?'),
        ("users.b.email", "is not an address"),
    ),
}


HASHES = {
    "of another kind": ("$2b$12$abcdefghijklmnopqrstuv", "not argon2id"),
    "of a weaker kind": (HASH.replace("2id", "2i"), "not argon2id"),
    "cut short": (HASH[:40], "not a whole argon2id hash"),
    "a placeholder": ("$argon2id$…", "not a whole argon2id hash"),
    "nothing but its name": ("$argon2id$", "not a whole argon2id hash"),
    "cut at a comma": (HASH.partition(",")[0], "put the whole hash in quotes"),
    "without a digest": (HASH.rpartition("$")[0] + "$", "not a whole"),
    "of an old version": (HASH.replace("v=19", "v=16"), "not a whole"),
    "with something behind": (HASH + "$x", "not a whole"),
    "with too much memory": (phc(memory=1024 * 1024 + 1), "out of bounds"),
    "with too little memory": (phc(memory=31), "out of bounds"),
    "with too many passes": (phc(iterations=21), "out of bounds"),
    "with no pass": (phc(iterations=0), "out of bounds"),
    "with too many lanes": (phc(lanes=17), "out of bounds"),
    "with no lane": (phc(lanes=0), "out of bounds"),
    "with too little salt": (phc(salt=7), "salt or digest"),
    "with too little digest": (phc(digest=15), "salt or digest"),
    "with stray bits": (HASH[:-1] + "B", "salt or digest"),
    "that is no base64": (HASH[:-2], "salt or digest"),
}


@pytest.mark.parametrize(("stored", "expected"), HASHES.values(), ids=HASHES)
def test_a_hash_that_could_not_be_used_is_told(stored: str, expected: str) -> None:
    (problem,) = users_problems_of(f"users: {{a: {{password: '{stored}'}}}}")
    assert (problem.where, problem.key) == ("users.yaml:1:23", PASSWORD)
    assert expected in problem.text


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_a_mistake_is_told_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text)
    if len(places) < len(expected.expected):
        places = [*places, *places]
    assert_case("users.yaml", users_problems_of(text), places, expected)


def test_a_hash_without_quotes_is_told_without_showing_what_became_of_it() -> None:
    found = users_problems_of(f"users: {{a: {{password: {HASH}}}}}")
    assert [problem.key for problem in found] == [PASSWORD, 'users.a["t=3"]', 'users.a["p=4$…$…"]']
    assert "put the whole hash in quotes" in found[0].text
    assert "AAAA" not in "\n".join(map(str, found))


def test_no_error_repeats_a_password_or_a_hash() -> None:
    text = "users: {a: {password: hunter2}, b: {password: $argon2id$hunter2}, c: {password: $2b$hunter2}}"
    assert "hunter2" not in "\n".join(map(str, users_problems_of(text)))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"users\.yaml: cannot be read: No such file or directory"):
        load_users(tmp_path / "users.yaml")
