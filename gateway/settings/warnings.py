"""What works, but is hardly what is meant, or less safe than it could be. Each is a function in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.core.cookie import MAX_AGE_CAP
from gateway.core.policy import is_under
from gateway.core.route import GATEWAY_PREFIX
from gateway.settings.allow_checks import warn_allow
from gateway.settings.checks import ConfigDraft, is_secure
from gateway.settings.document import Found
from gateway.settings.forward_auth_checks import warn_forward_auth
from gateway.settings.headers import names_placeholder
from gateway.settings.letter_case import warn_letter_case
from gateway.settings.program_checks import warn_programs
from gateway.settings.provider_checks import warn_providers
from gateway.settings.shared_host import is_local, warn_shared_host
from gateway.settings.step_up import warn_step_up


def warn_transport(draft: ConfigDraft) -> Iterator[Found]:
    """Name what travels in clear text, and a public_url that does not fit what listens."""
    config = draft.config
    url = config.public_url
    local = is_local(url.host)
    if url.scheme == "https" and not config.tls and not config.trusted_proxies:
        text = "is https, but nothing here speaks TLS: set `tls`, or `trusted_proxies` to the proxy in front that does"
        yield Found(("public_url",), text)
    if url.scheme == "http" and config.tls:
        yield Found(("public_url",), "is http, but `tls` is set: browsers are sent to an address that does not answer")
    elif url.scheme == "http" and not local:
        yield Found(("public_url",), "is http: passwords and sessions travel in clear text")
    ports = {address.port for address in config.listen}
    if "public_url" not in config.model_fields_set and url.port not in ports:
        yield Found(
            ("listen",), f"has another port than {url}, where browsers are sent as long as public_url is not set"
        )


def warn_admin(draft: ConfigDraft) -> Iterator[Found]:
    """Name a token that nothing asks for."""
    if draft.config.admin_token and draft.config.admin_listen is None:
        yield Found(("admin_token",), "has no effect: admin_listen is null")


def warn_proxies(draft: ConfigDraft) -> Iterator[Found]:
    """Name a trust in everybody: it makes `networks` and throttling worthless."""
    for index, network in enumerate(draft.config.trusted_proxies):
        if network.prefixlen == 0:
            yield Found(("trusted_proxies", index), "believes everybody: any client can claim any address")


KNOWN_COOKIES = {
    "session": "Flask's, Starlette's and cookie-session's", "sessionid": "Django's", "csrftoken": "Django's",
    "connect.sid": "Express's", "sid": "Frappe's and others'", "phpsessid": "PHP's", "jsessionid": "Java servers'",
    "laravel_session": "Laravel's", "xsrf-token": "Angular's and Laravel's", "_xsrf": "Tornado's and Jupyter's",
    "rack.session": "Rack's", "_session_id": "Rails'", "ci_session": "CodeIgniter's", "cakephp": "CakePHP's",
    "asp.net_sessionid": "ASP.NET's", ".aspnetcore.session": "ASP.NET Core's", ".aspnetcore.cookies": "ASP.NET Core's",
    "beaker.session.id": "Beaker's", "session_id": "Odoo's", "koa.sess": "Koa's", "play_session": "Play's",
    "grafana_session": "Grafana's", "i_like_gitea": "Gitea's", "zbx_session": "Zabbix's",
    "aiohttp_session": "aiohttp-session's", "_oauth2_proxy": "oauth2-proxy's", "authelia_session": "Authelia's",
}  # fmt: skip
"""Names of cookies, in lower case, that apps use by default: an app behind the gateway would lose its own."""


def warn_cookie_name(draft: ConfigDraft) -> Iterator[Found]:
    """Name a session cookie that takes the name of a framework's own."""
    whose = KNOWN_COOKIES.get(draft.config.session.cookie.name.lower())
    if whose is not None:
        text = f"is {whose} own name for a cookie, which such an app could lose here; leave it out or choose another"
        yield Found(("session", "cookie", "name"), text)


