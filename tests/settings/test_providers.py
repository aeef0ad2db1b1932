"""Identity providers in the configuration: what is filled in, what is refused, what is warned of."""

from __future__ import annotations

import pytest

from tests.settings.support import Case, assert_case, case, problems_of, settings_of, unmarked

URL = "public_url: http://localhost:8080\n"
LOCAL = "local: {users: users.yaml}, "
SSO = "id: sso, issuer: https://sso.example.com, client_id: gateway"


def config(*entries: str, local: str = "") -> str:
    listed = ", ".join(("▸" if entry.startswith("▸") else "") + f"{{{entry.removeprefix('▸')}}}" for entry in entries)
    return f"{URL}login: {{{local}oidc: [{listed}]}}\nroutes: [{{name: a, upstream: 'http://a'}}]\n"


CASES = {
    "the same id twice": case(config(SSO, SSO.replace("id: ", "id: ▸", 1)), ("login.oidc[1].id", "is the id of")),
    "no issuer": case(config("▸id: sso, client_id: a"), ("login.oidc[0]", "issuer: is missing")),
    "without public_url": case(
        config("▸" + SSO).removeprefix(URL).replace("▸", "").replace("oidc: [", "oidc: ▸["),
        ("login.oidc", "needs public_url"),
    ),
    "plain http": case(config(SSO.replace("https", "▸http")), ("login.oidc[0].issuer", "plain http is for this")),
    "a query in the issuer": case(
        config(SSO.replace("https://sso.example.com", "▸'https://sso.example.com?a=b'")),
        ("login.oidc[0].issuer", "no query"),
    ),
    "the address of the description": case(
        config(SSO.replace("https://sso.example.com", "▸https://a/.well-known/openid-configuration")),
        ("login.oidc[0].issuer", "leave out"),
    ),
    "an id that is another way to log in": case(
        config(SSO.replace("id: sso", "id: ▸password")), ("login.oidc[0].id", "another way to log in")
    ),
    "an id with a slash": case(config(SSO.replace("id: sso", "id: ▸a/b")), ("login.oidc[0].id", "not an id")),
    "an unknown key": case(config(SSO + ", ▸scope: [openid]"), ("login.oidc[0].scope", 'did you mean "scopes"?')),
    "no openid": case(config(SSO + ", scopes: ▸[profile]"), ("login.oidc[0].scopes", 'has no "openid"')),
    "a shared algorithm": case(config(SSO + ", algorithms: [▸HS256]"), ("login.oidc[0].algorithms[0]", "refused")),
    "no algorithm": case(config(SSO + ", algorithms: [▸none]"), ("login.oidc[0].algorithms[0]", "refused")),
    "a way to prove without a secret": case(
        config(SSO + ", client_auth: ▸client_secret_post"), ("login.oidc[0].client_auth", "needs a client_secret")
    ),
    "a way to prove without a key": case(
        config(SSO + ", client_auth: ▸private_key_jwt"), ("login.oidc[0].client_auth", "needs a private_key")
    ),
    "a secret that is not shown": case(
        config(SSO + ", client_secret: a, client_auth: ▸none"), ("login.oidc[0].client_auth", "something to prove")
    ),
    "a key that is none": case(config(SSO + ", private_key: ▸abc"), ("login.oidc[0].private_key", "not a private key")),
    "a parameter of ours": case(
        config(SSO + ", parameters: {▸state: x}"), ("login.oidc[0].parameters.state", "the gateway's to say")
    ),
    "a claim with a space": case(config(SSO + ", claims: {groups: ▸'a b'}"), ("login.oidc[0].claims.groups", "path")),
    "a prefix with a comma": case(config(SSO + ", user_prefix: ▸'a,'"), ("login.oidc[0].user_prefix", "comma")),
    "github without a secret": case(
        config("▸id: gh, preset: github, client_id: a"), ("login.oidc[0]", "client_secret: is missing")
    ),
    "a grace without a unit": case(
        config(SSO + ", refresh_grace: ▸60"), ("login.oidc[0].refresh_grace", "not a duration")
    ),
    "every tenant": case(
        config("id: ms, preset: entra, issuer: ▸https://login.microsoftonline.com/common/v2.0, client_id: a"),
        ("login.oidc[0].issuer", "every tenant there is"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_breach_is_told_at_its_place(name: str) -> None:
    expected: Case = CASES[name]
    text, places = unmarked(expected.text)
    assert_case("gateway.yaml", problems_of(text), places, expected)


def test_five_lines_are_enough() -> None:
    (provider,) = settings_of(config(SSO + ", client_secret: $SECRET")).providers
    assert (provider.id, provider.name, provider.issuer) == ("sso", "sso", "https://sso.example.com")
    assert provider.scopes == ("openid", "profile", "email")
    assert (provider.user_prefix, provider.group_prefix) == ("", "")
    assert provider.client_secret == "$SECRET"
    assert "$SECRET" not in repr(provider)


def test_presets_fill_in_what_is_the_same_for_everybody() -> None:
    entries = (
        "id: gh, preset: github, client_id: a, client_secret: b, allow: {groups: [o]}",
        "id: google, preset: google, client_id: a, client_secret: b, allow: {claims: {hd: example.com}}",
        "id: gl, preset: gitlab, client_id: a, client_secret: b, allow: {groups: [o]}",
        "id: ms, preset: entra, issuer: https://login.microsoftonline.com/t1/v2.0, client_id: a, client_secret: b",
        "id: kc, preset: keycloak, issuer: https://sso.example.com/realms/main, client_id: a, client_secret: b",
    )
    settings = settings_of(config(*entries))
    assert settings.warnings == ()
    github, google, gitlab, entra, keycloak = settings.providers
    assert [p.name for p in settings.providers] == ["GitHub", "Google", "GitLab", "Microsoft", "Keycloak"]
    assert (github.kind, github.issuer, github.scopes[2]) == ("github", "https://github.com", "read:org")
    assert (google.issuer, google.claims.user) == ("https://accounts.google.com", "email")
    assert google.allow.claims == (("hd", frozenset({"example.com"})),)
    assert gitlab.issuer == "https://gitlab.com"
    assert entra.claims.email_verified == "xms_edov"
    assert not entra.any_tenant_issuer
    assert [p.user_prefix for p in settings.providers] == ["gh:", "google:", "gl:", "ms:", "kc:"]
    assert [p.group_prefix for p in settings.providers] == ["gh:", "", "gl:", "", ""]
    assert keycloak.claims.groups == "groups"


def test_what_is_written_counts_more_than_the_preset() -> None:
    entry = (
        "id: gh, preset: github, issuer: https://github.example.com/, client_id: a, client_secret: b, name: Ours, "
        "scopes: [read:user], claims: {user: id, other: {plan: plan.name}}, user_prefix: 'x-', group_prefix: ''"
    )
    settings = settings_of(config(entry, local=LOCAL))
    assert settings.warnings == ()
    (provider,) = settings.providers
    assert (provider.issuer, provider.name) == ("https://github.example.com", "Ours")
    assert (provider.scopes, provider.claims.user, provider.claims.name) == (("read:user",), "id", "name")
    assert provider.claims.other == (("plan", "plan.name"),)
    assert (provider.user_prefix, provider.group_prefix) == ("x-", "")


def test_logins_are_refreshed_unless_that_is_turned_off() -> None:
    (default,) = settings_of(config(SSO)).providers
    assert (default.refresh, default.refresh_grace) == (True, 3600.0)
    (strict,) = settings_of(config(SSO + ", refresh_grace: 0s")).providers
    assert (strict.refresh, strict.refresh_grace) == (True, 0.0)
    (off,) = settings_of(config(SSO + ", refresh: false")).providers
    assert off.refresh is False


def test_beside_local_users_the_names_of_a_provider_s_users_get_its_id_in_front() -> None:
    (provider,) = settings_of(config(SSO, local=LOCAL)).providers
    assert provider.user_prefix == "sso:"


@pytest.mark.parametrize(
    ("entries", "local", "key", "text"),
    [
        ((SSO + ", user_prefix: ''",), LOCAL, "login.oidc[0].user_prefix", "the same people"),
        (
            (SSO + ", user_prefix: 'a:'", SSO.replace("id: sso", "id: b") + ", user_prefix: 'a:b'"),
            "",
            "login.oidc[0].user_prefix",
            "the same people",
        ),
        (("id: gh, preset: github, client_id: a, client_secret: b",), "", "login.oidc[0]", "everybody in the world"),
        (("id: g, preset: google, client_id: a, client_secret: b",), "", "login.oidc[0]", "everybody in the world"),
        (
            (SSO + ", insecure_unverified_email: true",),
            "",
            "login.oidc[0].insecure_unverified_email",
            "can write another's address",
        ),
    ],
)
def test_what_is_dangerous_is_warned_of(entries: tuple[str, ...], local: str, key: str, text: str) -> None:
    found = [problem for problem in settings_of(config(*entries, local=local)).warnings if problem.key == key]
    assert found
    assert text in found[0].text


def test_with_a_provider_somebody_can_log_in() -> None:
    assert settings_of(config(SSO)).warnings == ()


def test_secrets_come_from_outside_and_are_in_no_message() -> None:
    text = config(SSO + ', client_secret: "${SECRET}", client_auth: none')
    assert "hunter2" not in "".join(map(str, problems_of(text)))
    assert settings_of(config(SSO + ', client_secret: "${SECRET}"')).providers[0].client_secret == "hunter2-hunter2"
