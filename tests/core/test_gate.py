"""Verdicts: who may do what, rule by rule."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.gate import Verdict, judge, rule_verdict
from gateway.core.identity import Identity
from gateway.core.policy import Allow, Rule, is_under
from gateway.core.route import Route, unreachable_rules
from gateway.core.session import Lifetimes, Session, start_session
from gateway.core.upstream import UpstreamAddress

ALICE = Identity("alice", "Alice", "Alice@Example.com", ("staff", "wiki"))
NOBODY = Identity("nobody")
CLIENT = ip_address("192.0.2.7")
FORWARD, LOGIN, REFUSE = Verdict.FORWARD, Verdict.LOGIN, Verdict.REFUSE


def session(identity: Identity) -> Session:
    return start_session(bytes(16), identity, Lifetimes(), remember=False, now=0)


def route(default: Rule, *rules: Rule, path: str = "/") -> Route:
    return Route("app", (UpstreamAddress("up", 80),), default, path=path, rules=rules)


class Case(NamedTuple):
    """One ``allow`` block and what is missing to alice for GET from 192.0.2.7."""

    why: str
    allow: Allow
    missing: str | None


ALLOWED = [
    Case("no condition", Allow(), None),
    Case("one of her groups", Allow(groups=frozenset({"wiki", "x"})), None),
    Case("none of her groups", Allow(groups=frozenset({"admins"})), "groups"),
    Case("a group by another case", Allow(groups=frozenset({"Staff"})), "groups"),
    Case("her name", Allow(users=frozenset({"alice"})), None),
    Case("another name", Allow(users=frozenset({"alic", "alicee"})), "users"),
    Case("her address, whatever its case", Allow(emails=("alice@example.com",)), None),
    Case("her domain", Allow(emails=("x@y", "*@example.com")), None),
    Case("a domain that ends alike", Allow(emails=("*@ample.com",)), "emails"),
    Case("a domain that begins alike", Allow(emails=("*@example.co",)), "emails"),
    Case("the method", Allow(methods=frozenset({"GET"})), None),
    Case("another method", Allow(methods=frozenset({"POST"})), "methods"),
    Case("her network", Allow(networks=(ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24"))), None),
    Case("another network", Allow(networks=(ip_network("192.0.3.0/24"),)), "networks"),
    Case("a network of the other family", Allow(networks=(ip_network("::/0"),)), "networks"),
    Case("all must hold", Allow(groups=frozenset({"staff"}), users=frozenset({"bob"})), "users"),
    Case("the first that does not is named", Allow(groups=frozenset({"x"}), methods=frozenset({"POST"})), "groups"),
]


@pytest.mark.parametrize("case", ALLOWED, ids=[case.why for case in ALLOWED])
def test_what_is_missing(case: Case) -> None:
    """Keys are and-ed, their values or-ed, and the verdict follows."""
    assert case.allow.missing(ALICE, "GET", CLIENT) == case.missing
    rule = Rule("x", allow=case.allow)
    expected = REFUSE if case.missing else FORWARD
    assert rule_verdict(rule, session(ALICE), "GET", CLIENT, 0.0) is expected
    ruling = judge(route(rule), session(ALICE), "/", "GET", CLIENT, 0.0)
    assert (ruling.verdict, ruling.where) == (expected, "x")


@pytest.mark.parametrize(
    ("allow", "missing"),
    [
        (Allow(emails=("*",)), "emails"),
        (Allow(emails=("*@*",)), "emails"),
        (Allow(groups=frozenset({""})), "groups"),
        (Allow(networks=(ip_network("0.0.0.0/0"),)), "networks"),
    ],
)
def test_what_is_unknown_is_missing(allow: Allow, missing: str) -> None:
    """Somebody without address, group or known network meets no condition about it: it fails closed."""
    assert allow.missing(NOBODY, "GET", None) == missing


@pytest.mark.parametrize("public", [True, False])
@pytest.mark.parametrize("who", [None, ALICE, NOBODY])
def test_public_and_private(public: bool, who: Identity | None) -> None:
    """Public forwards everybody; else there must be a session, and it must be allowed."""
    rule = Rule("x", public=public, allow=Allow(groups=frozenset({"staff"})))
    held = session(who) if who else None
    expected = FORWARD if public or who is ALICE else REFUSE if who else LOGIN
    assert judge(route(rule), held, "/", "GET", None, 0.0).verdict is expected
    assert rule_verdict(rule, held, "GET", None, 0.0) is expected


RULES = (
    Rule("1", "/health", frozenset({"GET"}), public=True),
    Rule("2", "/admin", allow=Allow(groups=frozenset({"admins"}))),
    Rule("3", "/admin/help", public=True),
    Rule("4", "/", frozenset({"DELETE"}), allow=Allow(users=frozenset({"root"}))),
)
FIRST = [
    ("/health", "GET", "1"), ("/health", "HEAD", "1"), ("/x", "HEAD", "0"),
    ("/health/x", "GET", "1"), ("/healthz", "GET", "0"), ("/health", "POST", "0"),
    ("/admin/help", "GET", "2"), ("/admin", "DELETE", "2"), ("/Admin", "GET", "0"), ("/x", "DELETE", "4"), ("/x",
    "GET", "0"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "method", "where"), FIRST)
def test_the_first_rule_that_covers_a_request_decides(path: str, method: str, where: str) -> None:
    """Rules are asked in order, and the route's own comes last."""
    app = route(Rule("0"), *RULES)
    assert app.rule_for(path, method).where == where
    assert judge(app, None, path, method, None, 0.0).where == where
    assert [rule.where for rule in RULES if rule.covers(path, method)][:1] == ([where] if where != "0" else [])


