"""A control plane with one provider of our own, and a browser that goes there and comes back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from gateway.core.cookie import CookiePolicy
from gateway.core.provider import Provider
from gateway.login.oidc.discovery import Pace
from gateway.login.oidc.jwks import KeyPace
from gateway.login.oidc.openid import OpenIdLogin, Timing
from tests.control.harness import Answer, Browser, ControlSite, Settings, StartSite
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, FakeProvider
from tests.support.waiting import PATIENCE

START = "/_gateway/oidc/sso/start"
CALLBACK = "/_gateway/oidc/sso/callback"
QUICK = Timing(
    pace=Pace(first_retry=0.05, last_retry=0.1),
    keys=KeyPace(cool_down=0.0, retry=0.0),
    request=PATIENCE,
    finish=PATIENCE,
)
"""Quick to try again; a slow machine has time to answer."""
IMPATIENT = replace(QUICK, request=2.0, finish=2.0)
"""Where somebody does not answer."""


@dataclass
class Rig:
    """A site and its provider."""

    site: ControlSite
    provider: FakeProvider

    async def leave(self, browser: Browser, next_url: str = "/wiki") -> str:
        """Begin a login; return where the browser is sent to."""
        answer = await browser.get(f"{START}?next={quote(next_url)}")
        assert answer.status == 303, (answer.status, answer.text)
        return answer.headers["Location"]

    async def login(self, browser: Browser, next_url: str = "/wiki") -> Answer:
        """Go to the provider and come back."""
        return await browser.get(self.provider.visit(await self.leave(browser, next_url)))

    async def assert_refused(self, browser: Browser, answer: Answer, reason: str, status: int = 400) -> None:
        """Require a clear page, an audit line and no session."""
        assert answer.status == status, (answer.status, self.site.events)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert 'href="/_gateway/login"' in answer.text
        assert await browser.session() is None
        assert self.site.audited("login") == []
        reasons = [event.reason for event in self.site.audited("login_failed")]
        assert len(reasons) == 1, reasons
        assert reasons[0].startswith("sso: "), reasons
        assert reason in reasons[0], reasons


def settings_of(provider: FakeProvider, **more: Any) -> Provider:
    """Return how the gateway knows the provider."""
    known = Provider("sso", provider.issuer, CLIENT_ID, name="Single sign-on", client_secret=CLIENT_SECRET)
    return replace(known, **more)


async def start_rig(start_site: StartSite, provider: FakeProvider, timing: Timing = QUICK, **more: Any) -> Rig:
    """Start a site that knows the provider."""
    cookie = more.pop("cookie", None) or CookiePolicy()
    login = OpenIdLogin(settings_of(provider, **more), timing)
    return Rig(await start_site(Settings(providers={"sso": login}, cookie=cookie)), provider)
