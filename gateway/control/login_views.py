"""The login page and its form."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import hdrs, web

from gateway.control.answers import because, page, redirect
from gateway.control.asking import CHOOSE, STEP_UP, Asking
from gateway.control.csrf import FIELD
from gateway.control.facts import (
    REMEMBER,
    audit_event,
    client_of,
    cookie_domains,
    counted_address,
    has_ambiguous_cookies,
    host_name,
    host_of,
    is_page_load,
    login_path,
    scheme_of,
    start_path,
)
from gateway.control.form import read_form
from gateway.control.handover import start_url
from gateway.control.middleware import AUDIT, BROWSER, RETRY_SECONDS
from gateway.control.pages import LoginPage, ProviderButton, in_words
from gateway.control.session_storage import current_session, sign_in
from gateway.control.site import HERE, SITE, Site
from gateway.core.audit import AuditKind
from gateway.core.device import device_label
from gateway.core.identity import Identity
from gateway.core.provider import ProviderSession
from gateway.core.reasons import BAD_CREDENTIALS, CSRF
from gateway.core.session import SESSION_ID_BYTES, Session, start_session
from gateway.errors import BadCredentials, LoginBusy, TooManyAttempts
from gateway.login.method import LoginMethod
from gateway.login.throttle import Attempt, client_network

PURPOSE = "login"
REASONS = {401: BAD_CREDENTIALS, 403: CSRF}
"""What the page is shown again for, beside what the status says by itself."""
SIGNED_OUT = "signed_out"
REMOVE_COOKIES = "remove_cookies"
"""The field of the form that removes all session cookies, where two came and neither counts."""

WRONG = "That username and password do not match."
STALE = "This page had been open for too long. It is fresh now: please sign in again."
FOREIGN = "That sign-in came from another site, so it was not accepted. You can sign in here."
NO_COOKIE = "Your browser did not keep this site's cookie. Allow cookies for this site, then sign in again."
NOT_KEPT = (
    "You are signed in, but your browser did not keep the cookie that says so to this site. "
    "Allow cookies for this site, then sign in again."
)
NO_HTTPS = "Signing in works over https only. Open this page with https:// in its address."
BUSY = "Very many people are signing in right now. Please try again in a few seconds."


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody typed into the form."""

    user: str = ""
    password: str = ""
    next_url: str = ""
    remember: bool = False
    step_up: str = ""
    """What asks for more than a login, as addresses name it."""

    @classmethod
    def of(cls, form: dict[str, str]) -> Entry:
        """Read a form. Telephones add spaces to user names when they complete them."""
        return cls(
            user=form.get("username", "").strip(),
            password=form.get("password", ""),
            next_url=form.get("next", ""),
            remember=form.get(REMEMBER, "") not in ("", "0", "false"),
            step_up=form.get(STEP_UP, ""),
        )

    @classmethod
    def again(cls, next_url: str, session: Session | None, asking: Asking | None) -> Entry:
        """Fill in what is known of somebody who is signed in, and is to sign in again as whoever they are."""
        step_up = asking.name if asking is not None else ""
        if session is None:
            return cls(next_url=next_url, step_up=step_up)
        user = session.user if session.login is None else ""
        return cls(user, next_url=next_url, remember=session.remembered, step_up=step_up)


async def show_login(request: web.Request) -> web.Response:
    """Show the login page; somebody who is signed in already, and well enough, goes on at once."""
    site = request.app[SITE]
    session, asking = await current_session(request), site.asking(request)
    entry = Entry.again(request.query.get("next", ""), session, asking)
    if site.is_enough(session, asking):
        return redirect(site.next_url(request, entry.next_url))
    if site.login_elsewhere(request):
        return redirect(site.login_url(request, site.next_url(request, entry.next_url), entry.step_up), 302)
    signed_out = SIGNED_OUT in request.query
    notice = "You are signed out." if signed_out else ""
    if HERE not in request.query and is_page_load(request) and site.hands_over(request):
        if signed_out:
            # Not at once: somebody else's session on public_url would be here before they look up.
            return _login_page(request, entry, notice=notice, elsewhere=True)
        if not site.questions.are_in_vain(request):
            return ask_for_session(request, entry.next_url, step_up=entry.step_up)
        return _login_page(request, entry, error=NOT_KEPT)
    if session is not None and asking is not None and (provider := _same_provider(request, session, asking)):
        return redirect(start_path(provider, site.kept_next(request, entry.next_url), asking.name))
    return _login_page(request, entry, notice=notice)


