"""What a session keeps of a login at a provider, and logouts that begin here or there."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from gateway.core.provider import Provider
from gateway.core.session import Session
from gateway.errors import StoreUnavailable
from gateway.login.oidc.openid import OpenIdLogin
from gateway.sessions.token_vault import KeptLogin
from tests.control.conftest import StartSite
from tests.control.harness import FORM, Answer, Browser, Settings
from tests.control.oidc import QUICK, Rig, settings_of
from tests.support.provider import CLIENT_ID, At, FakeProvider, new_key, said, sign, unsigned
from tests.support.users import ALICE
from tests.support.waiting import wait_for

BACK_CHANNEL = "/_gateway/oidc/sso/backchannel-logout"
FRONT_CHANNEL = "/_gateway/oidc/sso/frontchannel-logout"
SIGNED_OUT = "/_gateway/oidc/sso/signed-out"


async def start(
    start_site: StartSite, provider: FakeProvider, known: Provider | None = None, *, sqlite: bool = True
) -> Rig:
    """Start a site that knows the provider and keeps its sessions in a file, or in cookies."""
    login = OpenIdLogin(known or settings_of(provider), QUICK)
    return Rig(await start_site(Settings(providers={"sso": login}, sqlite=sqlite)), provider)


async def session_of(browser: Browser) -> Session:
    session = await browser.session()
    assert session
    return session


async def kept_of(rig: Rig, session: Session) -> KeptLogin:
    """Return what is kept apart from a session."""
    kept = await rig.site.vault.get(session)
    assert kept
    return kept


async def log_out(browser: Browser, **more: str) -> Answer:
    page = await browser.get("/_gateway/logout")
    return await browser.post("/_gateway/logout", {"csrf_token": page.field("csrf_token"), **more})


def way_out(answer: Answer, provider: FakeProvider) -> dict[str, str]:
    """Return what the provider is told of a logout."""
    assert answer.status == 200
    (link,) = re.findall(r'class="button primary" href="([^"]+)"', answer.text)
    place, _, query = html.unescape(link).partition("?")
    assert place == f"{provider.issuer}/end"
    return {name: value for name, (value,) in parse_qs(query, strict_parsing=True).items()}


async def tell(rig: Rig, token: str, host: str = "apps.example.com") -> Answer:
    """Send a logout token as the provider does: without a cookie."""
    body = urlencode({"logout_token": token}).encode()
    return await rig.site.browser(host).send("POST", BACK_CHANNEL, FORM, body)


# What is kept


@pytest.mark.parametrize("sqlite", [True, False])
async def test_tokens_are_kept_apart_from_the_session(
    start_site: StartSite, provider: FakeProvider, sqlite: bool
) -> None:
    """The session has the names of the login and when to ask again; what is secret lies in the vault."""
    rig = await start(start_site, provider, sqlite=sqlite)
    browser = rig.site.browser()
    await rig.login(browser)
    session = await session_of(browser)
    assert session.login
    login = session.login
    assert (login.provider, login.issuer, login.subject, login.sid) == (
        "sso",
        provider.issuer,
        "subject-1",
        "session-1",
    )
    assert login.refresh_at
    assert login.access_expires
    assert login.access_expires - login.refresh_at == pytest.approx(60, abs=1)
    kept = await kept_of(rig, session)
    assert (kept.identity, kept.login) == (session.identity, login)
    assert kept.tokens.id_token.count(".") == 2
    assert kept.tokens.refresh_token
    assert kept.tokens.access_token == ""
    assert (kept.tokens.access_expires or 0) == pytest.approx(login.access_expires, abs=1)


async def test_without_a_refresh_token_nothing_is_to_be_asked_again(
    start_site: StartSite, provider: FakeProvider
) -> None:
    """The access token is kept to be given back."""
    provider.tokens = {"refresh_token": None}
    rig = await start(start_site, provider)
    browser = rig.site.browser()
    await rig.login(browser)
    session = await session_of(browser)
    assert session.login
    assert (session.login.access_expires, session.login.refresh_at) == (None, None)
    tokens = (await kept_of(rig, session)).tokens
    assert tokens.access_token
    assert tokens.refresh_token == ""


async def test_a_refresh_token_that_is_not_wanted_is_not_kept(start_site: StartSite, provider: FakeProvider) -> None:
    rig = await start(start_site, provider, settings_of(provider, refresh=False))
    browser = rig.site.browser()
    await rig.login(browser)
    session = await session_of(browser)
    assert session.login
    assert session.login.refresh_at is None
    assert (await kept_of(rig, session)).tokens.refresh_token == ""


async def test_a_login_whose_tokens_cannot_be_kept_is_none(
    start_site: StartSite, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await start(start_site, provider)
    browser = rig.site.browser()

    async def fail(*_: object) -> None:
        raise StoreUnavailable("no")

    with monkeypatch.context() as patch:
        patch.setattr(rig.site.vault, "put", fail)
        assert (await rig.login(browser)).status == 503
    assert await browser.session() is None


# Logouts that begin here


@pytest.mark.parametrize("sqlite", [True, False])
async def test_a_logout_ends_the_session_then_leads_to_the_provider_and_back(
    start_site: StartSite, provider: FakeProvider, sqlite: bool
) -> None:
    rig = await start(start_site, provider, sqlite=sqlite)
    browser = rig.site.browser()
    await rig.login(browser)
    session = await session_of(browser)
    kept, tokens = dict(browser.cookies), (await kept_of(rig, session)).tokens
    told = way_out(await log_out(browser, next="/wiki"), provider)
    assert told["id_token_hint"] == tokens.id_token
    assert await rig.site.vault.get(session) is None
    assert (told["client_id"], "logout_hint" in told) == (CLIENT_ID, False)
    assert told["post_logout_redirect_uri"] == f"https://apps.example.com{SIGNED_OUT}"
    browser.cookies = kept
    assert await browser.session() is None
    back = await browser.get(f"{SIGNED_OUT}?{urlencode({'state': told['state']})}")
    assert back.status == 303
    assert back.headers["Location"] == "https://apps.example.com/_gateway/login?signed_out=1&next=/wiki"
    assert "You are signed out." in (await browser.get("/_gateway/login?signed_out=1&next=/wiki")).text
    assert [event.user for event in rig.site.audited("logout")] == ["alice"]


@pytest.mark.parametrize("broken", [True, False])
async def test_without_its_tokens_a_session_logs_out_there_by_the_names_it_kept(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """Whether they are there no more, or the vault fails: that holds up no logout."""
    browser = rig.site.browser()
    await rig.login(browser)

    async def fail(*_: object) -> None:
        raise StoreUnavailable("no")

    if broken:
        monkeypatch.setattr(rig.site.vault, "drop", fail)
    else:
        await rig.site.vault.drop(await session_of(browser))
    told = way_out(await log_out(browser), rig.provider)
    assert (told["client_id"], told["logout_hint"], "id_token_hint" in told) == (CLIENT_ID, "session-1", False)
    assert await browser.session() is None


async def test_a_logout_on_another_host_comes_back_there(rig: Rig) -> None:
    browser = rig.site.browser()
    await rig.login(browser)
    other = rig.site.browser("mail.example.com")
    other.cookies = browser.cookies
    told = way_out(await log_out(other), rig.provider)
    back = await browser.get(f"{SIGNED_OUT}?{urlencode({'state': told['state']})}")
    assert back.headers["Location"] == "https://mail.example.com/_gateway/login?signed_out=1"


@pytest.mark.parametrize("state", ["", "x", "https://evil.example/", "v1.AAAA"])
async def test_a_state_that_is_not_ours_leads_to_our_own_page(rig: Rig, state: str) -> None:
    back = await rig.site.browser().get(f"{SIGNED_OUT}?{urlencode({'state': state})}")
    assert (back.status, back.headers["Location"]) == (303, "/_gateway/login?signed_out=1")


async def test_without_a_place_to_log_out_there_the_logout_is_here_alone(rig: Rig) -> None:
    rig.provider.metadata = {"end_session_endpoint": None}
    browser = rig.site.browser()
    await rig.login(browser)
    answer = await log_out(browser)
    assert (answer.status, answer.headers["Location"]) == (303, "/_gateway/login?signed_out=1")
    assert await browser.session() is None


async def test_local_users_are_not_sent_to_a_provider(rig: Rig) -> None:
    browser = rig.site.browser()
    await browser.login(ALICE)
    assert (await log_out(browser)).status == 303


async def test_a_logout_gives_the_tokens_back(start_site: StartSite, provider: FakeProvider) -> None:
    rig = await start(start_site, provider)
    browser = rig.site.browser()
    await rig.login(browser)
    kept = await kept_of(rig, await session_of(browser))
    await log_out(browser)
    await asyncio.to_thread(wait_for, lambda: bool(provider.revoked))
    (form,) = provider.revoked
    assert (form["token"], form["token_type_hint"]) == (kept.tokens.refresh_token, "refresh_token")


async def test_a_provider_that_takes_no_tokens_back_holds_up_no_logout(
    start_site: StartSite, provider: FakeProvider
) -> None:
    provider.instead["/revoke"] = said(500, b"no", "text/html")
    rig = await start(start_site, provider)
    browser = rig.site.browser()
    await rig.login(browser)
    assert (await log_out(browser)).status == 200
    assert await browser.session() is None
    await asyncio.to_thread(wait_for, lambda: provider.counts["/revoke"] == 1)


# Logouts that begin there


@pytest.mark.parametrize("sqlite", [True, False])
@pytest.mark.parametrize("change", [{}, {"sid": None}, {"sub": None}], ids=["both", "sub", "sid"])
async def test_a_logout_token_ends_the_sessions_it_names(
    start_site: StartSite, provider: FakeProvider, sqlite: bool, change: dict[str, Any]
) -> None:
    """Those of the session there, or all of the person; nobody else's, and not the local ones of the same name."""
    login = OpenIdLogin(settings_of(provider), QUICK)
    rig = Rig(await start_site(Settings(providers={"sso": login}, sqlite=sqlite)), provider)
    mine, second, elsewhere, local = [rig.site.browser() for _ in range(4)]
    await rig.login(mine)
    provider.change = {"sid": "session-2"}
    await rig.login(second)
    provider.change = {"sid": "session-3", "sub": "subject-3"}
    await rig.login(elsewhere)
    await local.login(ALICE)
    answer = await tell(rig, provider.logout_token(**change))
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert await mine.session() is None
    assert (await second.session() is None) is ("sid" in change)
    assert await elsewhere.session()
    assert await local.session()
    (event,) = rig.site.audited("sessions_ended")
    assert (event.by, event.ended) == ("provider", (1 + ("sid" in change)) * sqlite)
    assert event.reason.startswith("sso: back-channel logout of ")
    rig.site.clock.move(1)
    provider.change = {}
    await rig.login(mine)
    assert await mine.session()


