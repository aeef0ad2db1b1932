"""Step-up: which logins are enough, and where that stands among the verdicts."""

from __future__ import annotations

import pytest

from gateway.core.gate import Verdict, judge, lacking, rule_verdict
from gateway.core.identity import Identity
from gateway.core.policy import Allow, Rule
from gateway.core.provider import ProviderSession
from gateway.core.route import Route
from gateway.core.session import CLOCKS_DIFFER, Lifetimes, Session, start_session
from gateway.core.step_up import LEEWAY, StepUp

BEGAN = 10_000.0
STRONG = StepUp("app", ("mfa", "key"))
FRESH = StepUp("app", max_age=300.0)
BOTH = StepUp("app", ("mfa",), 300.0)


def session(acr: str | None = None, auth_time: float | None = None, *, local: bool = False) -> Session:
    """Return one that began at `BEGAN`, at a provider unless it is ``local``."""
    login = None if local else ProviderSession("sso", "https://sso", "1", acr=acr or "", auth_time=auth_time)
    identity = Identity("alice", groups=("staff",))
    return start_session(bytes(16), identity, Lifetimes(), remember=False, now=BEGAN, login=login)


CASES = {
    "one of the ways": (STRONG, session("key"), 0.0, None),
    "another way": (STRONG, session("pwd"), 0.0, "acr_values"),
    "no way told": (STRONG, session(), 0.0, "acr_values"),
    "part of a name": (STRONG, session("mf"), 0.0, "acr_values"),
    "a local user has no way": (STRONG, session(local=True), 0.0, "acr_values"),
    "just now": (FRESH, session(auth_time=BEGAN), 0.0, None),
    "as old as it may be": (FRESH, session(auth_time=BEGAN), 300 + LEEWAY, None),
    "older": (FRESH, session(auth_time=BEGAN), 301 + LEEWAY, "max_age"),
    "long ago at the provider, just now here": (FRESH, session(auth_time=BEGAN - 86400), 0.0, "max_age"),
    "the provider did not say when": (FRESH, session(), 0.0, "max_age"),
    "a local user, just now": (FRESH, session(local=True), 0.0, None),
    "a local user, long ago": (FRESH, session(local=True), 301 + LEEWAY, "max_age"),
    "a time from the future is that of the session": (FRESH, session(auth_time=BEGAN + 9e9), 301 + LEEWAY, "max_age"),
    "no time at all": (StepUp("app", max_age=0.0), session(auth_time=BEGAN), LEEWAY + 1, "max_age"),
    "both hold": (BOTH, session("mfa", BEGAN), 0.0, None),
    "the first of both does not": (BOTH, session("pwd", BEGAN), 0.0, "acr_values"),
    "the second of both does not": (BOTH, session("mfa", BEGAN - 86400), 0.0, "max_age"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_login_lacks(name: str) -> None:
    step_up, held, later, missing = CASES[name]
    assert lacking(step_up, held, BEGAN + later) == missing


@pytest.mark.parametrize("max_age", [0.0, 5.0, 300.0, 86400.0])
@pytest.mark.parametrize("slow", [0.0, 30.0, CLOCKS_DIFFER])
def test_a_login_that_was_accepted_is_enough_for_a_while(max_age: float, slow: float) -> None:
    """No circle: what a callback lets pass (auth_time at most max_age and 60 s old) opens the route for a minute."""
    held = session(auth_time=BEGAN - max_age - slow)
    for later in (0.0, 60.0):
        assert lacking(StepUp("app", max_age=max_age), held, BEGAN + later) is None


RULE = Rule("line", allow=Allow(groups=frozenset({"staff"})), step_up=FRESH)
CLOSED = Rule("line", allow=Allow(groups=frozenset({"admins"})), step_up=FRESH)
ORDER = {
    "nobody is asked for a login first": (RULE, None, 0.0, Verdict.LOGIN),
    "who is not allowed is refused, whatever the login": (CLOSED, session(), 0.0, Verdict.REFUSE),
    "then for a better one": (RULE, session(local=True), 1000.0, Verdict.STEP_UP),
    "which is enough": (RULE, session(local=True), 10.0, Verdict.FORWARD),
    "what is public asks for nothing": (Rule("line", public=True, step_up=FRESH), session(), 0.0, Verdict.FORWARD),
}


@pytest.mark.parametrize("name", ORDER)
def test_the_order_of_verdicts(name: str) -> None:
    """First a login, then the right, then a better login; both ways of judging agree."""
    rule, held, later, expected = ORDER[name]
    route = Route("app", (), rule)
    ruling = judge(route, held, "/", "GET", None, BEGAN + later)
    assert (ruling.verdict, ruling.where) == (expected, "line")
    assert rule_verdict(rule, held, "GET", None, BEGAN + later) is expected
    if expected in (Verdict.LOGIN, Verdict.STEP_UP):
        assert ruling.step_up is FRESH
