"""Password hashes: what is made, what matches, what it costs."""

from __future__ import annotations

import pytest

from gateway.login.argon2 import (
    CHEAPEST,
    MAX_PASSWORD_BYTES,
    TARGET,
    Cost,
    cost_of,
    hash_password,
    matches,
    unmatched_hash,
    work_of,
)


def test_a_hash_is_argon2id_of_the_target_cost_with_a_salt_of_its_own() -> None:
    one, other = hash_password("secret"), hash_password("secret")
    assert one.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    assert one != other
    assert cost_of(one) == TARGET
    assert matches("secret", one)
    assert not matches("Secret", one)


def test_a_hash_made_by_the_reference_implementation_matches() -> None:
    # What `argon2 somesalt -id -t 2 -k 256 -p 1 -l 32` prints for "password".
    phc = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
    assert matches("password", phc)
    assert not matches("passwore", phc)


@pytest.mark.parametrize("password", ["pässwörd ☃", " spaces ", "nul\0inside", "e\u0301"])
def test_a_password_counts_just_as_typed(password: str) -> None:
    phc = hash_password(password, CHEAPEST)
    assert matches(password, phc)
    assert not matches(password + " ", phc)


def test_letters_composed_in_two_ways_are_two_passwords() -> None:
    assert not matches("\u00e9", hash_password("e\u0301", CHEAPEST))


@pytest.mark.parametrize("password", ["", "x" * (MAX_PASSWORD_BYTES + 1), "ü" * (MAX_PASSWORD_BYTES // 2 + 1)])
def test_empty_and_overlong_passwords_are_not_hashed(password: str) -> None:
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        hash_password(password, CHEAPEST)


def test_an_overlong_password_does_not_match_by_its_beginning() -> None:
    longest = "x" * MAX_PASSWORD_BYTES
    phc = hash_password(longest, CHEAPEST)
    assert matches(longest, phc)
    assert not matches(longest + "x", phc)


@pytest.mark.parametrize(
    "phc",
    [
        "",
        "plain",
        "$argon2id$v=19$m=64,t=1,p=1$",
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$2b$12$abcdefghijklmnopqrstuv",
    ],
)
def test_a_hash_that_cannot_be_computed_matches_nothing(phc: str) -> None:
    assert not matches("password", phc)


def test_a_lone_surrogate_matches_nothing_and_breaks_nothing() -> None:
    assert not matches("\ud800", hash_password("x", CHEAPEST))


def test_what_is_computed_for_nobody_costs_what_it_says_and_matches_nothing() -> None:
    phc = unmatched_hash(Cost(memory=128, iterations=3, lanes=2))
    assert cost_of(phc) == Cost(128, 3, 2)
    assert not matches("", phc)
    assert phc != unmatched_hash(Cost(memory=128, iterations=3, lanes=2))


def test_work_orders_costs_by_the_time_they_take() -> None:
    assert work_of("not a hash") == 0
    assert CHEAPEST.work() < Cost(19 * 1024, 2).work() < TARGET.work() < Cost(64 * 1024, 3, 4).work()
