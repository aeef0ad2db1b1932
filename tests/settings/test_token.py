"""The signed identity token: what its settings must hold, and what comes of them."""

from __future__ import annotations

import pytest

from gateway.core.token_policy import TokenPolicy
from tests.settings.support import Case, assert_case, case, problems_of, settings_of, unmarked

ROUTES = "routes: [{name: a, upstream: http://a, %s}]\n"

CASES = {
    "a header that is one already": case(
        "identity: {headers: {X_User: '{user}'}, token: {header: ▸x-user}}",
        ("identity.token.header", 'cannot tell it from "X_User"'),
    ),
    "a life too short for the clock": case(
        "identity: {token: {lifetime: ▸1s}}", ("identity.token.lifetime", "between 2s and 1h")
    ),
    "a life too long": case("identity: {token: {lifetime: ▸61m}}", ("identity.token.lifetime", "cannot be taken back")),
    "keys that pile up": case("identity: {token: {rotate: ▸4m}}", ("identity.token.rotate", "pile up")),
    "an audience without a token": case(ROUTES % "token: ▸wiki", ("routes[0].token", "identity.token is not set")),
    "set by a route": case(
        "identity: {token: {header: X-Proof}}\n" + ROUTES % "headers: {▸x_proof: forged}",
        ("routes[0].headers.x_proof", "identity header (identity.token)"),
    ),
    "from clients": case(
        "identity: {token: {}}\n" + ROUTES % "pass_headers: [▸X_Identity~Token]",
        ("routes[0].pass_headers[0]", "nobody but the gateway"),
    ),
}


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_a_breach_is_told_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text)
    assert_case("gateway.yaml", problems_of(text), places, expected)


def test_there_is_no_token_unless_one_is_asked_for() -> None:
    settings = settings_of(ROUTES % "token: true")
    assert settings.identity_token is None
    assert settings.routes[0].audience == ""


def test_a_token_has_safe_defaults() -> None:
    assert settings_of("identity: {token: {}}").identity_token == TokenPolicy(
        "X-Identity-Token", "ES256", lifetime=300.0, rotate=30 * 86400.0
    )


@pytest.mark.parametrize(("said", "audience"), [("true", "a"), ("false", ""), ("'https://a.lan'", "https://a.lan")])
def test_the_audience_is_the_route_unless_it_says_otherwise(said: str, audience: str) -> None:
    settings = settings_of("identity: {token: {}}\n" + ROUTES % f"token: {said}")
    assert settings.routes[0].audience == audience


@pytest.mark.parametrize(("rotate", "cache"), [(30 * 86400.0, 3600.0), (40.0, 10.0)])
def test_a_key_is_published_for_longer_than_the_keys_are_cached(rotate: float, cache: float) -> None:
    policy = TokenPolicy("X", "ES256", 5.0, rotate)
    assert policy.cache_time() == cache
    assert policy.ahead() == 2 * cache
