"""A small browser without pictures: keeps cookies, sends forms, follows nothing by itself."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Protocol
from urllib.parse import urlencode

from tests.support.messages import Answer
from tests.support.raw import RawClient
from tests.support.users import User
from tests.support.waiting import PATIENCE

PAGE = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
PROGRAM = {"Accept": "application/json"}


class Reachable(Protocol):
    """What a visitor can visit."""

    port: int


class _Fields(HTMLParser):
    """Collect the named inputs of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "input" and found.get("name"):
            self.values[str(found["name"])] = found.get("value") or ""


def form_fields(page: str) -> dict[str, str]:
    """Return the inputs of a page by name; the last one of a name wins."""
    parser = _Fields()
    parser.feed(page)
    return parser.values


class Visitor:
    """One person at one gateway; every request is a connection of its own."""

    def __init__(
        self, gateway: Reachable, *, host: str | None = None, source: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.gateway = gateway
        self.host = host
        self.cookies: dict[str, str] = {}
        self._source = source
        self._tls = tls

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float = PATIENCE,
    ) -> Answer:
        """Send one request with the cookies, and keep those of the answer."""
        with RawClient(self.gateway.port, timeout=timeout, source=self._source, tls=self._tls) as client:
            return self.ask(client, method, target, headers, body)

    def ask(
        self,
        client: RawClient,
        method: str,
        target: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        """Send one request over a connection that is there, and close it with the answer."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        if self.cookies:
            pairs.append(("Cookie", self.cookie_header()))
        if body or method in ("POST", "PUT"):
            pairs.append(("Content-Length", str(len(body))))
        host = self.host or f"127.0.0.1:{self.gateway.port}"
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n"
        client.send(head.encode("latin-1") + body)
        answer = client.answer(method)
        self.keep_cookies(answer)
        return answer

    def get(self, target: str, headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> Answer:
        """Send a GET."""
        return self.request("GET", target, headers)

    def post(
        self,
        target: str,
        form: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Answer:
        """Send a form as a browser does."""
        fields = {"Content-Type": "application/x-www-form-urlencoded", **PAGE, **(headers or {})}
        return self.request("POST", target, fields, urlencode(form).encode(), timeout)

    def cookie_header(self) -> str:
        """Return the Cookie field's value."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def keep_cookies(self, answer: Answer) -> None:
        """Store and remove cookies as the answer says."""
        for line in answer.get_all("Set-Cookie"):
            pair, _, attributes = line.partition(";")
            name, _, value = pair.partition("=")
            if "max-age=0" in attributes.lower().replace(" ", ""):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    # --- logging in -------------------------------------------------------------------------------

    def login(self, user: User, *, next_url: str = "/", remember: bool = False) -> Answer:
        """Fetch the login page and send its form; fails unless that logs in."""
        answer = self.try_login(user.user, user.password, next_url=next_url, remember=remember)
        assert answer.status == 303, (answer.status, answer.body[:2000])
        assert self.session(), "no session cookie after a login"
        return answer

    def try_login(self, name: str, password: str, *, next_url: str = "/", remember: bool = False) -> Answer:
        """Fetch the login page and send its form, whatever comes of it."""
        page = self.get("/_gateway/login", PAGE)
        assert page.status == 200, (page.status, page.body[:2000])
        form = {"username": name, "password": password, "next": next_url}
        form["csrf_token"] = form_fields(page.text())["csrf_token"]
        if remember:
            form["remember"] = "1"
        return self.post("/_gateway/login", form)

    def logout(self) -> Answer:
        """Fetch the logout page and send its form."""
        page = self.get("/_gateway/logout", PAGE)
        assert page.status == 200, page
        return self.post("/_gateway/logout", {"csrf_token": form_fields(page.text())["csrf_token"]})

    def session(self) -> dict[str, str]:
        """Return the session's cookies; empty without one."""
        return {name: value for name, value in self.cookies.items() if _bare(name).startswith("gateway_session")}

    def cookie_pair(self) -> str:
        """Return the one session cookie as ``name=value``."""
        return "=".join(self.session_pair())

    def session_pair(self) -> tuple[str, str]:
        """Return name and value of the one session cookie."""
        (pair,) = self.session().items()
        return pair


def _bare(name: str) -> str:
    for prefix in ("__Host-", "__Secure-"):
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def logged_in(gateway: Reachable, user: User, *, host: str | None = None) -> Visitor:
    """Return a visitor who has logged in."""
    visitor = Visitor(gateway, host=host)
    visitor.login(user)
    return visitor