def warn_cookie(draft: ConfigDraft) -> Iterator[Found]:
    """Name attributes that give away protection, or that keep the cookie from where it is needed."""
    cookie, path = draft.config.session.cookie, ("session", "cookie")
    https = draft.config.public_url.scheme == "https"
    if not cookie.http_only:
        yield Found((*path, "http_only"), "is false: any script in a page can read the session")
    if https and not is_secure(draft):
        yield Found((*path, "secure"), "is false although public_url is https: the session also travels in clear text")
    if is_secure(draft) and not https and not is_local(draft.config.public_url.host):
        yield Found(
            (*path, "secure"), "is true, but public_url is http: browsers drop the cookie and nobody can log in"
        )
    if not is_under(GATEWAY_PREFIX, cookie.path):
        text = (
            f'keeps the session from the gateway\'s own pages under {GATEWAY_PREFIX}: no portal and no logout; use "/"'
        )
        yield Found((*path, "path"), text)


def warn_lifetimes(draft: ConfigDraft) -> Iterator[Found]:
    """Name times that cannot have an effect."""
    session = draft.config.session
    if session.idle > session.lifetime:
        yield Found(("session", "idle"), "is longer than session.lifetime and has no effect")
    if session.remember and session.remember > MAX_AGE_CAP:
        yield Found(("session", "remember"), "is longer than the 400 days for which browsers keep a cookie")
    elif session.remember and session.remember < session.lifetime:
        yield Found(
            ("session", "remember"), "is shorter than session.lifetime, so to be remembered is to be forgotten sooner"
        )


def warn_empty(draft: ConfigDraft) -> Iterator[Found]:
    """Name a gateway without apps, or one that nobody can enter."""
    if not draft.config.routes:
        yield Found(("routes",), "is empty: nothing is served but the gateway's own pages")
    if draft.config.login.local is None and not draft.config.login.oidc:
        text = "names no users file (login.local.users) and no provider (login.oidc), so nobody can log in"
        yield Found(("login",), text)


def warn_headers(draft: ConfigDraft) -> Iterator[Found]:
    """Name templates where they are not filled in: route headers are fixed texts."""
    for index, route in enumerate(draft.config.routes):
        for name, value in route.headers.items():
            if value and names_placeholder(value):
                text = "is sent as it stands: placeholders are filled in under identity.headers only"
                yield Found(("routes", index, "headers", name), text)


def warn_transfer(draft: ConfigDraft) -> Iterator[Found]:
    """Name wildcards whose hosts get sessions, and those on which nobody can log in."""
    config = draft.config
    wild = [(index, route) for index, route in enumerate(config.routes) if (route.host or "").startswith("*.")]
    transferring = {route.host for _, route in wild if route.transfer}
    for index, route in wild:
        if route.transfer:
            text = (
                f"gives sessions to every host below {(route.host or '')[2:]} (route {route.name}): whoever holds one "
                "name there gets one of everybody who visits it; set it only where all of these hosts are yours"
            )
            yield Found(("routes", index, "transfer"), text)
        elif config.login.local is None and route.host not in transferring and config.session.cookie.domain is None:
            text = (
                f"nobody can log in on its hosts (route {route.name}): they have a login page of their own, for which "
                "there are no users; set `transfer: true` here, or session.cookie.domain"
            )
            yield Found(("routes", index, "host"), text)


WARNINGS: tuple[Callable[[ConfigDraft], Iterator[Found]], ...] = (
    warn_transport,
    warn_admin,
    warn_proxies,
    warn_cookie,
    warn_cookie_name,
    warn_lifetimes,
    warn_providers,
    warn_programs,
    warn_allow,
    warn_step_up,
    warn_letter_case,
    warn_empty,
    warn_headers,
    warn_shared_host,
    warn_forward_auth,
    warn_transfer,
)


def warnings(draft: ConfigDraft) -> list[Found]:
    """Return the warnings about a configuration that is without errors."""
    return [found for each in WARNINGS for found in each(draft)]
