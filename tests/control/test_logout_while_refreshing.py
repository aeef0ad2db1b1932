"""A logout while the provider is asked for new tokens: it gets them back, for nobody has them any more."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web

from gateway.control.refresh_once import RefresherParts, RefreshState
from gateway.control.refresher import Refresher
from gateway.core.refresh import Refreshed
from gateway.core.session import Session
from gateway.login.oidc.openid import OpenIdLogin
from tests.control.conftest import StartSite
from tests.control.harness import Answer, Browser, Settings
from tests.control.oidc import QUICK, Rig, settings_of
from tests.support.provider import Answer as ProviderAnswer
from tests.support.provider import FakeProvider
from tests.support.users import ALICE
from tests.support.waiting import PATIENCE, wait_until

OVER = Refreshed("over")


@dataclass
class Held:
    """An endpoint of the provider that does its part at once, and keeps its answer back."""

    answer: ProviderAnswer
    said: list[str] = field(default_factory=list)
    """What it is about to answer."""
    go: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        answer = await self.answer(request)
        assert isinstance(answer, web.Response)
        self.said.append(answer.text or "")
        assert await asyncio.to_thread(self.go.wait, PATIENCE)
        return answer

    async def is_asked(self) -> bool:
        return bool(self.said)


@dataclass
class Stage:
    """A site, somebody who logged in at its provider, and what refreshes the session."""

    rig: Rig
    browser: Browser
    session: Session
    token: str
    refresher: Refresher

    async def refresh_token(self) -> str:
        kept = await self.rig.site.vault.get(self.session)
        assert kept
        return kept.tokens.refresh_token

    def revoked(self) -> list[str]:
        return [form["token"] for form in self.rig.provider.revoked]

    def hold(self, path: str, answer: ProviderAnswer) -> Held:
        self.rig.provider.instead[path] = held = Held(answer)
        return held

    async def log_out(self) -> Answer:
        page = await self.browser.get("/_gateway/logout")
        return await self.browser.post("/_gateway/logout", {"csrf_token": page.field("csrf_token")})


@pytest.fixture(params=[True, False], ids=["sqlite", "cookie"])
async def stage(start_site: StartSite, provider: FakeProvider, request: pytest.FixtureRequest) -> Stage:
    login = OpenIdLogin(settings_of(provider), replace(QUICK, request=PATIENCE, finish=PATIENCE))
    site = await start_site(Settings(providers={"sso": login}, sqlite=request.param))
    site.clock.now = time.time()
    rig, browser = Rig(site, provider), site.browser()
    await rig.login(browser)
    session = await browser.session()
    assert session
    parts = site.parts
    refresher = Refresher(
        RefresherParts(
            site.store,
            site.vault,
            parts.providers,
            parts.session_cookie,
            RefreshState(site.ticks),
            site.events.append,
            site.clock,
        )
    )
    # The provider's tokens are good for 300 seconds.
    site.clock.move(280)
    return Stage(rig, browser, session, browser.cookies["__Host-gateway_session"], refresher)


async def test_tokens_that_come_after_the_logout_go_back(stage: Stage) -> None:
    old = await stage.refresh_token()
    held = stage.hold("/token", stage.rig.provider._token)
    asked = asyncio.create_task(stage.refresher.refresh(stage.token))
    await wait_until(held.is_asked)
    assert (await stage.log_out()).status == 200
    assert await stage.browser.session() is None
    held.go.set()
    assert await asked == OVER
    await stage.refresher.close()

    async def are_back() -> bool:
        return len(stage.revoked()) == 2

    await wait_until(are_back)
    assert set(stage.revoked()) == {old, json.loads(held.said[0])["refresh_token"]}
    assert await stage.rig.site.vault.get(stage.session) is None
    assert [event.kind for event in stage.rig.site.events] == ["login", "logout"]


@pytest.mark.parametrize("works", [True, False])
async def test_tokens_that_came_before_it_are_the_logouts_to_give_back(stage: Stage, works: bool) -> None:
    """Though the provider is still being asked about the person, and whatever it says of them."""
    provider = stage.rig.provider
    old, provider.in_userinfo = await stage.refresh_token(), {"groups"}
    held = stage.hold("/userinfo", provider._userinfo if works else _broken)
    asked = asyncio.create_task(stage.refresher.refresh(stage.token))
    await wait_until(held.is_asked)
    new = await stage.refresh_token()
    assert new != old
    assert (await stage.log_out()).status == 200
    held.go.set()
    assert (await asked).kind in (("over",) if works else ("later",))
    await stage.refresher.close()

    async def is_back() -> bool:
        return new in stage.revoked()

    await wait_until(is_back)
    assert await stage.rig.site.vault.get(stage.session) is None


async def _broken(_: web.Request) -> web.Response:
    return web.Response(status=502, text="no")


async def test_a_new_login_in_the_same_browser_takes_nothing_back(stage: Stage) -> None:
    """There are providers that would end both; and what was asked for is kept, for the earlier login may be in use."""
    held = stage.hold("/token", stage.rig.provider._token)
    asked = asyncio.create_task(stage.refresher.refresh(stage.token))
    await wait_until(held.is_asked)
    another = stage.rig.site.browser()
    shown = await another.get("/_gateway/login")
    stage.browser.cookies |= another.cookies
    form = {"username": ALICE.user, "password": ALICE.password, "csrf_token": shown.field("csrf_token")}
    assert (await stage.browser.post("/_gateway/login", form)).status == 303
    held.go.set()
    assert (await asked).kind == "fresh"
    await stage.refresher.close()
    assert stage.rig.provider.counts["/revoke"] == 0
    session = await stage.browser.session()
    assert session
    assert session.login is None
