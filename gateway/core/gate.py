"""The verdict on a request: forward it, ask for a login or a better one, or refuse it. A value, never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.core.policy import Address, Rule
from gateway.core.route import Route
from gateway.core.session import Session
from gateway.core.step_up import StepUp


class Verdict(Enum):
    """What is to be done with a request."""

    FORWARD = "forward"
    LOGIN = "login"
    REFUSE = "refuse"
    STEP_UP = "step-up"
    """Ask somebody who is logged in, and let in, for a stronger or fresher login."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict, why, and the line of YAML that decided."""

    verdict: Verdict
    reason: str
    where: str
    step_up: StepUp | None = None
    """What a login for this request must be like."""


def judge(route: Route, session: Session | None, path: str, method: str, client: Address | None, now: float) -> Ruling:
    """Decide on one request, at ``now``, seconds since the epoch.

    ``session`` is None unless it was opened, is neither revoked nor over, and belongs to the caller.
    """
    rule = route.rule_for(path, method)
    if rule.public:
        return Ruling(Verdict.FORWARD, "public", rule.where)
    step_up = rule.step_up
    if session is None:
        return Ruling(Verdict.LOGIN, "no session", rule.where, step_up)
    if missing := rule.allow.missing(session.identity, method, client):
        return Ruling(Verdict.REFUSE, f"not allowed by {missing}", rule.where)
    if step_up is not None and (missing := lacking(step_up, session, now)):
        return Ruling(Verdict.STEP_UP, f"not enough for step_up.{missing}", rule.where, step_up)
    return Ruling(Verdict.FORWARD, "allowed", rule.where, step_up)


def rule_verdict(rule: Rule, session: Session | None, method: str, client: Address | None, now: float) -> Verdict:
    """Return the verdict of `judge` alone, for the hot path: nothing is built."""
    if rule.public:
        return Verdict.FORWARD
    if session is None:
        return Verdict.LOGIN
    if rule.allow.missing(session.identity, method, client):
        return Verdict.REFUSE
    if rule.step_up is not None and lacking(rule.step_up, session, now):
        return Verdict.STEP_UP
    return Verdict.FORWARD


def lacking(step_up: StepUp, session: Session, now: float) -> str | None:
    """Return what a session lacks of what is asked for, or None where that is met."""
    return step_up.missing(session.acr, session.proved_at(), now)
