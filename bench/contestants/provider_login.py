"""Log in through an identity provider as a browser does: go where one is led, send the forms, keep the cookies."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit

from bench.contestants.login import NAVIGATION, Form, cookie_pairs
from bench.process import BenchError

PERSON = {"login": "alice", "password": "any will do"}
MOST_STEPS = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came under an address."""

    url: str
    status: int
    location: str
    """Where it leads, in full; empty where it leads nowhere."""
    text: str
    is_html: bool


class Visitor:
    """Cookies, kept apart by scheme, host and port, unlike a browser's: here all sites are on one machine."""

    def __init__(self) -> None:
        self._jars: dict[str, dict[str, str]] = {}

    def cookies(self, url: str) -> dict[str, str]:
        """Return the cookies of an address's site; whatever their path."""
        return self._jars.setdefault(site(url), {})

    def visit(self, url: str, form: Mapping[str, str] | None = None) -> Answer:
        """Open an address, or send a form there; follow nothing. Raises OSError and HTTPException."""
        parts, jar = urlsplit(url), self.cookies(url)
        headers = {**NAVIGATION, "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            connection.request("GET" if form is None else "POST", target, urlencode(form) if form else None, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        finally:
            connection.close()
        self._keep(jar, response.headers.get_all("Set-Cookie") or [])
        location = urljoin(url, response.headers["Location"]) if 300 <= response.status < 400 else ""
        return Answer(url, response.status, location, text, response.headers.get_content_type() == "text/html")

    @staticmethod
    def _keep(jar: dict[str, str], lines: list[str]) -> None:
        """Take cookies over; one without a value is one that the site takes back."""
        for line in lines:
            jar.pop(line.partition("=")[0].strip(), None)
        jar.update({name: value for name, value in cookie_pairs(lines).items() if value})


def site(url: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def log_in_there(start: str) -> dict[str, str]:
    """Begin at a page of a proxy, log in at the provider it leads to; return the proxy's cookies. Raises BenchError.

    The login is over when the proxy's site answers with something that is no page of its own.
    """
    visitor = Visitor()
    try:
        answer = visitor.visit(start)
        for _ in range(MOST_STEPS):
            if answer.location:
                answer = visitor.visit(answer.location)
            elif answer.is_html and answer.status == 200 and site(answer.url) != site(start):
                answer = visitor.visit(*_filled_in(answer))
            elif answer.status == 200 and not answer.is_html and site(answer.url) == site(start):
                return visitor.cookies(start)
            else:
                break
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"the login at the provider failed: {error!r}") from error
    raise BenchError(f"the login ended at {answer.url} with {answer.status}:\n{answer.text[:1000]}")


def _filled_in(answer: Answer) -> tuple[str, dict[str, str]]:
    """Return where a page's form goes, and what is sent: the person where it asks for one, or just consent."""
    form = Form(answer.text)
    asked = {name: value for name, value in PERSON.items() if name in form.fields}
    return urljoin(answer.url, form.action), {**form.fields, **asked}
