"""Log in at the gateway as a browser does: fetch the form, send it, keep the cookies."""

from __future__ import annotations

import http.client
from html.parser import HTMLParser
from urllib.parse import urlencode

from bench.process import BenchError

LOGIN = "/_gateway/login"
COOKIE = "gateway_session"  # its name on http, where a `__Host-` prefix cannot be
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}


class Form(HTMLParser):
    """The named inputs of a page, and where its form goes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a form or an input."""
        found = dict(attrs)
        name = found.get("name")
        if tag == "form":
            self.action = found.get("action") or ""
        elif tag == "input" and name:
            self.fields[name] = found.get("value") or ""


def cookie_pairs(set_cookies: list[str]) -> dict[str, str]:
    """Return the cookies that an answer sets, by name; those it removes are left out."""
    found = {}
    for line in set_cookies:
        pair, _, attributes = line.partition(";")
        name, _, value = pair.strip().partition("=")
        if "max-age=0" not in attributes.lower().replace(" ", ""):
            found[name] = value
    return found


def log_in(port: int, user: str, password: str) -> str:
    """Return the token of a new session. Raises BenchError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"{LOGIN}?next=/", headers=NAVIGATION)
        page = connection.getresponse()
        form = Form(page.read().decode())
        before = cookie_pairs(page.headers.get_all("Set-Cookie") or [])
        fields = {**form.fields, "username": user, "password": password, "next": "/"}
        fields.pop("remember", None)
        headers = {
            **NAVIGATION,
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "; ".join(f"{name}={value}" for name, value in before.items()),
            "Origin": f"http://127.0.0.1:{port}",
        }
        connection.request("POST", LOGIN, urlencode(fields), headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status != 303:
            raise BenchError(f"the login was answered with {answer.status}:\n{text[:1000]}")
        cookies = cookie_pairs(answer.headers.get_all("Set-Cookie") or [])
    finally:
        connection.close()
    if COOKIE not in cookies:
        raise BenchError(f"the login set no cookie `{COOKIE}`")
    return cookies[COOKIE]
