"""`next` never leads off the site: after a login, and for somebody who is logged in already.

The values are our own, and those of a folder ``checks`` where one lies beside the checkout (or where
``GATEWAY_CHECKS`` names one).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from tests.support.gateway import ROOT, GatewayProcess, gateway_config, route
from tests.support.raw import RawClient
from tests.support.upstream import RecorderUpstream
from tests.support.urls import resolve_origin, stays_on
from tests.support.users import ALICE
from tests.support.visitor import PAGE, Visitor, form_fields, logged_in

OWN = Path(__file__).parent / "data" / "hostile_next.txt"
FRIENDLY = ["/", "/app", "/app/a?b=c&d=e#f", "/app/deep/er?x=%2F", "/app/a%20b", "/_gateway/", "/app/?next=//x"]


def values() -> list[str]:
    """Return the hostile values, percent-decoded once as their files say."""
    folder = Path(os.environ.get("GATEWAY_CHECKS", ROOT.parent / "shared" / "checks"))
    files = [OWN, *(path for path in [folder / "open_redirects.txt"] if path.is_file())]
    return [unquote(line) for path in files for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with RecorderUpstream() as upstream:
        config = gateway_config(route("app", "/app", upstream.url), route("root", "/", upstream.url))
        with GatewayProcess(tmp_path_factory.mktemp("next"), config) as process:
            yield process


def test_there_are_enough_values() -> None:
    """The list is there and long."""
    own = OWN.read_bytes().splitlines()
    assert len(own) == len(set(own)) >= 150


def test_the_judge_knows_hostile_from_friendly() -> None:
    """What these tests measure with is itself right about browsers."""
    base = "http://127.0.0.1:8080"
    for bad in ("//evil", "/\\evil", "\\\\evil", "http:\\\\evil", "https:evil", "/\t/evil", " //evil", "javascript:x"):
        assert not stays_on(bad, base), bad
        assert resolve_origin(bad, base) != base, bad
    for good in (*FRIENDLY, "http://127.0.0.1:8080/app"):
        assert stays_on(good, base), good
    assert resolve_origin("http://127.0.0.1:8080@evil/", base) == "http://evil"
    assert resolve_origin("http://evil\\@127.0.0.1:8080/", base) == "http://evil"


def locations_for_a_user(gateway: GatewayProcess) -> dict[str, str]:
    """Return where a logged-in user is sent by the login page for each value; long ones are left out."""
    alice = logged_in(gateway, ALICE)
    found = {}
    with RawClient(gateway.port) as client:
        for value in values():
            encoded = quote(value, safe="")
            if len(encoded) > 7000:
                continue
            client.send(
                f"GET /_gateway/login?next={encoded} HTTP/1.1\r\nHost: {gateway.authority}\r\n"
                f"Accept: text/html\r\nCookie: {alice.cookie_header()}\r\n\r\n"
            )
            answer = client.answer()
            assert answer.status in (302, 303), (value, answer.status)
            found[value] = answer.get("Location") or ""
    return found


def test_a_logged_in_user_is_never_sent_away(gateway: GatewayProcess) -> None:
    """GET of the login page with a session answers every hostile value with a place on this site."""
    base = f"http://{gateway.authority}"
    found = locations_for_a_user(gateway)
    assert len(found) > 150
    assert not {value: location for value, location in found.items() if not stays_on(location, base)}


def test_a_login_never_leads_away(gateway: GatewayProcess) -> None:
    """POST of the login form with a hostile value leads to a place on this site.

    Each login costs a password hash, so of the values that lead to ``/`` above only some are taken.
    """
    base = f"http://{gateway.authority}"
    kept = [value for value, location in locations_for_a_user(gateway).items() if location != "/"]
    visitor = Visitor(gateway)
    token = form_fields(visitor.get("/_gateway/login", PAGE).text())["csrf_token"]
    away = []
    for value in [*kept, *values()[::15]]:
        browser = Visitor(gateway)
        browser.cookies = dict(visitor.cookies)
        form = {"username": ALICE.user, "password": ALICE.password, "csrf_token": token, "next": value}
        answer = browser.post("/_gateway/login", form)
        assert answer.status == 303, (value, answer.status)
        away += [(value, location) for location in answer.get_all("Location") if not stays_on(location, base)]
    assert not away


@pytest.mark.parametrize("target", FRIENDLY)
def test_a_login_leads_back(gateway: GatewayProcess, target: str) -> None:
    """A harmless ``next`` is kept to the letter."""
    assert Visitor(gateway).login(ALICE, next_url=target).get("Location") == target


def test_the_login_page_carries_next_without_markup(gateway: GatewayProcess) -> None:
    """What is put into the form is escaped, and is a safe place already."""
    page = Visitor(gateway).get("/_gateway/login?next=" + quote('/app/"><script>alert(1)</script>'), PAGE)
    assert b"<script>alert" not in page.body
    assert form_fields(page.text())["next"] in ("/", '/app/"><script>alert(1)</script>')
