"""Claims in policies: found by path, compared by value and kind, one member of a list is enough."""

from __future__ import annotations

import pickle

import pytest

from gateway.channel import encode
from gateway.core.claims import Scalar, claim_condition
from gateway.core.identity import Identity
from gateway.core.policy import Allow

CLAIMS: dict[str, object] = {
    "department": "sales",
    "clearance": 3,
    "score": 1.5,
    "one": 1,
    "internal": True,
    "word": "true",
    "teams": ["blue", 7, False],
    "realm_access": {"roles": ["ops"]},
    "https://example.com/badge": "gold",
    "nothing": None,
    "empty": [],
    "odd": [{"a": 1}, ["blue"]],
}

CASES: list[tuple[str, list[Scalar], bool]] = [
    ("department", ["sales", "support"], True),
    ("department", ["Sales"], False),
    ("department", ["sale", "saless", ""], False),
    ("clearance", [2, 3], True),
    ("clearance", [3.0], True),
    ("clearance", ["3"], False),
    ("score", [1.5], True),
    ("internal", [True], True),
    ("internal", [1], False),
    ("internal", ["true"], False),
    ("one", [True], False),
    ("one", [1], True),
    ("word", [True], False),
    ("teams", ["blue"], True),
    ("teams", [7], True),
    ("teams", ["7"], False),
    ("teams", [False], True),
    ("teams", [0], False),
    ("realm_access.roles", ["ops"], True),
    ("realm_access", ["ops"], False),
    ("https://example.com/badge", ["gold"], True),
    ("nothing", ["", False, 0], False),
    ("empty", ["", False, 0], False),
    ("odd", ["blue", 1], False),
    ("not there", ["", False, 0], False),
]


@pytest.mark.parametrize(("path", "accepted", "holds"), CASES)
def test_a_claim_has_one_of_the_values_and_its_kind_counts(path: str, accepted: list[Scalar], holds: bool) -> None:
    assert claim_condition(path, accepted).holds(CLAIMS) is holds


def test_all_claims_must_hold_beside_everything_else() -> None:
    who = Identity("alice", groups=("staff",), method="sso", claims=CLAIMS)
    sales, ops = claim_condition("department", ["sales"]), claim_condition("realm_access.roles", ["ops"])
    wrong = claim_condition("department", ["support"])
    assert Allow(claims=(sales, ops)).missing(who, "GET", None) is None
    assert Allow(claims=(sales, wrong)).missing(who, "GET", None) == "claims.department"
    assert Allow(groups=frozenset({"x"}), claims=(sales,)).missing(who, "GET", None) == "groups"
    assert Allow(claims=(sales,)).missing(Identity("bob"), "GET", None) == "claims.department"


def test_the_way_of_logging_in_must_be_one_of_those() -> None:
    only = Allow(providers=frozenset({"sso", "password"}))
    assert only.missing(Identity("alice", method="sso"), "GET", None) is None
    assert only.missing(Identity("alice"), "GET", None) is None
    assert only.missing(Identity("alice", method="github"), "GET", None) == "providers"
    assert Allow(providers=frozenset({""})).missing(Identity("x", method="ci"), "GET", None) == "providers"


def test_conditions_survive_the_way_to_the_workers() -> None:
    for allow in (Allow(), Allow(claims=(claim_condition("a", [True, 2, "x"]),), providers=frozenset({"sso"}))):
        again = pickle.loads(encode(allow)[4:])  # type: ignore[arg-type]
        assert again == allow
        assert again.missing(Identity("alice"), "GET", None) == allow.missing(Identity("alice"), "GET", None)
