"""What programs may send: the keys about it, and what must hold between them and the routes."""

from __future__ import annotations

import pytest

from gateway.core.programs import Introspector, TokenIssuer
from tests.settings.support import Case, assert_case, case, problems_of, settings_of, unmarked

USERS = "login: {local: {users: users.yaml}}\n"
CI = "{id: ci, issuer: https://ci.example.com, audience: wiki}"
OPAQUE = "{id: opaque, url: https://sso.example.com/i, client_id: gw, client_secret: s, audience: [wiki]}"


def route(*programs: str) -> str:
    return f"routes: [{{name: a, upstream: http://a, programs: [{', '.join(programs)}]}}]\n"


CASES = {
    "an unknown source": case(
        f"programs: {{bearer: [{CI}]}}\n" + route("ci", "▸api-kay"),
        ("routes[0].programs[1]", 'did you mean "api-key"?'),
    ),
    "a source twice": case(USERS + route("basic", "▸basic"), ("routes[0].programs[1]", "given twice")),
    "local users without any": case(
        route("▸basic", "▸api-key"),
        ("routes[0].programs[0]", "login.local.users is not set"),
        ("routes[0].programs[1]", "login.local.users is not set"),
    ),
    "one id for two": case(
        f"programs: {{bearer: [{CI}, {CI.replace('id: ci', 'id: ▸ci')}]}}\n" + route("ci"),
        ("programs.bearer[1].id", "is the id of programs.bearer[0]"),
    ),
    "an id that is a word": case(
        f"programs: {{bearer: [{CI.replace('id: ci', 'id: ▸basic')}]}}\n", ("programs.bearer[0].id", "another way")
    ),
    "an audience of none": case(
        "programs: {bearer: [{id: ci, issuer: https://ci.example.com, audience: ▸[]}]}\n",
        ("programs.bearer[0].audience", "at least one"),
    ),
    "introspection without an audience": case(
        f"programs: {{introspection: [▸{OPAQUE.replace(', audience: [wiki]', '')}]}}\n" + route("opaque"),
        ("programs.introspection[0]", "given to any other app"),
    ),
    "introspection over plain http": case(
        f"programs: {{introspection: [{OPAQUE.replace('https://sso.example.com/i', '▸http://sso.example.com/i')}]}}\n",
        ("programs.introspection[0].url", "https"),
    ),
    "a secret in the address": case(
        f"programs: {{introspection: [{OPAQUE.replace('https://sso.example.com/i', '▸https://gw:hunter2@sso.example.com/i')}]}}\n",
        ("programs.introspection[0].url", "leave them out"),
    ),
    "a shared secret": case(
        f"programs: {{bearer: [{CI[:-1]}, algorithms: [▸HS256]}}]}}\n", ("programs.bearer[0].algorithms[0]", "refused")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_mistakes_are_told(name: str) -> None:
    wrong: Case = CASES[name]
    text, places = unmarked(wrong.text)
    found = problems_of(text)
    assert_case("gateway.yaml", found, places, wrong)
    assert "hunter2" not in "".join(map(str, found))


def test_what_is_said_is_what_is_used() -> None:
    settings = settings_of(
        USERS + f"programs: {{bearer: [{CI}], introspection: [{OPAQUE}]}}\n" + route("ci", "opaque", "basic", "api-key")
    )
    (issuer,), (place,) = settings.issuers, settings.introspectors
    assert isinstance(issuer, TokenIssuer)
    assert isinstance(place, Introspector)
    assert (issuer.audiences, issuer.jwks, issuer.people.issuer) == (("wiki",), "", "https://ci.example.com")
    assert (issuer.people.claims.user, issuer.people.user_prefix, issuer.people.group_prefix) == ("sub", "ci:", "")
    assert (place.audiences, place.cache, place.people.client_secret) == (("wiki",), 60.0, "s")
    assert settings.routes[0].programs == ("ci", "opaque", "basic", "api-key")
    assert settings.warnings == ()
    assert "client_secret" not in repr(place.people)


def test_an_issuer_without_an_audience_is_refused() -> None:
    (problem,) = problems_of("programs: {bearer: [{id: ci, issuer: https://ci.example.com}]}\n" + route("ci"))
    assert (problem.key, problem.text) == ("programs.bearer[0].audience", "is missing")


def test_nothing_is_accepted_by_default() -> None:
    settings = settings_of(USERS + "routes: [{name: a, upstream: http://a}]\n")
    assert (settings.routes[0].programs, settings.issuers, settings.introspectors) == ((), (), ())


def test_what_hardly_is_meant_is_a_warning() -> None:
    any_audience = OPAQUE.replace("audience: [wiki]", "insecure_any_audience: true")
    bearer = f"{CI[:-1]}, insecure_unverified_email: true}}"
    programs = f"programs: {{bearer: [{bearer}], introspection: [{any_audience}]}}\n"
    settings = settings_of(USERS + programs + route("opaque"))
    assert [(problem.key, problem.text.partition(":")[0]) for problem in settings.warnings] == [
        ("programs.bearer[0]", "has no effect"),
        ("programs.bearer[0].insecure_unverified_email", "is true"),
        ("programs.introspection[0].insecure_any_audience", "is true"),
    ]
