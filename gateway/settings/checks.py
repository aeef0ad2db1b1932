"""What must hold between the keys of the configuration. Each check is a function in the table at the foot.

A check looks only at what is sound by itself, so that one mistake does not cause messages about others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.core.cookie import HELPER_COOKIES, MAX_PARTS, PART_BYTES, TRANSFER_COOKIE_START
from gateway.core.header_name import normalised_text
from gateway.core.token_policy import LONGEST, SHORTEST
from gateway.settings.allow_checks import check_allow
from gateway.settings.document import Found
from gateway.settings.forward_auth_checks import check_forward_auth
from gateway.settings.model import Config
from gateway.settings.program_checks import check_programs
from gateway.settings.provider_checks import check_providers
from gateway.settings.route_checks import check_route, check_routes_together
from gateway.settings.secrets import NEW_KEY
from gateway.settings.store_checks import check_store
from gateway.settings.validation import Draft
from gateway.settings.values import size_text

ConfigDraft = Draft[Config]
Check = Callable[[ConfigDraft], Iterator[Found]]


def check_keys(draft: ConfigDraft) -> Iterator[Found]:
    """Ask for a key, and for none twice: that would be a slip at changing them."""
    path = ("session", "keys")
    if not draft.sound(*path):
        return
    keys = draft.config.session.keys
    if not keys:
        text = "should hold at least one key" if draft.document.get(path) == [] else "is missing"
        yield Found(path, f"{text}; {NEW_KEY}")
    for index, key in enumerate(keys):
        if key in keys[:index]:
            yield Found((*path, index), f"the same key as session.keys[{keys.index(key)}]")


def check_listeners(draft: ConfigDraft) -> Iterator[Found]:
    """Keep every listener to an address of its own, health and metrics above all."""
    if not draft.sound("listen"):
        return
    listen = draft.config.listen
    for index, address in enumerate(listen):
        if any(address.overlaps(other) for other in listen[:index]):
            yield Found(("listen", index), f"{address} is already listened on")
    admin = draft.config.admin_listen
    if draft.sound("admin_listen") and admin and any(admin.overlaps(address) for address in listen):
        text = f"{admin} is the public listener; health and metrics are not for everybody: choose another port"
        yield Found(("admin_listen",), text)


def is_secure(draft: ConfigDraft) -> bool:
    """Tell whether the session cookie travels on https alone."""
    secure = draft.config.session.cookie.secure
    return draft.config.public_url.scheme == "https" if secure is None else secure


def check_cookie(draft: ConfigDraft) -> Iterator[Found]:
    """Check what browsers demand of SameSite and of the prefixes (RFC 6265bis §4.1.3, §5.6)."""
    if not draft.sound("session", "cookie") or not draft.sound("public_url"):
        return
    cookie, secure = draft.config.session.cookie, is_secure(draft)
    path = ("session", "cookie")
    if bare_cookie_name(cookie.name).startswith((*HELPER_COOKIES, TRANSFER_COOKIE_START)):
        yield Found((*path, "name"), "is the name of another of the gateway's own cookies; choose another")
    if cookie.same_site == "none" and not secure:
        yield Found((*path, "same_site"), "browsers take `none` from secure cookies only: public_url is not https")
    if cookie.name.startswith(("__Host-", "__Secure-")) and not secure:
        yield Found((*path, "name"), "browsers take this prefix from secure cookies only: public_url is not https")
    if cookie.name.startswith("__Host-") and (cookie.domain or cookie.path != "/"):
        yield Found((*path, "name"), 'browsers take __Host- only without a domain and with the path "/"')


def bare_cookie_name(name: str) -> str:
    """Return a cookie's name without the prefix that browsers know."""
    return name.removeprefix("__Host-").removeprefix("__Secure-")


