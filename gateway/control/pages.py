"""All that people see: pages rendered from templates, and the headers that keep them safe.

A page is one piece: its style lies inside, and nothing is fetched from anywhere. There is no script.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gateway.core.own_pages import LOGIN_PATH, LOGOUT_PATH, PORTAL_PATH, SESSIONS_PATH

REQUEST_ID_MARK = "@REQUEST_ID@"
"""Stands in a rendered error page where the request's id belongs."""

_TEMPLATES = Path(__file__).with_name("templates")
_STYLE = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
_STYLE_HASH = b64encode(sha256(_STYLE.encode("utf-8")).digest()).decode("ascii")

_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_environment.globals.update(
    # Safe as it stands: the file is our own.
    style=Markup(_STYLE),  # noqa: S704
    paths={"login": LOGIN_PATH, "logout": LOGOUT_PATH, "portal": PORTAL_PATH, "sessions": SESSIONS_PATH},
)


def content_security_policy(form_targets: Iterable[str] = ("'none'",)) -> str:
    """Return a policy under which our pages work and nothing else does."""
    targets = " ".join(dict.fromkeys(form_targets))
    return (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src 'self' data:; "
        f"form-action {targets}; frame-ancestors 'none'; base-uri 'none'"
    )


CSP = content_security_policy()
"""For pages without a form, as all error pages are."""

