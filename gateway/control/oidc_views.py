"""Logging in at an identity provider: there with a state that only this browser knows, and back with a code."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from aiohttp import hdrs, web
from markupsafe import escape

from gateway.control.answers import because, page, problem, redirect
from gateway.control.asking import CHOOSE
from gateway.control.facts import (
    audit_event,
    chosen_to_remember,
    host_of,
    is_navigation,
    login_path,
    request_id_of,
    scheme_of,
    start_path,
)
from gateway.control.form import parse_form
from gateway.control.login_views import ask_for_session, begin_session
from gateway.control.middleware import RETRY_SECONDS
from gateway.control.pages import REQUEST_ID_MARK, ContinuePage, error_page
from gateway.control.session_storage import current_session
from gateway.control.site import SITE
from gateway.core import reasons
from gateway.core.own_pages import LOGIN_PATH, OIDC_PATH, PORTAL_PATH
from gateway.core.session import Session
from gateway.errors import LoginDenied, LoginRefused, LoginTooWeak, ProviderDown
from gateway.login.redirect import SECRET_BYTES, Asked, PendingLogin, Proof, RedirectLogin
from gateway.sessions.token_vault import KeptLogin

MAX_QUERY = 16 * 1024
_log = logging.getLogger("gateway.control")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What somebody is told of a login that came to nothing; never what the provider or the address said."""

    status: int
    reason: str
    """One of `core.reasons.REFUSALS`."""
    title: str
    detail: str


STALE = Trouble(
    400,
    reasons.LOGIN_STALE,
    "This sign-in is over",
    "It was used already, took too long, or was begun in another browser. Please sign in again.",
)
REFUSED = Trouble(
    400,
    reasons.LOGIN_REFUSED,
    "The sign-in did not work",
    "What came back from {name} could not be accepted. Please sign in again.",
)
DENIED = Trouble(
    403,
    reasons.LOGIN_DENIED,
    "Not signed in",
    "The sign-in at {name} was cancelled, or your account there may not enter. Whoever runs this site can tell.",
)
DOWN = Trouble(
    502,
    reasons.PROVIDER_DOWN,
    "{name} does not work",
    "It gave no valid answer, so you are not signed in. Try again in a moment.",
)
TOO_WEAK = Trouble(
    403,
    reasons.STEP_UP,
    "That sign-in is not enough",
    "{route} needs a stronger or fresher sign-in than {name} gave. Nothing has changed: what was open to you still is.",
)
AWAY = Trouble(
    503,
    reasons.PROVIDER_DOWN,
    "{name} is not reachable",
    "Signing in there is not possible right now. Try again in a moment.",
)

LINKS = (("Sign in", LOGIN_PATH), ("Your apps", PORTAL_PATH))


async def begin_login(request: web.Request) -> web.Response:
    """Send the browser to the provider; on another host than that of ``public_url``, to the latter first."""
    site = request.app[SITE]
    login = login_of(request)
    next_url, asking = site.next_url(request, request.query.get("next", "")), site.asking(request)
    session, remember = await current_session(request), chosen_to_remember(request)
    if site.is_enough(session, asking):
        return redirect(next_url)
    step_up = asking.name if asking is not None else ""
    if site.hands_over(request):
        return ask_for_session(request, request.query.get("next", ""), login.provider.id, step_up, remember)
    if not site.is_public_host(request):
        if next_url.startswith("/"):
            next_url = f"{scheme_of(request)}://{host_of(request)}{next_url}"
        return redirect(site.on_public_url(start_path(login.provider.id, next_url, step_up, remember)), 302)
    pending = PendingLogin(
        login.provider.id,
        site.parts.random(SECRET_BYTES),
        next_url,
        site.parts.clock(),
        asking.asked() if asking is not None else Asked(),
        remember=remember is True,
        remembered=session.user if session is not None and session.remembered and remember is None else "",
    )
    return await _begin(request, login, pending)


async def _begin(request: web.Request, login: RedirectLogin, pending: PendingLogin) -> web.Response:
    site, now = request.app[SITE], pending.begun
    try:
        location = await login.begin(pending, _redirect_uri(request, login))
    except ProviderDown as error:
        return _failed(request, login, error)
    response = redirect(location)
    response.headers.add(hdrs.SET_COOKIE, site.pending.cookie([*site.pending.of(request, now), pending], now))
    return response


