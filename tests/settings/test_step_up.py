"""``step_up`` from the file to what the program uses."""

from __future__ import annotations

import pytest

from gateway.core.step_up import StepUp
from tests.settings.support import assert_case, case, problems_of, settings_of, unmarked

HEAD = "public_url: https://login.example.com\ntrusted_proxies: [10.0.0.0/8]\n"
SSO = "login: {oidc: [{id: sso, issuer: 'https://sso.example.com', client_id: a, client_secret: b}]}\n"
LOCAL = "login: {local: {users: users.yaml}}\n"


def config(step_up: str, rules: str = "", login: str = SSO) -> str:
    more = f"    rules:\n{rules}" if rules else ""
    return f"{HEAD}{login}routes:\n  - name: a\n    upstream: http://a\n    step_up: {step_up}\n{more}"


CASES = {
    "nothing asked for": case(config("▸{}"), ("routes[0].step_up", "needs acr_values or max_age")),
    "a prompt alone": case(config("▸{prompt: login}"), ("routes[0].step_up", "needs acr_values or max_age")),
    "a prompt alone in a rule": case(
        config("null", "      - {path: /x, step_up: ▸{prompt: login}}\n"),
        ("routes[0].rules[0].step_up", "needs acr_values or max_age"),
    ),
    "beside public": case(
        config("▸{max_age: 5m}") + "    public: true\n", ("routes[0].step_up", "has no effect beside `public: true`")
    ),
    "beside public in a rule": case(
        config("null", "      - {path: /x, public: true, step_up: ▸{max_age: 5m}}\n"),
        ("routes[0].rules[0].step_up", "has no effect beside `public: true`"),
    ),
    "a value with a space": case(config("{acr_values: [▸a b]}"), ("routes[0].step_up.acr_values[0]", "without spaces")),
    "a value with a quote": case(
        config("{acr_values: [▸'a\"b']}"), ("routes[0].step_up.acr_values[0]", "without spaces and quotes")
    ),
    "no duration": case(config("{max_age: ▸5 minutes}"), ("routes[0].step_up.max_age", "not a duration")),
    "no prompt": case(config("{max_age: 5m, prompt: ▸none}"), ("routes[0].step_up.prompt", "not one of login")),
    "an unknown key": case(config("{max_age: 5m, ▸acr: x}"), ("routes[0].step_up.acr", "no such key")),
    "false where nothing is to be taken away": case(config("▸false"), ("routes[0].step_up", "")),
}


@pytest.mark.parametrize("name", CASES)
def test_every_breach_is_told_at_its_place(name: str) -> None:
    text, places = unmarked(CASES[name].text)
    assert_case("gateway.yaml", problems_of(text), places, CASES[name])


def test_rules_ask_for_what_the_route_asks_for_unless_they_say_otherwise() -> None:
    rules = """\
      - {path: /own, step_up: {acr_values: [mfa], prompt: login}}
      - {path: /any, step_up: false}
      - {path: /empty, step_up: {}}
      - {path: /null, step_up: null}
      - {path: /silent, allow: {groups: [x]}}
"""
    (route,) = settings_of(config("{max_age: 5m}", rules)).routes
    routes_own = StepUp("a", max_age=300.0)
    assert route.default.step_up == routes_own
    found = {rule.path: rule.step_up for rule in route.rules}
    assert found == {
        "/own": StepUp("a.0", ("mfa",), prompt="login"),
        "/any": None,
        "/empty": None,
        "/null": routes_own,
        "/silent": routes_own,
    }


def test_a_route_that_says_nothing_asks_for_nothing() -> None:
    (route,) = settings_of(config("null")).routes
    assert route.default.step_up is None
    (route,) = settings_of(config("{max_age: 0s}")).routes
    assert route.default.step_up == StepUp("a", max_age=0.0)


GITHUB = "login: {oidc: [{id: hub, preset: github, client_id: a, client_secret: b, allow: {groups: [x]}}]}\n"


@pytest.mark.parametrize("login", [LOCAL, GITHUB], ids=["local", "github"])
def test_what_nobody_can_meet_is_warned_of(login: str) -> None:
    rules = "      - {path: /x, step_up: {acr_values: [mfa]}}\n"
    warnings = [w for w in settings_of(config("{acr_values: [mfa]}", rules, login)).warnings if "step_up" in w.key]
    assert [w.key for w in warnings] == ["routes[0].step_up.acr_values", "routes[0].rules[0].step_up.acr_values"]
    assert all("lets nobody in" in w.text for w in warnings)


@pytest.mark.parametrize(("step_up", "login"), [("{acr_values: [mfa]}", SSO), ("{max_age: 5m}", LOCAL)])
def test_what_somebody_can_meet_is_not(step_up: str, login: str) -> None:
    assert [w for w in settings_of(config(step_up, login=login)).warnings if "step_up" in w.key] == []