@pytest.mark.parametrize(("named", "met"), [("GET", True), ("HEAD", True), ("POST", False)])
def test_who_may_get_may_ask_for_the_head(named: str, met: bool) -> None:
    """Servers answer HEAD by what answers GET (RFC 9110 §9.3.2); the reverse does not hold."""
    allow = Allow(methods=frozenset({named}))
    assert (allow.missing(ALICE, "HEAD", CLIENT) is None) is met
    assert (allow.missing(ALICE, "GET", CLIENT) is None) is (named == "GET")


UNDER = [
    ("/a", "/", True), ("/", "/", True), ("/a", "/a", True), ("/a/", "/a", True), ("/a/b", "/a", True), ("/ab", "/a",
    False),
    ("/a", "/a/", True), ("/a/b", "/a/", True), ("/ab", "/a/", False), ("/b", "/a", False), ("/", "/a", False),
    ("/a//b", "/a", True),
]  # fmt: skip


@pytest.mark.parametrize(("path", "prefix", "under"), UNDER)
def test_below_means_at_a_boundary(path: str, prefix: str, under: bool) -> None:
    """A prefix ends at the end of a segment."""
    assert is_under(path, prefix) is under


SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=4)


@given(SEGMENTS, SEGMENTS, st.booleans())
def test_below_is_a_matter_of_segments(path: list[str], prefix: list[str], slash: bool) -> None:
    """``is_under`` says what comparing segments says."""
    prefix = [segment for segment in prefix if segment]
    written = "/" + "/".join(prefix) + ("/" if slash and prefix else "")
    assert is_under("/" + "/".join(path), written) is (path[: len(prefix)] == prefix)


def test_rules_that_nothing_can_meet() -> None:
    """A rule outside its route's path is found; one above, at or below it is not."""
    app = route(Rule("0"), *(Rule(path, path) for path in ("/", "/app", "/app/x", "/ap", "/apple", "/x")), path="/app")
    assert [rule.path for rule in unreachable_rules(app)] == ["/ap", "/apple", "/x"]
