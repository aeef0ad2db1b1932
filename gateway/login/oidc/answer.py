"""What comes back through the browser: a code or an error, from the provider that was asked (RFC 6749 §4.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.errors import GrantOver, LoginDenied, LoginRefused, LoginTooWeak, ProviderDown

MAX_CODE = 4096
NOBODY = frozenset(
    {
        "access_denied", "login_required", "consent_required", "interaction_required", "account_selection_required",
    }
)  # fmt: skip
"""Errors that say that nobody logged in (RFC 6749 §4.1.2.1, OIDC Core §3.1.2.6)."""
TOO_WEAK = "unmet_authentication_requirements"
"""The error that says that nobody logged in as was asked for (OIDC Unmet Authentication Requirements §3)."""
LATER = frozenset({"server_error", "temporarily_unavailable"})


def code_of(answer: Mapping[str, str], is_issuer: Callable[[str], bool], *, named: bool) -> str:
    """Return the code in an answer.

    ``is_issuer`` tells whether the provider may call itself so; ``named`` that it always calls itself
    something (RFC 9207 §2.4). Raises LoginDenied for an error that says nobody, ProviderDown for a passing one, and
    LoginRefused for anything else.
    """
    issuer = answer.get("iss")
    if (named and issuer is None) or (issuer is not None and not is_issuer(issuer)):
        raise LoginRefused(f"the answer is of another issuer (iss): {str(issuer)[:200]!r}")
    if "error" in answer:
        raise answer_error(answer)
    code = answer.get("code", "")
    if not code or len(code) > MAX_CODE or not code.isprintable():
        raise LoginRefused("an answer without a usable code")
    return code


def answer_error(answer: Mapping[str, str]) -> LoginRefused | ProviderDown:
    """Return the error that a provider's error is to us; its words are for the log alone."""
    error = answer["error"][:100]
    text = f"the provider says {error!r}: {answer.get('error_description', '')[:200]!r}"
    if error in NOBODY:
        return LoginDenied(text)
    if error == TOO_WEAK:
        return LoginTooWeak(text)
    return ProviderDown(text) if error in LATER else LoginRefused(text)


def token_error(status: int, fields: Mapping[str, object]) -> LoginRefused | ProviderDown:
    """Return the error that an answer of the token endpoint other than 200 is (RFC 6749 §5.2)."""
    error = str(fields.get("error", ""))[:100]
    text = f"the token endpoint answered {status} {error!r}: {str(fields.get('error_description', ''))[:200]!r}"
    # An invalid grant is the browser's: a code that was used, is over, or is of another login. Of what a server that
    # is out of order says, nothing is believed.
    return GrantOver(text) if error == "invalid_grant" and status < 500 else ProviderDown(text)
