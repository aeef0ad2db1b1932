"""From claims to an identity: what is believed, what is left out, whose name is whose."""

from __future__ import annotations

import pytest

from gateway.core.claims import claim_at
from gateway.core.policy import Allow
from gateway.core.provider import ClaimPaths, Provider, ProviderAllow
from gateway.errors import LoginDenied
from gateway.login.oidc.people import admitted

ALICE = {"sub": "1", "preferred_username": "alice", "email": "alice@example.com", "email_verified": True}


def provider(**more: object) -> Provider:
    return Provider("sso", "https://sso.example.com", "client", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claims", "path", "found"),
    [
        ({"groups": ["a"]}, "groups", ["a"]),
        ({"a": {"b": {"c": 1}}}, "a.b.c", 1),
        ({"https://example.com/groups": ["a"]}, "https://example.com/groups", ["a"]),
        ({"a": {"my.app": {"roles": ["x"]}}}, "a.my.app.roles", ["x"]),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"a": ["b"]}, "a.b", None),
        ({"a": "text"}, "a.b", None),
        ({}, "a", None),
    ],
)
def test_a_path_finds_a_claim_by_its_whole_name_first(claims: dict[str, object], path: str, found: object) -> None:
    assert claim_at(claims, path) == found


@pytest.mark.parametrize("verified", [True, "true", 1, "1"])
def test_a_verified_address_is_passed_on_in_lower_case(verified: object) -> None:
    identity = admitted(provider(), {**ALICE, "email": "Alice@EXAMPLE.com", "email_verified": verified}, {})
    assert identity.email == "alice@example.com"


@pytest.mark.parametrize(
    "change",
    [
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "yes"},
        {"email_verified": [False]},
        {"email": "evil@evil.example@example.com"},
        {"email": "a b@example.com"},
        {"email": "alice@example.com\n"},
        {"email": "*@example.com, x"},
        {"email": ["alice@example.com"]},
        {"email": "a" * 300 + "@example.com"},
    ],
)
def test_an_address_that_is_odd_or_not_verified_is_left_out(change: dict[str, object]) -> None:
    assert admitted(provider(), {**ALICE, **change}, {}).email == ""


def test_an_unverified_address_counts_only_with_the_insecure_switch() -> None:
    claims = {**ALICE, "email_verified": False}
    assert admitted(provider(unverified_email=True), claims, {}).email == "alice@example.com"


def test_a_user_who_is_named_by_an_address_needs_a_verified_one() -> None:
    named = provider(claims=ClaimPaths(user="email"))
    assert admitted(named, ALICE, {}).user == "alice@example.com"
    with pytest.raises(LoginDenied):
        admitted(named, {**ALICE, "email_verified": False}, {})


def test_userinfo_fills_gaps_and_overrides_nothing() -> None:
    more = {"preferred_username": "mallory", "groups": ["staff"], "name": "Alice"}
    identity = admitted(provider(), ALICE, more)
    assert (identity.user, identity.name, identity.groups) == ("alice", "Alice", ("staff",))


def test_groups_that_a_header_could_not_tell_apart_are_left_out() -> None:
    groups = ["staff", "a,b", "", " x", "new\nline", "staff", 7, None, {"a": 1}]
    assert admitted(provider(), {**ALICE, "groups": groups}, {}).groups == ("staff", "7")
    assert admitted(provider(), {**ALICE, "groups": "one"}, {}).groups == ("one",)
    assert len(admitted(provider(), {**ALICE, "groups": [f"g{n}" for n in range(9999)]}, {}).groups) == 500


def test_further_claims_keep_their_types_within_bounds_and_the_subject_is_always_there() -> None:
    other = (("level", "level"), ("teams", "teams"), ("odd", "odd"), ("long", "long"), ("mixed", "mixed"))
    claims = {**ALICE, "level": 3, "teams": ["a", "b"], "odd": {"x": 1}, "long": "x" * 2000, "mixed": ["a,b", "c"]}
    identity = admitted(provider(claims=ClaimPaths(other=other)), claims, {})
    assert identity.claims == {"sub": "1", "level": 3, "teams": ["a", "b"], "mixed": ["a,b", "c"]}


def test_prefixes_come_after_allow_so_that_rules_of_the_provider_are_in_its_own_words() -> None:
    allow = ProviderAllow(Allow(users=frozenset({"alice"}), groups=frozenset({"staff"})))
    known = provider(allow=allow, user_prefix="sso:", group_prefix="sso/")
    identity = admitted(known, {**ALICE, "groups": ["staff"]}, {})
    assert (identity.user, identity.groups, identity.method) == ("sso:alice", ("sso/staff",), "sso")


@pytest.mark.parametrize(
    ("allow", "missing"),
    [
        (ProviderAllow(Allow(groups=frozenset({"admins"}))), "groups"),
        (ProviderAllow(Allow(users=frozenset({"bob"}))), "users"),
        (ProviderAllow(Allow(emails=("*@other.example",))), "emails"),
        (ProviderAllow(claims=(("hd", frozenset({"example.com"})),)), "claims.hd"),
    ],
)
def test_whoever_lacks_one_thing_is_not_let_in(allow: ProviderAllow, missing: str) -> None:
    with pytest.raises(LoginDenied, match=missing):
        admitted(provider(allow=allow), ALICE, {})
