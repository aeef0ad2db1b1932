"""What a session keeps of a login at a provider, and logouts that begin here or there."""

from __future__ import annotations

from gateway.core.provider import Provider
from gateway.login.oidc.openid import OpenIdLogin
from tests.control.conftest import StartSite
from tests.control.harness import Settings
from tests.control.oidc import QUICK, Rig, settings_of
from tests.support.provider import FakeProvider


async def start(start_site: StartSite, provider: FakeProvider, known: Provider | None = None) -> Rig:
    """Start a site that knows the provider and keeps its sessions in a file."""
    login = OpenIdLogin(known or settings_of(provider), QUICK)
    return Rig(await start_site(Settings(providers={"sso": login}, sqlite=True)), provider)


# What is kept


async def test_a_stored_session_keeps_what_ends_and_renews_the_login(
    start_site: StartSite, provider: FakeProvider
) -> None:
    rig = await start(start_site, provider)
    browser = rig.site.browser()
    await rig.login(browser)
    session = await browser.session()
    assert session
    assert session.login
    login = session.login
    assert (login.provider, login.issuer, login.subject, login.sid) == (
        "sso",
        provider.issuer,
        "subject-1",
        "session-1",
    )
    assert login.id_token.count(".") == 2
    assert login.refresh_token
    assert login.access_token == ""


async def test_a_sealed_session_keeps_no_tokens(rig: Rig) -> None:
    browser = rig.site.browser()
    await rig.login(browser)
    session = await browser.session()
    assert session
    assert session.login
    login = session.login
    assert (login.provider, login.subject, login.sid) == ("sso", "subject-1", "session-1")
    assert (login.id_token, login.access_token, login.refresh_token) == ("", "", "")