def _same_provider(request: web.Request, session: Session, asking: Asking) -> str:
    """Return the provider that a session began at, if that can be asked for a better one at once; else nothing."""
    if session.login is None or CHOOSE in request.query:
        return ""
    login = request.app[SITE].parts.providers.get(session.login.provider)
    return login.provider.id if login is not None and asking.takes(login) and login.is_up() else ""


def ask_for_session(
    request: web.Request, next_url: str, provider: str = "", step_up: str = "", remember: bool | None = None
) -> web.Response:
    """Send the browser to ``public_url`` for its session there, or a login: on the page, or with a provider.

    ``step_up`` names what the session is to be enough for; ``remember`` is what was chosen on the way to a provider.
    """
    site = request.app[SITE]
    response = redirect("", 302)
    browser = site.questions.ask(request, response, site.parts.clock())
    path = start_url(host_name(host_of(request)), browser, site.kept_next(request, next_url), step_up)
    if provider:
        path = start_path(provider, path, step_up, remember)
    response.headers[hdrs.LOCATION] = site.on_public_url(path)
    return response


async def submit_login(request: web.Request) -> web.Response:
    """Log somebody in."""
    site = request.app[SITE]
    form = await read_form(request)
    entry = Entry.of(form)
    if REMOVE_COOKIES in form:
        return _without_cookies(request, entry, form)
    if site.parts.login is None:
        raise web.HTTPNotFound
    if refusal := site.csrf.refusal(request, form.get(FIELD, ""), PURPOSE):
        return _refused(request, entry, refusal)
    try:
        identity, proved = await _prove(request, site.parts.login, entry)
    except TooManyAttempts as error:
        return _throttled(request, entry, error.retry_after)
    except LoginBusy:
        site.parts.logins.count("busy")
        return _login_page(request, entry, 503, error=BUSY, retry_after=RETRY_SECONDS)
    except BadCredentials as error:
        _report(request, "login_failed", entry, str(error))
        site.parts.logins.count("failure")
        return _login_page(request, entry, 401, error=WRONG)
    await begin_session(request, identity, proved, remember=entry.remember)
    return redirect(site.next_url(request, entry.next_url))


def _without_cookies(request: web.Request, entry: Entry, form: dict[str, str]) -> web.Response:
    """Remove every session cookie that the browser may hold for this host, and show the login page again."""
    site = request.app[SITE]
    if refusal := site.csrf.refusal(request, form.get(FIELD, ""), PURPOSE):
        return _refused(request, entry, refusal)
    response = redirect(login_path(site.kept_next(request, entry.next_url), entry.step_up))
    domains = [None, *cookie_domains(host_name(host_of(request)))]
    for line in site.parts.session_cookie.clear_under(domains):
        response.headers.add(hdrs.SET_COOKIE, line)
    return response


async def _prove(request: web.Request, login: LoginMethod, entry: Entry) -> tuple[Identity, float]:
    """Return who it is, and when that was so, unless it is too early to ask.

    Every attempt counts until it turns out right.
    """
    site = request.app[SITE]
    throttle = site.parts.throttle
    browser = site.csrf.browser(request) or b""
    ticket = await throttle.begin(Attempt(entry.user, client_network(counted_address(request)), browser.hex()))
    try:
        identity = await login.verify(entry.user, entry.password)
    except LoginBusy:
        await throttle.abandoned(ticket)
        raise
    proved = site.parts.clock()
    await throttle.succeeded(ticket)
    return identity, proved


