"""A session in use: what it remembers of itself is never another answer than the first time."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.gate import Verdict, rule_verdict
from gateway.core.identity import Identity
from gateway.core.policy import Address, Allow, Rule
from gateway.core.session import Lifetimes, Session, start_session
from gateway.core.step_up import StepUp
from gateway.sessions.store import Opened

LIFETIMES = Lifetimes()
HERE, ELSEWHERE = ip_address("192.0.2.7"), ip_address("203.0.113.9")
ALLOWS = [
    Allow(),
    Allow(groups=frozenset({"staff"})),
    Allow(users=frozenset({"alice"})),
    Allow(groups=frozenset({"staff"}), methods=frozenset({"GET"})),
    Allow(networks=(ip_network("192.0.2.0/24"),)),
]
RULES = [
    *(Rule(f"routes[{number}]", allow=allow) for number, allow in enumerate(ALLOWS)),
    Rule("routes[5]", step_up=StepUp("app", max_age=60.0)),
    Rule("routes[6]", public=True),
]
ALICE, BOB = Identity("alice", groups=("staff",)), Identity("alice")


def session(identity: Identity) -> Session:
    return start_session(bytes(16), identity, LIFETIMES, remember=False, now=0.0)


Request = tuple[Rule, str, Address | None, float, Identity | None]
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(RULES),
        st.sampled_from(["GET", "POST"]),
        st.sampled_from([HERE, ELSEWHERE, None]),
        st.sampled_from([0.0, 3600.0]),
        st.sampled_from([None, None, ALICE, BOB]),
    ),
    max_size=12,
)


@given(REQUESTS)
def test_a_verdict_is_that_of_the_rule(requests: list[Request]) -> None:
    """Whatever was let in before, by whichever rule, and whoever the session's provider says they are since."""
    opened = Opened(session(ALICE), "token", 1e9)
    for rule, method, client, now, since in requests:
        if since is not None:
            opened.change_to(session(since))
        expected = rule_verdict(rule, opened.session, method, client, now)
        assert opened.verdict(rule, method, client, now) is expected


@pytest.mark.parametrize("rule", RULES)
def test_what_lets_in_by_identity_alone_is_judged_once(rule: Rule) -> None:
    """Another rule is judged anew, although it says the same."""
    opened = Opened(session(ALICE), "token", 1e9)
    assert opened.verdict(rule, "GET", HERE, 0.0) is Verdict.FORWARD
    decided = not (rule.allow.methods or rule.allow.networks or rule.step_up)
    assert (opened.admitted_by is rule) is decided
    assert opened.verdict(Rule("other", allow=Allow(groups=frozenset({"x"}))), "GET", HERE, 0.0) is Verdict.REFUSE


def test_who_is_refused_is_judged_again() -> None:
    opened = Opened(session(BOB), "token", 1e9)
    assert opened.verdict(RULES[1], "GET", HERE, 0.0) is Verdict.REFUSE
    assert opened.admitted_by is None
    opened.change_to(session(ALICE))
    assert opened.verdict(RULES[1], "GET", HERE, 0.0) is Verdict.FORWARD
    assert opened.user == "alice"
