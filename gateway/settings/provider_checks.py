"""What must hold between the keys of identity providers, and what hardly is meant."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.settings.document import Found, KeyPath
from gateway.settings.model import Config
from gateway.settings.provider_model import ProviderPart
from gateway.settings.providers import is_any_tenant, issuer_of, preset_of, user_prefix
from gateway.settings.validation import Draft

PATH: KeyPath = ("login", "oidc")


def check_providers(draft: Draft[Config]) -> Iterator[Found]:
    """Each provider by itself, then all together, then the address they lead back to."""
    if not draft.sound(*PATH):
        return
    providers = draft.config.login.oidc
    seen: dict[str, int] = {}
    for index, part in enumerate(providers):
        path = (*PATH, index)
        if seen.setdefault(part.id, index) != index:
            yield Found((*path, "id"), f'"{part.id}" is the id of login.oidc[{seen[part.id]}] already')
        yield from _check_issuer(path, part)
        yield from _check_secrets(path, part)
        if preset_of(part).kind == "oidc" and part.scopes is not None and "openid" not in part.scopes:
            yield Found((*path, "scopes"), 'has no "openid", without which there is no login')
    if providers and draft.sound("public_url") and "public_url" not in draft.config.model_fields_set:
        yield Found(PATH, "needs public_url: it is where providers send people back to")


def _check_issuer(path: KeyPath, part: ProviderPart) -> Iterator[Found]:
    if not issuer_of(part):
        yield Found(path, "issuer: is missing")
    elif is_any_tenant(part) and "tid" not in part.allow.claims:
        text = "is for the people of every tenant there is: name yours, as `allow: {claims: {tid: [TENANT-ID]}}`"
        yield Found((*path, "issuer"), text)


def _check_secrets(path: KeyPath, part: ProviderPart) -> Iterator[Found]:
    """Compare the way in which we prove to be ourselves with what is there to prove it with."""
    if preset_of(part).kind == "github":
        if not part.client_secret:
            yield Found(path, "client_secret: is missing: GitHub wants one")
        if part.private_key or part.client_auth not in (None, "client_secret_post"):
            yield Found(path, "GitHub knows no other way to prove to be the client than its secret")
        return
    if part.client_secret and part.private_key:
        yield Found((*path, "private_key"), "stands beside a client_secret: one of both is enough")
    if part.client_auth == "private_key_jwt" and not part.private_key:
        yield Found((*path, "client_auth"), "needs a private_key")
    if part.client_auth in ("client_secret_basic", "client_secret_post") and not part.client_secret:
        yield Found((*path, "client_auth"), "needs a client_secret")
    if part.client_auth == "none" and (part.client_secret or part.private_key):
        yield Found((*path, "client_auth"), "is `none`, but there is something to prove it with")


def warn_providers(draft: Draft[Config]) -> Iterator[Found]:
    """Name doors that stand open to the whole world, addresses that prove nothing, and names that may be two people."""
    config = draft.config
    alone = is_alone(config)
    for index, part in enumerate(config.login.oidc):
        path, preset = (*PATH, index), preset_of(part)
        if preset.open_to_all and issuer_of(part) == preset.issuer and part.allow.is_empty():
            text = f"has no `allow`: everybody in the world who has an account at {preset.title} can log in"
            yield Found(path, text)
        if part.insecure_unverified_email:
            text = "is true: whoever can write another's address at the provider is that other here"
            yield Found((*path, "insecure_unverified_email"), text)
        mine = user_prefix(part, alone=alone)
        others = [user_prefix(other, alone=alone) for other in config.login.oidc if other is not part]
        # Local users' names have no prefix; that one of them begins like this one's is the operator's own doing.
        shared = (config.login.local and not mine) or any(mine.startswith(o) or o.startswith(mine) for o in others)
        if shared:
            text = f"lets users of {part.id} have names of another source's: to apps and rules they are the same people"
            yield Found((*path, "user_prefix"), text)


def is_alone(config: Config) -> bool:
    """Tell whether a provider would be the only source of users."""
    return len(config.login.oidc) == 1 and config.login.local is None
