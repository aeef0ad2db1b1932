"""``allow`` by the way of logging in and by claims, from the file to what the program uses."""

from __future__ import annotations

import pytest

from gateway.core.identity import Identity
from tests.settings.support import assert_case, case, problems_of, settings_of, unmarked

HEAD = "public_url: https://login.example.com\ntrusted_proxies: [10.0.0.0/8]\n"
LOCAL = "local: {users: users.yaml}"
SSO = "oidc: [{id: sso, issuer: 'https://sso.example.com', client_id: a, client_secret: b}]"
CI = "programs: {bearer: [{id: ci, issuer: 'https://ci.example.com', audience: a}]}\n"


def config(allow: str, login: str = f"{LOCAL}, {SSO}", more: str = "") -> str:
    programs = "[ci]" if more else "[]"
    routes = f"routes:\n  - name: a\n    upstream: http://a\n    programs: {programs}\n    allow: {allow}\n"
    return f"{HEAD}login: {{{login}}}\n{more}{routes}"


CASES = {
    "a provider that is not there": case(
        config("{providers: [sso, ▸sos]}"), ("routes[0].allow.providers[1]", 'log in here; did you mean "sso"')
    ),
    "password without local users": case(
        config("{providers: [▸password]}", SSO), ("routes[0].allow.providers[0]", "no way to log in here; there is sso")
    ),
    "no id": case(config("{providers: [▸A B]}"), ("routes[0].allow.providers[0]", "not a way to log in")),
    "in a rule": case(
        config("{}") + "    rules: [{path: /x, allow: {providers: [▸x]}}]\n",
        ("routes[0].rules[0].allow.providers[0]", "no way to log in here; there is password, basic, api-key, sso"),
    ),
    "a claim without values": case(config("{claims: {level: ▸[]}}"), ("routes[0].allow.claims.level", "at least one")),
    "a value that is none": case(
        config("{claims: {level: [1, ▸{a: 1}]}}"), ("routes[0].allow.claims.level[1]", "not the value of a claim")
    ),
    "no number": case(config("{claims: {level: ▸.nan}}"), ("routes[0].allow.claims.level", "not the value of a claim")),
    "beside public": case(
        config("▸{claims: {level: 1}}") + "    public: true\n", ("routes[0].allow", "has no effect beside")
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_breach_is_told_at_its_place(name: str) -> None:
    text, places = unmarked(CASES[name].text)
    assert_case("gateway.yaml", problems_of(text), places, CASES[name])


def test_values_keep_their_kinds_and_one_is_as_good_as_a_list() -> None:
    (route,) = settings_of(config("{claims: {level: [3, true], dept: sales}, providers: [sso]}")).routes
    allow = route.default.allow

    def missing(method: str = "sso", **claims: object) -> str | None:
        return allow.missing(Identity("alice", method=method, claims=claims), "GET", None)

    assert missing(level=3, dept="sales") is None
    assert missing(level=True, dept=["x", "sales"]) is None
    assert missing(level=1, dept="sales") == "claims.level"
    assert missing(level="3", dept="sales") == "claims.level"
    assert missing(level=3) == "claims.dept"
    assert missing("password", level=3, dept="sales") == "providers"


def test_claims_that_routes_ask_for_are_kept_from_every_source_under_their_paths() -> None:
    text = config("{claims: {realm.roles: [a], level: 1}}", more=CI).replace(
        "client_secret: b", "client_secret: b, claims: {other: {level: strength}}"
    )
    settings = settings_of(text)
    (sso,), (ci,) = settings.providers, settings.issuers
    assert sso.claims.other == (("level", "strength"), ("realm.roles", "realm.roles"))
    assert ci.people.claims.other == (("realm.roles", "realm.roles"), ("level", "level"))


def test_nothing_more_is_kept_where_no_route_asks() -> None:
    assert settings_of(config("{groups: [a]}")).providers[0].claims.other == ()


def test_claims_of_local_users_are_warned_of_for_they_have_none() -> None:
    (warning,) = [w for w in settings_of(config("{claims: {level: 1}}", LOCAL)).warnings if "claims" in w.key]
    assert (warning.key, "lets nobody in" in warning.text) == ("routes[0].allow.claims.level", True)