PAGE_HEADERS = (
    ("Content-Security-Policy", CSP),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""For every answer of the control plane, and for the error pages of the data plane."""


@dataclass(frozen=True, slots=True)
class ErrorText:
    """What an error page says."""

    title: str
    detail: str
    links: tuple[tuple[str, str], ...] = ()
    """Label and path of what can be done; the first is the likeliest."""


_PORTAL = ("Your apps", PORTAL_PATH)
_SWITCH = ("Sign in as someone else", LOGOUT_PATH)
_SIGN_IN = ("Sign in", LOGIN_PATH)
_AGAIN = ("Try again", "")
"""The empty address is that of the page itself."""

ERRORS = {
    400: ErrorText("Bad request", "Your browser sent something that cannot be understood, or not safely.", (_PORTAL,)),
    401: ErrorText("Please sign in", "You need to sign in to see this page.", (_SIGN_IN,)),
    403: ErrorText(
        "No access",
        "You are signed in, but your account may not open this page. Ask whoever runs this site for access.",
        (_PORTAL, _SWITCH),
    ),
    404: ErrorText(
        "Page not found", "There is nothing at this address. It may have moved, or have a typo.", (_PORTAL,)
    ),
    405: ErrorText("Not possible here", "This address does not do what was asked of it.", (_PORTAL,)),
    408: ErrorText(
        "Request timed out", "Your browser took too long to send its request. Reload the page to try again."
    ),
    413: ErrorText("Too large", "What you sent is larger than this app accepts.", (_PORTAL,)),
    414: ErrorText("Address too long", "The address of this page is longer than can be handled.", (_PORTAL,)),
    415: ErrorText("Not a form", "This address takes the form of its own page and nothing else.", (_PORTAL,)),
    421: ErrorText("Unknown site", "No site of that name is served here."),
    429: ErrorText("Too many requests", "There were too many requests in a short time. Wait a moment, then try again."),
    431: ErrorText(
        "Headers too large", "Your browser sent too much with its request. Clearing this site's cookies helps."
    ),
    500: ErrorText("Something went wrong", "This is a fault on our side, not yours. Try again in a moment."),
    502: ErrorText(
        "The app is not answering",
        "It cannot be reached, or gave no valid answer. Try again in a moment.",
        (_AGAIN, _PORTAL),
    ),
    503: ErrorText("Back in a moment", "This site is too busy or not ready. Try again in a moment."),
    504: ErrorText("The app is too slow", "It did not answer in time. Try again in a moment.", (_AGAIN, _PORTAL)),
}
_OTHER = ErrorText("This did not work", "The request could not be served.", (_PORTAL,))


def error_page(
    status: int,
    *,
    title: str = "",
    detail: str = "",
    links: tuple[tuple[str, str], ...] | None = None,
) -> bytes:
    """Return the page for a status, with `REQUEST_ID_MARK` where the request's id is to be put."""
    text = ERRORS.get(status, _OTHER)
    page = _environment.get_template("error.html").render(
        status=status,
        title=title or text.title,
        detail=detail or text.detail,
        links=text.links if links is None else links,
        request_id=REQUEST_ID_MARK,
    )
    return page.encode("utf-8")


@dataclass(frozen=True, slots=True)
class ProviderButton:
    """A way to sign in elsewhere."""

    name: str
    link: str
    staying: str = ""
    """The link of who is to be remembered; empty where nobody is."""
    up: bool = True
    """Whether it can be reached, as far as is known."""


@dataclass(frozen=True, slots=True)
class LoginPage:
    """What the login page shows."""

    site: str
    """The host that the login is for."""
    csrf_token: str
    next_url: str = ""
    username: str = ""
    remember: str = ""
    """For how long one can stay signed in, in words; empty where one cannot."""
    remembered: bool = False
    error: str = ""
    notice: str = ""
    possible: bool = True
    """Whether there are users with passwords, and so a form."""
    providers: tuple[ProviderButton, ...] = ()
    step_up: str = ""
    """What asks for more than a login, as addresses name it."""
    reason: str = ""
    """Why it does, in a sentence."""
    elsewhere: str = ""
    """Where one signs in, if it is not here: then the page has a link in place of the form."""
    ambiguous: bool = False
    """Whether two session cookies came, of which none counts: then the page offers to remove them."""

    def render(self) -> str:
        """Return the page."""
        return _environment.get_template("login.html").render(page=self)


@dataclass(frozen=True, slots=True)
class ContinuePage:
    """A page that leads on by itself, where a redirect would be held against its origin."""

    site: str
    location: str
    title: str = "You are signed in"

    def render(self) -> str:
        """Return the page."""
        return _environment.get_template("continue.html").render(page=self)


@dataclass(frozen=True, slots=True)
class LogoutPage:
    """What the page shows that asks before a logout."""

    site: str
    user: str
    csrf_token: str
    next_url: str = ""
    notice: str = ""

    def render(self) -> str:
        """Return the page."""
        return _environment.get_template("logout.html").render(page=self)


@dataclass(frozen=True, slots=True)
class App:
    """An app that somebody may open."""

    title: str
    link: str
    place: str
    """Host and path, to tell apps of like names apart."""

    @property
    def initial(self) -> str:
        """The letter that stands for it."""
        return next((letter for letter in self.title if letter.isalnum()), "•").upper()

    @property
    def tone(self) -> int:
        """One of six colours, always the same for a title."""
        return sha256(self.title.encode("utf-8", "replace")).digest()[0] % 6


@dataclass(frozen=True, slots=True)
class PortalPage:
    """What the portal shows."""

    site: str
    user: str
    name: str
    email: str
    csrf_token: str
    apps: tuple[App, ...]

    def render(self) -> str:
        """Return the page."""
        return _environment.get_template("portal.html").render(page=self)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as it is shown: from now, in words, with the exact one beside it."""

    words: str
    exact: str
    """RFC 3339, in UTC."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session of a list."""

    handle: str
    device: str
    address: str
    began: Moment
    seen: Moment
    ends: Moment
    here: bool = False
    """Whether it is the session of who looks at the list."""


@dataclass(frozen=True, slots=True)
class SessionsPage:
    """What somebody sees of their own sessions."""

    site: str
    user: str
    name: str
    email: str
    csrf_token: str
    logout_token: str
    here: SessionRow
    others: tuple[SessionRow, ...]
    hidden: int = 0
    """Further sessions, which are not shown."""
    listable: bool = True
    """Whether the store knows the other sessions at all."""
    local: bool = True
    """Whether the user's password is this site's, where nobody can change it alone."""
    notice: str = ""
    error: str = ""

    def render(self) -> str:
        """Return the page."""
        return _environment.get_template("sessions.html").render(page=self)


def ago(seconds: float) -> str:
    """Return how long ago something was, in its largest fitting unit, rounded down: ``5 minutes ago``."""
    if seconds < 60:
        return "just now"
    unit = next(size for size in (86400, 3600, 60) if seconds >= size)
    return f"{in_words(seconds // unit * unit)} ago"


def in_words(seconds: float) -> str:
    """Return a duration in words, in its largest fitting unit, rounded up: ``30 days``, ``12 hours``."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = -int(-seconds // size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    count = max(1, -int(-seconds // 1))
    return f"{count} second{'s' if count != 1 else ''}"
