"""The verdict on a request: forward it, ask for a login, or refuse it. A value, never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.core.policy import Address, Rule
from gateway.core.route import Route
from gateway.core.session import Session


class Verdict(Enum):
    """What is to be done with a request."""

    FORWARD = "forward"
    LOGIN = "login"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict, why, and the line of YAML that decided."""

    verdict: Verdict
    reason: str
    where: str


def judge(route: Route, session: Session | None, path: str, method: str, client: Address | None) -> Ruling:
    """Decide on one request.

    ``session`` is None unless it was opened, is neither revoked nor over, and belongs to the caller.
    """
    rule = route.rule_for(path, method)
    if rule.public:
        return Ruling(Verdict.FORWARD, "public", rule.where)
    if session is None:
        return Ruling(Verdict.LOGIN, "no session", rule.where)
    missing = rule.allow.missing(session.identity, method, client)
    if missing:
        return Ruling(Verdict.REFUSE, f"not allowed by {missing}", rule.where)
    return Ruling(Verdict.FORWARD, "allowed", rule.where)


def rule_verdict(rule: Rule, session: Session | None, method: str, client: Address | None) -> Verdict:
    """Return the verdict of `judge` alone, for the hot path: nothing is built."""
    if rule.public:
        return Verdict.FORWARD
    if session is None:
        return Verdict.LOGIN
    if rule.allow.missing(session.identity, method, client):
        return Verdict.REFUSE
    return Verdict.FORWARD
