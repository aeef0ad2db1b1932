"""The values of an identity provider's settings: from what YAML says to what is used, or a Misfit."""

from __future__ import annotations

import re

from gateway.core.provider import ALGORITHMS
from gateway.core.route import LOOPBACK_NAMES
from gateway.settings.addresses import host_name
from gateway.settings.misfit import Misfit, not_a
from gateway.settings.text import nearest
from gateway.settings.values import NAME_PATTERN, text

ISSUER_PATTERN = r"https?://[^?#@\s]+"
SCOPE_PATTERN = r"[!#-\[\]-~]{1,200}"
CLAIM_NAME_PATTERN = r"[A-Za-z0-9_-]{1,64}"
PROMPTS = ("login", "consent", "select_account")
PRESET_NAMES = ("github", "google", "gitlab", "entra", "keycloak")
MAX_PREFIX = 64

TAKEN_IDS = ("password", "local", "basic", "bearer", "token", "api-key", "gateway", "_gateway")
"""Ids that would be taken for another way to log in."""
OWN_PARAMETERS = frozenset(
    {
        "response_type", "response_mode", "client_id", "client_secret", "redirect_uri", "scope", "state", "nonce",
        "code_challenge", "code_challenge_method", "prompt", "acr_values", "max_age", "request", "request_uri",
    }
)  # fmt: skip
"""Parameters of an authorization request that are the gateway's to say."""

_NAME = re.compile(NAME_PATTERN)
_ISSUER = re.compile(
    r"(https?)://(\[[^\]/]*\]|[^/:?#@\[\]\s]+)(?::([0-9]{1,5}))?((?:/[A-Za-z0-9\-._~!$&'()*+,;=:%]*)*)"
)
_SCOPE = re.compile(SCOPE_PATTERN)
_CLAIM_NAME = re.compile(CLAIM_NAME_PATTERN)
_PEM = re.compile(r"-----BEGIN ((?:RSA |EC )?PRIVATE KEY)-----\s.*\s-----END \1-----\s*", re.DOTALL)


def provider_id(value: object) -> str:
    """Return the id of a provider, which is part of its callback's address."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise not_a("an id: write a to z, 0 to 9, - and _, 64 at most")
    if value in TAKEN_IDS:
        raise Misfit(f'"{value}" is the name of another way to log in; choose another id')
    return value


def issuer(value: object) -> str:
    """Return an issuer just as it is written, for the provider must call itself exactly that."""
    match = _ISSUER.fullmatch(value) if isinstance(value, str) else None
    if match is None or not isinstance(value, str):
        if isinstance(value, str) and ("@" in value or "?" in value):
            raise Misfit("an issuer has no user name and no query: write https://sso.example.com/realms/main")
        raise not_a("an issuer: write it as the provider does, as https://sso.example.com/realms/main")
    if value.endswith("/.well-known/openid-configuration"):
        raise not_a("an issuer: leave out /.well-known/openid-configuration")
    if match[3] and not 0 < int(match[3]) <= 65535:
        raise not_a("an issuer: its port is out of range")
    host = host_name(match[2].lower())
    if match[1] == "http" and host not in LOOPBACK_NAMES:
        raise not_a("an issuer on https; plain http is for this machine alone")
    return value


def client_text(value: object) -> str:
    """Return a client id (RFC 6749 §A.1)."""
    if isinstance(value, str) and 0 < len(value) <= 512 and value.isascii() and value.isprintable():
        return value
    raise Misfit("should be text of 1 to 512 printable ASCII characters, as the provider gave it")


def client_secret(value: object) -> str:
    """Return a client secret (RFC 6749 §A.2); no message repeats it."""
    if isinstance(value, str) and 0 < len(value) <= 4096 and value.isprintable():
        return value
    raise Misfit("should be text of 1 to 4096 printable characters, as the provider gave it; put it in quotes")


def private_key(value: object) -> str:
    """Return a private key in PEM; no message repeats it. Whether it can be used is seen at the start."""
    if isinstance(value, str) and _PEM.fullmatch(value.strip()):
        return value.strip() + "\n"
    raise Misfit("not a private key in PEM, not encrypted: write ${file:/run/secrets/key.pem}")


def scope(value: object) -> str:
    """Return one scope (RFC 6749 §3.3)."""
    if isinstance(value, str) and _SCOPE.fullmatch(value):
        return value
    raise not_a("a scope: write one word for each entry of the list")


def acr_value(value: object) -> str:
    """Return the name of a way to log in; several stand in a line with spaces between them (OIDC Core §3.1.2.1)."""
    if isinstance(value, str) and _SCOPE.fullmatch(value):
        return value
    raise not_a("a value of acr: write one for each entry of the list, without spaces and quotes")


def claim_path(value: object) -> str:
    """Return the path of a claim, as ``realm_access.roles``."""
    path = text(value)
    if " " in path or path.startswith(".") or path.endswith(".") or ".." in path:
        raise not_a("the path of a claim: write groups or realm_access.roles")
    return path


def claim_name(value: object) -> str:
    """Return our own name of a claim, as ``{claims.NAME}`` uses it."""
    if isinstance(value, str) and _CLAIM_NAME.fullmatch(value):
        return value
    raise not_a("a name for a claim: write A to Z, a to z, 0 to 9, - and _, 64 at most")


def prefix(value: object) -> str | None:
    """Return what goes in front of names, or None for ``auto``."""
    if value == "auto":
        return None
    if value == "" or (isinstance(value, str) and "," not in value and len(text(value)) <= MAX_PREFIX):
        return str(value)
    raise not_a(f"auto or a prefix: write up to {MAX_PREFIX} characters without a comma, as sso:")


def parameter_name(value: object) -> str:
    """Return the name of a further parameter of the authorization request."""
    if not isinstance(value, str) or not _SCOPE.fullmatch(value):
        raise not_a("the name of a parameter")
    if value in OWN_PARAMETERS:
        raise Misfit(f'"{value}" is the gateway\'s to say; some have a key of their own')
    return value


def algorithm(value: object) -> str:
    """Return the name of a signature algorithm."""
    if isinstance(value, str) and value in ALGORITHMS:
        return value
    if isinstance(value, str) and (value.upper().startswith("HS") or value.lower() == "none"):
        raise not_a("an algorithm that proves anything here: keys that both sides know, or none at all, are refused")
    guess = nearest(value.upper(), ALGORITHMS) if isinstance(value, str) else ""
    raise not_a(f"one of {', '.join(ALGORITHMS)}{guess}")