async def test_a_session_that_began_without_a_name_ends_with_any_of_the_person(rig: Rig) -> None:
    """It may be the very one."""
    rig.provider.change = {"sid": None}
    browser = rig.site.browser()
    await rig.login(browser)
    assert (await tell(rig, rig.provider.logout_token(sub="subject-2"))).status == 200
    assert await browser.session()
    assert (await tell(rig, rig.provider.logout_token())).status == 200
    assert await browser.session() is None


async def test_a_logout_token_is_good_once(rig: Rig) -> None:
    token = rig.provider.logout_token()
    assert (await tell(rig, token)).status == 200
    rig.site.clock.move(1)
    browser = rig.site.browser()
    await rig.login(browser)
    rig.site.clock.move(1)
    assert (await tell(rig, token)).status == 400
    assert await browser.session()
    (event,) = rig.site.audited("logout_refused")
    assert "jti" in event.reason


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"exp": At(-100)},
        {"events": {}},
        {"nonce": "n"},
        {"jti": None},
        {"sub": None, "sid": None},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_logout_token_that_is_not_sound_ends_nothing(rig: Rig, change: dict[str, Any]) -> None:
    browser = rig.site.browser()
    await rig.login(browser)
    answer = await tell(rig, rig.provider.logout_token(**change))
    assert (answer.status, answer.headers["Cache-Control"]) == (400, "no-store")
    assert await browser.session()
    assert len(rig.site.audited("logout_refused")) == 1