def check_cookie_domain(draft: ConfigDraft) -> Iterator[Found]:
    """See to it that a login holds on every host: the cookie's domain has to cover them all."""
    domain = draft.config.session.cookie.domain
    if not draft.sound("session", "cookie") or domain is None:
        return
    public_host = draft.config.public_url.host
    if draft.sound("public_url") and not is_within(public_host, domain):
        yield Found(
            ("session", "cookie", "domain"), f'"{domain}" does not cover "{public_host}", the host of public_url'
        )
    for index, route in enumerate(draft.config.routes):
        if route.host and not is_within(route.host.removeprefix("*."), domain):
            path = ("routes", draft.position("routes", index), "host")
            yield Found(path, f'"{route.host}" is not covered by session.cookie.domain "{domain}"')


def is_within(host: str, domain: str) -> bool:
    """Tell whether a cookie of ``domain`` is sent to ``host`` (RFC 6265bis §5.1.3)."""
    return host == domain or host.endswith(f".{domain}")


def check_identity(draft: ConfigDraft) -> Iterator[Found]:
    """Refuse identity headers that apps would take for one."""
    seen: dict[str, str] = {}
    for name in draft.config.identity.headers if draft.sound("identity", "headers") else ():
        other = seen.setdefault(normalised_text(name), name)
        if other != name:
            yield Found(("identity", "headers", name), f'apps cannot tell it from "{other}"', at_key=True)


def check_token(draft: ConfigDraft) -> Iterator[Found]:
    """Check the signed token's header, times and audiences."""
    if not draft.sound("identity", "token"):
        return
    token, path = draft.config.identity.token, ("identity", "token")
    if token is None:
        for index, route in enumerate(draft.config.routes):
            if isinstance(route.token, str):
                text = "has no effect: identity.token is not set"
                yield Found(("routes", draft.position("routes", index), "token"), text)
        return
    headers = draft.config.identity.headers if draft.sound("identity", "headers") else {}
    if other := next((name for name in headers if normalised_text(name) == normalised_text(token.header)), ""):
        yield Found((*path, "header"), f'apps cannot tell it from "{other}" of identity.headers')
    if not SHORTEST <= token.lifetime <= LONGEST:
        yield Found((*path, "lifetime"), "should be between 2s and 1h: a token cannot be taken back")
    elif token.rotate < token.lifetime:
        yield Found((*path, "rotate"), "is shorter than identity.token.lifetime: old keys would pile up")


def check_limits(draft: ConfigDraft) -> Iterator[Found]:
    """Compare parts with the whole, and the session cookie with what is accepted of cookies."""
    limits = draft.config.limits
    whole = limits.head
    for name in ("target", "line", "cookie"):
        if draft.sound("limits", name) and draft.sound("limits", "head") and getattr(limits, name) > whole:
            yield Found(("limits", name), f"is over limits.head ({size_text(whole)}), which holds it")
    if not draft.sound("session", "cookie"):
        return
    budget, path = draft.config.session.cookie.budget, ("session", "cookie", "budget")
    if budget > MAX_PARTS * PART_BYTES:
        yield Found(path, f"is over {MAX_PARTS * PART_BYTES} bytes, which is what {MAX_PARTS} cookies hold")
    elif draft.sound("limits", "cookie") and budget > limits.cookie:
        yield Found(path, "is over limits.cookie: browsers would be refused with the cookie they were given")


def check_routes(draft: ConfigDraft) -> Iterator[Found]:
    """Each route by itself and with what surrounds it, then all together."""
    for index, route in enumerate(draft.config.routes):
        yield from check_route(draft, draft.position("routes", index), route)
    yield from check_routes_together(draft)


CHECKS: tuple[Check, ...] = (
    check_keys,
    check_listeners,
    check_store,
    check_cookie,
    check_cookie_domain,
    check_providers,
    check_programs,
    check_identity,
    check_token,
    check_limits,
    check_routes,
    check_allow,
    check_forward_auth,
)


def check(draft: ConfigDraft) -> list[Found]:
    """Return everything that does not hold between the sound parts of a configuration."""
    return [found for each in CHECKS for found in each(draft)]
