"""Proving to the provider who we are, in each of its ways."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import unquote_plus

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from gateway.core.provider import Provider
from gateway.errors import ConfigError
from gateway.login.oidc.client_auth import ASSERTION_TYPE, ClientAuth, signing_key
from gateway.login.oidc.methods import make_logins
from tests.support.provider import new_key

NOW = 1_800_000_000.0
AUDIENCE = "https://sso.example.com"


def auth(**more: str) -> ClientAuth:
    return ClientAuth(Provider("sso", AUDIENCE, "my client", **more), lambda size: b"r" * size, lambda: NOW)  # type: ignore[arg-type]


def pem(kind: str) -> str:
    return new_key(kind).as_pem(private=True).decode()


@pytest.mark.parametrize(
    ("more", "offered", "method"),
    [
        ({"client_secret": "s"}, ("client_secret_basic", "client_secret_post"), "client_secret_basic"),
        ({"client_secret": "s"}, ("client_secret_post",), "client_secret_post"),
        ({"client_secret": "s"}, ("private_key_jwt",), "client_secret_basic"),
        ({"client_secret": "s", "client_auth": "client_secret_post"}, (), "client_secret_post"),
        ({}, ("client_secret_basic",), "none"),
    ],
)
def test_the_way_is_what_is_configured_else_what_fits(
    more: dict[str, str], offered: tuple[str, ...], method: str
) -> None:
    assert auth(**more).method(offered) == method


def test_basic_encodes_both_parts_first() -> None:
    form: dict[str, str] = {}
    headers = auth(client_secret="a:b c+d%é").apply(form, ("client_secret_basic",), AUDIENCE)
    client, _, secret = b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
    assert (unquote_plus(client), unquote_plus(secret)) == ("my client", "a:b c+d%é")
    assert form == {}


def test_post_puts_the_secret_into_the_form_and_a_public_client_only_its_id() -> None:
    form: dict[str, str] = {}
    assert auth(client_secret="s").apply(form, ("client_secret_post",), AUDIENCE) == {}
    assert form == {"client_id": "my client", "client_secret": "s"}
    form = {}
    assert auth().apply(form, (), AUDIENCE) == {}
    assert form == {"client_id": "my client"}


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS256"), ("EC", "ES256"), ("OKP", "EdDSA")])
def test_a_private_key_signs_a_short_lived_assertion_for_this_provider(kind: str, algorithm: str) -> None:
    text = pem(kind)
    form: dict[str, str] = {}
    assert auth(private_key=text).apply(form, (), AUDIENCE) == {}
    key, found = signing_key(text)
    assert found == algorithm
    assert form["client_assertion_type"] == ASSERTION_TYPE
    token = jwt.decode(form["client_assertion"], key, algorithms=["RS256", "ES256"]) if kind != "OKP" else None
    if token:
        claims = token.claims
        assert (claims["iss"], claims["sub"], claims["aud"]) == ("my client", "my client", AUDIENCE)
        assert claims["exp"] - claims["iat"] == 60
        assert claims["jti"]
        assert token.header["kid"] == key.thumbprint()


def test_the_key_may_have_another_name_at_the_provider() -> None:
    form: dict[str, str] = {}
    text = pem("EC")
    auth(private_key=text, key_id="key-7").apply(form, (), AUDIENCE)
    assert jwt.decode(form["client_assertion"], signing_key(text)[0]).header["kid"] == "key-7"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        new_key("EC").as_pem(private=False).decode(),
        ECKey.generate_key("secp256k1").as_pem(private=True).decode(),
        RSAKey.generate_key(2048).as_pem(private=True, password="p").decode(),
        OctKey.generate_key(256).as_dict(private=True)["k"],
    ],
)
def test_a_key_that_cannot_sign_is_told_at_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match="sso: not a private key in PEM"):
        make_logins([Provider("sso", AUDIENCE, "client", private_key=text or "-")])