async def test_what_is_no_logout_token_of_the_provider_ends_nothing(rig: Rig) -> None:
    browser = rig.site.browser()
    await rig.login(browser)
    session = await browser.session()
    assert session
    claims = {"iss": rig.provider.issuer, "aud": CLIENT_ID, "sub": "subject-1", "jti": "j", "iat": 1, "exp": 2**33}
    for token in ("", "x", "a.b.c", unsigned(claims), sign(claims, new_key("EC", rig.provider.keys[0].kid))):
        assert (await tell(rig, token)).status == 400
    empty = await rig.site.browser().send("POST", BACK_CHANNEL, {"Content-Type": "application/json"}, b"{}")
    assert empty.status == 400
    assert await browser.session()


async def test_logout_tokens_are_taken_on_public_url_of_known_providers_by_post(rig: Rig) -> None:
    assert (await tell(rig, rig.provider.logout_token(), "mail.example.com")).status == 404
    assert (await rig.site.browser().get(BACK_CHANNEL)).status == 405
    unknown = await rig.site.browser().post(BACK_CHANNEL.replace("sso", "other"), {"logout_token": "x"})
    assert unknown.status == 404


async def test_a_logout_token_of_a_store_that_fails_may_come_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = rig.site.browser()
    await rig.login(browser)
    token = rig.provider.logout_token()

    async def fail(*_: object) -> int:
        raise StoreUnavailable("no")

    with monkeypatch.context() as patch:
        patch.setattr(rig.site.store, "revoke_logins", fail)
        assert (await tell(rig, token)).status == 503
    assert (await tell(rig, token)).status == 200
    assert await browser.session() is None


