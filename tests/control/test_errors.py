"""What happens when something fails: fixed texts for clients, details for the log, nobody let in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence

import pytest

from gateway.core.session import Session, SessionSummary
from gateway.errors import StoreUnavailable
from gateway.sessions.store import Opened
from tests.control.conftest import StartSite
from tests.control.harness import ControlSite, Settings
from tests.support.users import ALICE
from tests.support.visitor import PAGE, PROGRAM


class FailingStore:
    """A store that works until it is told to fail."""

    def __init__(self) -> None:
        self.works = True
        self.writes = True
        self.sessions: dict[str, Opened] = {}

    def _fail(self) -> None:
        if not self.works:
            raise StoreUnavailable("connection to 10.9.8.7 refused")

    def peek(self, token: str) -> Opened | None:
        return None

    def is_over(self, opened: Opened, now: float) -> bool:
        return opened.until <= now

    async def start(self) -> None:
        return

    def is_ours(self, token: str, host: str) -> bool:
        return token in self.sessions

    async def load(
        self, token: str, now: float, *, host: str = "", grace: float | None = None, streaming: bool = False
    ) -> Opened:
        self._fail()
        return self.sessions[token]

    async def save(self, session: Session, token: str | None = None, *, host: str = "") -> Opened:
        self._fail()
        opened = Opened(session, session.id.hex(), session.ends())
        self.sessions[opened.token] = opened
        return opened

    async def replace(self, old: Session | None, new: Session, *, host: str = "") -> Opened:
        return await self.save(new)

    async def keep(self, opened: Opened, seconds: float) -> None:
        self._fail()

    async def supersede(self, old: Opened, new: Session) -> None:
        self._fail()

    def token_for(self, opened: Opened, host: str) -> Opened:
        return opened

    async def revoke(self, session: Session | SessionSummary, *, spare: str = "", alone: bool = False) -> None:
        if not self.writes:
            raise StoreUnavailable("read-only")
        self.sessions = {token: held for token, held in self.sessions.items() if held.session.handle != session.handle}

    async def revoke_user(self, user: str, now: float) -> None:
        self._fail()

    async def revoke_logins(self, marks: Sequence[str], now: float) -> int:
        self._fail()
        return 0

    async def revoke_all(self, now: float) -> None:
        self._fail()

    async def list(self, user: str) -> list[SessionSummary]:
        return []

    async def refresh(self) -> None:
        return

    async def check(self) -> None:
        self._fail()

    async def close(self) -> None:
        return


async def failing_site(start_site: StartSite) -> tuple[ControlSite, FailingStore]:
    store = FailingStore()
    return await start_site(Settings(store=store)), store


async def test_a_login_that_the_store_does_not_take_is_503_and_no_login(start_site: StartSite) -> None:
    site, store = await failing_site(start_site)
    browser = site.browser()
    page = await browser.get("/_gateway/login")
    store.works = False
    form = {"username": "alice", "password": ALICE.password, "csrf_token": page.field("csrf_token")}
    answer = await browser.post("/_gateway/login", form)
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert not any("session=" in cookie for cookie in answer.cookies)
    assert "10.9.8.7" not in answer.text
    assert site.audited("login") == []
    assert site.audited("login_failed")[0].reason == "the session store failed"


async def test_a_logout_that_the_store_does_not_take_keeps_the_cookie(start_site: StartSite) -> None:
    site, store = await failing_site(start_site)
    browser = site.browser()
    await browser.login(ALICE)
    form = {"csrf_token": (await browser.get("/_gateway/logout")).field("csrf_token")}
    store.writes = False
    answer = await browser.post("/_gateway/logout", form)
    assert answer.status == 503
    assert "__Host-gateway_session" in browser.cookies
    assert site.audited("logout") == []
    store.writes = True
    assert (await browser.post("/_gateway/logout", form)).status == 303
    assert store.sessions == {}


async def test_with_the_store_down_nothing_private_is_shown(start_site: StartSite) -> None:
    site, store = await failing_site(start_site)
    browser = site.browser()
    await browser.login(ALICE)
    sent = {"X-Gateway-Session": next(iter(store.sessions))}
    assert (await site.browser().get("/_gateway/", {**PAGE, **sent})).status == 200
    store.works = False
    for path in ("/_gateway/", "/_gateway/me", "/_gateway/login", "/_gateway/logout"):
        answer = await site.browser().get(path, {**PAGE, **sent})
        assert answer.status == 503, path
        assert "Alice" not in answer.text


async def test_a_fault_of_ours_is_a_plain_500_and_the_log_has_the_rest(
    site: ControlSite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(user: str, password: str) -> None:
        raise RuntimeError("secret detail of the database")

    monkeypatch.setattr(site.login, "verify", broken)
    with caplog.at_level(logging.ERROR, "gateway.control"):
        answer = await site.browser().login(ALICE)
    assert answer.status == 500
    assert "Something went wrong" in answer.text
    assert "req-1" in answer.text
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret detail of the database" in caplog.text
    assert ALICE.password not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_gateway/nothing", 404),
        ("GET", "/_gateway/metrics", 404),
        ("GET", "/_gateway/healthz", 404),
        ("GET", "/_gateway/login/", 404),
        ("GET", "/_gateway//login", 404),
        ("GET", "/", 404),
        ("DELETE", "/_gateway/login", 405),
        ("POST", "/_gateway/me", 405),
        ("PUT", "/_gateway/", 405),
    ],
)
async def test_other_addresses_and_methods_are_refused_in_the_callers_form(
    site: ControlSite, method: str, path: str, status: int
) -> None:
    page = await site.browser().send(method, path, PAGE)
    assert page.status == status
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    problem = await site.browser().send(method, path, PROGRAM)
    assert problem.status == status
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert json.loads(problem.text)["status"] == status
    if status == 405:
        assert "GET" in problem.headers["Allow"]


async def test_header_bytes_that_are_no_text_break_no_page(site: ControlSite) -> None:
    head = b"GET /_gateway/nothing HTTP/1.1\r\nHost: h\xff\r\nX-Request-Id: r\xff\r\nUser-Agent: \xfe\r\n"
    address = site.client.server
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(head + b"Accept: text/html\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"Page not found" in answer


async def test_a_head_request_gets_the_head_of_the_page(site: ControlSite) -> None:
    answer = await site.browser().send("HEAD", "/_gateway/login", PAGE)
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize(
    ("headers", "is_page"),
    [
        (PAGE, True),
        ({"Accept": "text/html"}, True),
        ({"Accept": "text/html", "Sec-Fetch-Mode": "cors"}, False),
        ({"Accept": "text/html", "Sec-Fetch-Dest": "empty"}, False),
        ({"Accept": "*/*"}, False),
        (PROGRAM, False),
    ],
)
async def test_who_navigates_gets_a_page_and_who_calls_a_problem(
    site: ControlSite, headers: dict[str, str], is_page: bool
) -> None:
    answer = await site.browser().get("/_gateway/nothing", headers)
    assert answer.headers["Content-Type"].startswith("text/html") is is_page