async def finish_login(request: web.Request) -> web.Response:
    """Take the browser back from the provider, and begin its session if the provider says who it is."""
    site = request.app[SITE]
    login = login_of(request)
    if not site.is_public_host(request):
        raise web.HTTPNotFound
    answer = _parameters(request)
    now = site.parts.clock()
    logins = site.pending.of(request, now)
    pending = site.pending.take(logins, answer.get("state", ""), now)
    if pending is None:
        return _trouble(request, login, STALE, "no login in progress belongs to the state")
    try:
        if pending.provider != login.provider.id:
            raise LoginRefused(f"the answer to a login at {pending.provider!r}")
        proof = await login.finish(pending, answer, _redirect_uri(request, login))
    except LoginTooWeak as error:
        response = _too_weak(request, login, pending, error)
    except (LoginRefused, ProviderDown) as error:
        response = _failed(request, login, error)
    else:
        remember = pending.remembers(proof.identity.user)
        session = await begin_session(request, proof.identity, now, remember=remember, login=proof.session)
        await _keep(request, session, proof)
        response = _lead_on(request, pending.next_url)
    response.headers.add(hdrs.SET_COOKIE, site.pending.cookie(logins, now))
    return response


async def _keep(request: web.Request, session: Session, proof: Proof) -> None:
    """Keep the tokens of a login where only this session leads to them. Raises StoreUnavailable."""
    parts = request.app[SITE].parts
    refresh = parts.providers[proof.session.provider].provider.refresh
    tokens = proof.tokens.worth_keeping(refresh=refresh)
    if parts.vault is not None and not tokens.is_empty():
        await parts.vault.put(session, KeptLogin(proof.identity, proof.session, tokens))


def login_of(request: web.Request) -> RedirectLogin:
    """Return the provider in the path. Raises HTTPNotFound."""
    login = request.app[SITE].parts.providers.get(request.match_info["provider"])
    if login is None:
        raise web.HTTPNotFound
    return login


def _redirect_uri(request: web.Request, login: RedirectLogin) -> str:
    """Return the callback of a provider: one for each, so that no answer is taken for another's (RFC 9700 §4.4)."""
    return request.app[SITE].on_public_url(f"{OIDC_PATH}/{login.provider.id}/callback")


def _parameters(request: web.Request) -> dict[str, str]:
    """Return the parameters of the callback. Raises HTTPBadRequest where one is given twice (RFC 6749 §3.1)."""
    query = request.raw_path.partition("?")[2].encode("utf-8", "replace")
    if len(query) > MAX_QUERY:
        raise web.HTTPBadRequest
    return parse_form(query)


def _lead_on(request: web.Request, next_url: str) -> web.Response:
    """Lead to where the login was for.

    With ``SameSite=Strict`` browsers withhold the new cookie from a redirect that began at the
    provider; a page of our own that leads on is another site's no longer.
    """
    site = request.app[SITE]
    location = site.next_url(request, next_url)
    if site.parts.session_cookie.same_site != "strict":
        return redirect(location)
    return page(ContinuePage(host_of(request), location).render())


def _too_weak(request: web.Request, login: RedirectLogin, pending: PendingLogin, error: LoginTooWeak) -> web.Response:
    """Say that a login was not what a route asks for; from here it goes on by hand only, or it would in circles."""
    asking = request.app[SITE].asking_for(pending.asked.step_up)
    if asking is None:
        return _failed(request, login, error)
    trouble = replace(TOO_WEAK, detail=TOO_WEAK.detail.replace("{route}", asking.title))
    another = f"{login_path(pending.next_url, asking.name)}&{CHOOSE}=1"
    links = (("Try another way", another), ("Your apps", PORTAL_PATH))
    return _trouble(request, login, trouble, str(error), links=links)


def _failed(request: web.Request, login: RedirectLogin, error: LoginRefused | ProviderDown) -> web.Response:
    if isinstance(error, LoginDenied):
        return _trouble(request, login, DENIED, str(error))
    if isinstance(error, LoginRefused):
        return _trouble(request, login, REFUSED, str(error))
    response = _trouble(request, login, AWAY if error.status == 503 else DOWN, str(error), outcome="error")
    response.headers[hdrs.RETRY_AFTER] = str(RETRY_SECONDS)
    return response


def _trouble(
    request: web.Request,
    login: RedirectLogin,
    trouble: Trouble,
    reason: str,
    outcome: str = "failure",
    links: tuple[tuple[str, str], ...] = LINKS,
) -> web.Response:
    """Report a login that came to nothing, and say so without repeating anything of the request."""
    parts, provider = request.app[SITE].parts, login.provider
    reason = f"{provider.id}: {reason}"
    _log.warning("a login failed: %s", reason)
    parts.audit(audit_event(request, "login_failed", parts.clock(), reason=reason))
    parts.logins.count(outcome)
    name = provider.name or provider.id
    title, detail = trouble.title.replace("{name}", name), trouble.detail.replace("{name}", name)
    if not is_navigation(request):
        return because(problem(request, trouble.status, detail), trouble.reason)
    html = error_page(trouble.status, title=title, detail=detail, links=links).decode("utf-8")
    html = html.replace(REQUEST_ID_MARK, str(escape(request_id_of(request))))
    return because(page(html, trouble.status), trouble.reason)