async def begin_session(
    request: web.Request,
    identity: Identity,
    proved: float,
    *,
    remember: bool = False,
    login: ProviderSession | None = None,
) -> Session:
    """Begin a session under a new id, and return it; whatever session there was ends when it is saved.

    ``proved`` is when the identity was known to be right. Whatever ended the user's sessions since ends this one,
    too: it covers all that were created up to then. Raises BadToken where that is so.
    """
    parts = request.app[SITE].parts
    session = start_session(
        parts.random(SESSION_ID_BYTES),
        identity,
        parts.lifetimes,
        remember=remember,
        now=proved,
        address=str(client_of(request) or ""),
        device=device_label(request.headers.get("User-Agent", "")),
        login=login,
    )
    await sign_in(request, session)
    request[AUDIT] = audit_event(
        request, "login", proved, user=identity.user, reason=identity.method, session=session.handle
    )
    return session


def _refused(request: web.Request, entry: Entry, refusal: str) -> web.Response:
    """Show the page again, with a fresh token, so that the next try works."""
    site = request.app[SITE]
    _report(request, "csrf_refused", entry, refusal)
    site.parts.logins.count("csrf")
    if refusal.startswith("sent from"):
        return _login_page(request, Entry(), 403, error=FOREIGN)
    if refusal == "no cookie":
        blocked = site.csrf.cookie.secure and scheme_of(request) == "http"
        return _login_page(request, entry, 403, error=NO_HTTPS if blocked else NO_COOKIE)
    return _login_page(request, entry, 403, error=STALE)


def _throttled(request: web.Request, entry: Entry, seconds: int) -> web.Response:
    _report(request, "login_throttled", entry, f"again in {seconds} s")
    request.app[SITE].parts.logins.count("throttled")
    text = f"Too many attempts. Try again in {in_words(seconds)}."
    return _login_page(request, entry, 429, error=text, retry_after=seconds)


def _report(request: web.Request, kind: AuditKind, entry: Entry, reason: str) -> None:
    parts = request.app[SITE].parts
    parts.audit(audit_event(request, kind, parts.clock(), user=entry.user, reason=reason))


def _login_page(
    request: web.Request,
    entry: Entry,
    status: int = 200,
    *,
    error: str = "",
    notice: str = "",
    retry_after: int | None = None,
    elsewhere: bool = False,
) -> web.Response:
    site = request.app[SITE]
    next_url = site.kept_next(request, entry.next_url)
    asking = site.asking_for(entry.step_up)
    longest = site.parts.lifetimes.remember
    request[BROWSER] = browser = site.csrf.browser(request) or site.csrf.new_browser()
    shown = LoginPage(
        site=site.destination(request, next_url),
        csrf_token=site.csrf.token(browser, PURPOSE),
        next_url=next_url,
        username=entry.user[:256],
        remember=in_words(longest) if longest else "",
        remembered=entry.remember,
        error=error,
        notice=notice,
        possible=site.parts.login is not None and (asking is None or asking.takes_password()),
        # Who comes back from a provider is signed in on public_url, and here only where sessions are transferred.
        providers=() if site.is_apart(request) else _buttons(site, entry, next_url, asking),
        step_up=asking.name if asking is not None else "",
        reason=asking.reason() if asking is not None else "",
        elsewhere=login_path(next_url) if elsewhere else "",
        ambiguous=has_ambiguous_cookies(request),
    )
    response = page(shown.render(), status, csp=site.form_csp, retry_after=retry_after)
    return because(response, REASONS[status]) if status in REASONS else response


def _buttons(site: Site, entry: Entry, next_url: str, asking: Asking | None) -> tuple[ProviderButton, ...]:
    step_up = asking.name if asking is not None else ""
    stays = site.parts.lifetimes.remember is not None
    # Where nothing is said, a step-up keeps what was: who unticks the box says so.
    unticked = False if entry.remember else None
    return tuple(
        ProviderButton(
            login.provider.name or provider,
            start_path(provider, next_url, step_up, unticked),
            start_path(provider, next_url, step_up, True) if stays else "",
            login.is_up(),
        )
        for provider, login in site.parts.providers.items()
        if asking is None or asking.takes(login)
    )
