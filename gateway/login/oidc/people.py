"""From a provider's claims to an `Identity`: bounded texts, verified addresses, names that are nobody else's."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace

from gateway.core.claims import as_texts, claim_at
from gateway.core.identity import Identity
from gateway.core.provider import Provider
from gateway.errors import LoginDenied

MAX_TEXT = 256
MAX_GROUPS = 500
MAX_OTHER = 1024
_EMAIL = re.compile(r"[^\s@\[\]?\"(),:;<>\\]+@[^\s@\[\]?\"(),:;<>\\*]+")
_log = logging.getLogger("gateway.login")

Claims = Mapping[str, object]


def is_whole(provider: Provider, claims: Claims) -> bool:
    """Tell whether the claims hold everything that an identity is made of, so that nothing has to be asked for."""
    return all(claim_at(claims, path) is not None for path in provider.claims.paths())


def admitted(provider: Provider, claims: Claims, more: Claims) -> Identity:
    """Return who somebody is. Raises LoginDenied for nobody, or nobody we let in.

    ``claims`` are those of the ID token, ``more`` those of the userinfo endpoint, which fill gaps.
    """
    paths = provider.claims
    email = _verified_email(provider, claims, more)
    identity = Identity(
        user=_user(provider, claims, more, email),
        name=_text(_first(claims, more, paths.name)),
        email=email,
        groups=_groups(provider, _first(claims, more, paths.groups)),
        method=provider.id,
        claims=_other(provider, claims, more),
    )
    missing = provider.allow.missing(identity, {**more, **claims})
    if missing:
        raise LoginDenied(f"{identity.user!r} is not allowed by {missing}")
    # What tells users of one source from those of another is put in front last: `allow` speaks the provider's language.
    return replace(
        identity,
        user=provider.user_prefix + identity.user,
        groups=tuple(provider.group_prefix + group for group in identity.groups),
    )


def _first(claims: Claims, more: Claims, path: str) -> object:
    found = claim_at(claims, path)
    return claim_at(more, path) if found is None else found


def _user(provider: Provider, claims: Claims, more: Claims, email: str) -> str:
    path = provider.claims.user
    if path == provider.claims.email:
        if not email:
            raise LoginDenied(f"no verified address in {path!r}, which is to name the user")
        return email
    value = _first(claims, more, path)
    user = as_texts(value)[0] if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not user or _text(user) != user:
        raise LoginDenied(f"no usable user name in the claim {path!r}")
    return user


def _verified_email(provider: Provider, claims: Claims, more: Claims) -> str:
    """Return the address, lower case, if the provider says that it is verified; else nothing."""
    paths = provider.claims
    source, other = (claims, more) if claim_at(claims, paths.email) is not None else (more, claims)
    address = claim_at(source, paths.email)
    if not isinstance(address, str) or len(address) > MAX_TEXT or not address.isprintable():
        return ""
    if not _EMAIL.fullmatch(address):
        return ""
    verified = claim_at(source, paths.email_verified)
    if verified is None and claim_at(other, paths.email) in (None, address):
        # Told in the other place, and not about another address.
        verified = claim_at(other, paths.email_verified)
    if provider.unverified_email or (as_texts(verified)[:1] or [""])[0] in ("true", "1"):
        return address.lower()
    return ""


def _groups(provider: Provider, value: object) -> tuple[str, ...]:
    found = [group for group in as_texts(value) if group and _text(group) == group and "," not in group]
    # A comma would make two groups of one where a header lists them.
    if len(found) < len(as_texts(value)) or len(found) > MAX_GROUPS:
        _log.warning("the provider %s named groups that cannot be used; they were left out", provider.id)
    return tuple(dict.fromkeys(found[:MAX_GROUPS]))


def _other(provider: Provider, claims: Claims, more: Claims) -> dict[str, object]:
    """Return the further claims that are wanted, and the provider's own name for this person."""
    found: dict[str, object] = {"sub": claims.get("sub", "")}
    for name, path in provider.claims.other:
        # Texts, numbers and truth values stay what they are, for policies tell them apart.
        value = _first(claims, more, path)
        texts = as_texts(value)
        entries = len(value) if isinstance(value, list) else 1
        joined = ",".join(texts)
        if joined and len(texts) == entries and len(joined) <= MAX_OTHER and joined.isprintable():
            found[name] = value
    return found


def _text(value: object) -> str:
    """Return a text that may stand in a header, a page or a log line; nothing for any other value."""
    if not isinstance(value, str) or not value.isprintable():
        return ""
    return value.strip()[:MAX_TEXT]