async def test_a_page_of_the_provider_logs_out_the_session_that_it_names(rig: Rig) -> None:
    browser = rig.site.browser()
    await rig.login(browser)
    kept = dict(browser.cookies)
    named = urlencode({"iss": rig.provider.issuer, "sid": "session-1"})
    answer = await browser.get(f"{FRONT_CHANNEL}?{named}")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert "frame-ancestors *" in answer.headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in answer.headers
    browser.cookies = kept
    assert await browser.session() is None
    (event,) = rig.site.audited("logout")
    assert (event.user, event.reason) == ("alice", "sso: front-channel logout")


async def test_a_page_that_names_another_session_logs_nobody_out(rig: Rig) -> None:
    browser, local, nobody = rig.site.browser(), rig.site.browser(), rig.site.browser()
    await rig.login(browser)
    await local.login(ALICE)
    good = {"iss": rig.provider.issuer, "sid": "session-1"}
    for change in ({"sid": "session-2"}, {"iss": "https://evil.example"}):
        assert (await browser.get(f"{FRONT_CHANNEL}?{urlencode({**good, **change})}")).status == 200
    for name in good:
        left = {key: value for key, value in good.items() if key != name}
        assert (await browser.get(f"{FRONT_CHANNEL}?{urlencode(left)}")).status == 400
    for other in (local, nobody):
        assert (await other.get(f"{FRONT_CHANNEL}?{urlencode(good)}")).status == 200
    assert await browser.session()
    assert await local.session()
    assert rig.site.audited("logout") == []
