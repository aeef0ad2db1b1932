"""What a provider says of itself: used only where it is whole, safe, and the one that was asked."""

from __future__ import annotations

import pytest

from gateway.core.provider import Provider
from gateway.errors import ProviderDown
from gateway.login.oidc.metadata import is_safe_url, metadata_url, parse_metadata

ISSUER = "https://sso.example.com/realms/main"
WHOLE = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/certs",
}
ENTRA = "https://login.microsoftonline.com/organizations/v2.0"
TEMPLATE = "https://login.microsoftonline.com/{tenantid}/v2.0"
TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"


def provider(issuer: str = ISSUER, **more: object) -> Provider:
    return Provider("sso", issuer, "client", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("issuer", [ISSUER, ISSUER + "/"])
def test_the_description_is_below_the_issuer(issuer: str) -> None:
    assert metadata_url(issuer) == f"{ISSUER}/.well-known/openid-configuration"


def test_what_is_left_out_has_the_defaults_of_the_specification() -> None:
    found = parse_metadata(WHOLE, provider())
    assert (found.algorithms, found.auth_methods) == (("RS256",), ("client_secret_basic",))
    assert (found.userinfo_endpoint, found.end_session_endpoint, found.names_itself) == ("", "", False)


def test_algorithms_are_those_of_the_provider_that_are_safe_or_those_configured() -> None:
    fields = {**WHOLE, "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", "RS256", "XX"]}
    assert parse_metadata(fields, provider()).algorithms == ("RS256", "ES256")
    assert parse_metadata(fields, provider(algorithms=("PS256",))).algorithms == ("PS256",)


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": ISSUER + "/"},
        {"issuer": ISSUER.upper()},
        {"issuer": [ISSUER]},
        {"token_endpoint": ""},
        {"token_endpoint": "//sso.example.com/token"},
        {"token_endpoint": "http://sso.example.com/token"},
        {"token_endpoint": "http://127.0.0.1/token"},
        {"jwks_uri": "https://sso.example.com/certs#x"},
        {"jwks_uri": "https://sso.example.com:0/"},
        {"authorization_endpoint": "https://sso.example.com/a b"},
        {"authorization_endpoint": "https://sso.example.com/\r\nSet-Cookie: x"},
        {"end_session_endpoint": "javascript:alert(1)"},
    ],
)
def test_anything_odd_makes_it_as_good_as_down(change: dict[str, object]) -> None:
    with pytest.raises(ProviderDown) as caught:
        parse_metadata({**WHOLE, **change}, provider())
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("url", "issuer", "safe"),
    [
        ("https://a.example/x", "https://b.example", True),
        ("http://127.0.0.1:80/x", "http://127.0.0.1:80", True),
        ("http://[::1]/x", "http://localhost", True),
        ("http://10.0.0.1/x", "http://localhost", False),
        ("https://user:password@a.example/", "https://a.example", False),
        ("https:///x", "https://a.example", False),
        ("https://[::1", "https://a.example", False),
    ],
)
def test_endpoints_are_on_https_or_with_their_issuer_on_this_machine(url: str, issuer: str, safe: bool) -> None:
    assert is_safe_url(url, issuer) is safe


def test_an_issuer_with_a_place_for_the_tenant_is_filled_in_by_the_token_s_tenant() -> None:
    known = provider(ENTRA, any_tenant_issuer=True)
    found = parse_metadata({**WHOLE, "issuer": TEMPLATE}, known)
    assert found.issuer_of({"tid": TENANT}) == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert found.may_be(f"https://login.microsoftonline.com/{TENANT}/v2.0")
    assert not found.may_be(f"https://evil.example/{TENANT}/v2.0")
    assert not found.may_be(TEMPLATE)
    for tenant in (None, "", "a/../b", "a.b", 7, "é"):
        assert found.issuer_of({"tid": tenant}) == ""


@pytest.mark.parametrize("issuer", ["https://evil.example/{tenantid}/v2.0", "{tenantid}", TEMPLATE + "/x"])
def test_a_place_for_the_tenant_is_no_place_for_another_address(issuer: str) -> None:
    with pytest.raises(ProviderDown):
        parse_metadata({**WHOLE, "issuer": issuer}, provider(ENTRA, any_tenant_issuer=True))
    with pytest.raises(ProviderDown):
        parse_metadata({**WHOLE, "issuer": TEMPLATE}, provider(ENTRA))
