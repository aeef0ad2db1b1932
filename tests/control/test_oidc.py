"""Logging in at a provider: there, back, in many tabs."""

from __future__ import annotations

import pytest

from gateway.core.cookie import CookiePolicy
from gateway.core.provider import ClaimPaths
from tests.control.conftest import StartSite
from tests.control.oidc import CALLBACK, START, Rig, start_rig
from tests.support.provider import (
    CLIENT_ID,
    FakeProvider,
    asked_for,
    new_key,
)
from tests.support.users import ALICE

LOGIN = "/_gateway/login"
COOKIE = "__Host-gateway_logins"


async def test_a_login_at_the_provider_opens_a_session_and_leads_on(rig: Rig) -> None:
    browser = rig.site.browser()
    answer = await rig.login(browser, "/wiki/start?x=1")
    assert (answer.status, answer.headers["Location"]) == (303, "/wiki/start?x=1")
    session = await browser.session()
    assert session
    identity = session.identity
    assert (identity.user, identity.name, identity.email) == ("alice", "Alice Liddell", "alice@example.com")
    assert (identity.groups, identity.method) == (("staff", "wiki"), "sso")
    (event,) = rig.site.audited("login")
    assert (event.user, event.reason, event.session) == ("alice", "sso", session.handle)
    assert COOKIE not in browser.cookies


async def test_the_request_has_state_nonce_pkce_and_a_callback_of_its_own(rig: Rig) -> None:
    browser = rig.site.browser()
    first, second = [asked_for(await rig.leave(browser)) for _ in range(2)]
    assert first["redirect_uri"] == f"https://apps.example.com{CALLBACK}"
    assert (first["response_type"], first["scope"], first["client_id"]) == ("code", "openid profile email", CLIENT_ID)
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 32
        assert first[name] != second[name]
    assert first["state"] not in browser.cookies[COOKIE]


async def test_the_cookie_of_logins_in_progress_is_guarded_and_short_lived(rig: Rig) -> None:
    answer = await rig.site.browser().get(START)
    (cookie,) = [line for line in answer.cookies if line.startswith(COOKIE)]
    for attribute in ("Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age=600"):
        assert attribute in cookie


async def test_a_login_begins_a_new_session_and_ends_the_one_before(rig: Rig) -> None:
    browser = rig.site.browser()
    back = rig.provider.visit(await rig.leave(browser))
    await browser.login(ALICE)
    old = dict(browser.cookies)
    assert (await browser.get(back)).status == 303
    browser.cookies = old
    assert await browser.session() is None


async def test_the_login_page_has_a_button_for_the_provider_that_leads_to_the_same_page(rig: Rig) -> None:
    page = await rig.site.browser().get(f"{LOGIN}?next=/wiki")
    assert f'href="{START}?next=/wiki"' in page.text
    assert "Continue with Single sign-on" in page.text


async def test_somebody_signed_in_goes_on_at_once(rig: Rig) -> None:
    browser = rig.site.browser()
    await rig.login(browser)
    answer = await browser.get(f"{START}?next=/reports")
    assert (answer.status, answer.headers["Location"]) == (303, "/reports")


async def test_a_login_leads_nowhere_else_whatever_is_asked_for(rig: Rig) -> None:
    answer = await rig.login(rig.site.browser(), "https://evil.example/")
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_with_strict_cookies_a_page_of_our_own_leads_on(start_site: StartSite, provider: FakeProvider) -> None:
    rig = await start_rig(start_site, provider, cookie=CookiePolicy(same_site="strict"))
    browser = rig.site.browser()
    answer = await rig.login(browser, "/wiki?a=1&b=2")
    assert answer.status == 200
    assert '<meta http-equiv="refresh" content="0;url=/wiki?a=1&amp;b=2">' in answer.text
    assert await browser.session()


async def test_on_another_host_a_login_begins_at_public_url_and_leads_back(
    start_site: StartSite, provider: FakeProvider
) -> None:
    rig = await start_rig(start_site, provider, cookie=CookiePolicy(domain="example.com"))
    browser = rig.site.browser("mail.example.com")
    answer = await browser.get(f"{START}?next=/inbox")
    assert answer.status == 302
    assert answer.headers["Location"] == (f"https://apps.example.com{START}?next=https%3A//mail.example.com/inbox")
    assert (await browser.get(f"{CALLBACK}?code=a&state=b")).status == 404


@pytest.mark.parametrize("kind", ["RSA", "EC", "OKP"])
async def test_keys_of_every_usual_kind_sign(rig: Rig, kind: str) -> None:
    rig.provider.keys = [new_key(kind)]
    assert (await rig.login(rig.site.browser())).status == 303


async def test_what_the_id_token_lacks_comes_from_userinfo(rig: Rig) -> None:
    rig.provider.in_userinfo = {"preferred_username", "email", "email_verified", "groups", "name"}
    browser = rig.site.browser()
    await rig.login(browser)
    session = await browser.session()
    assert session
    assert (session.identity.user, session.identity.email) == ("alice", "alice@example.com")
    assert session.identity.groups == ("staff", "wiki")
    rig.provider.in_userinfo.clear()
    await rig.login(rig.site.browser())
    assert rig.provider.counts["/userinfo"] == 1


async def test_groups_may_lie_deeper_and_further_claims_have_names_of_ours(
    start_site: StartSite, provider: FakeProvider
) -> None:
    provider.person |= {"realm_access": {"roles": ["ops"]}, "https://example.com/badge": 17}
    claims = ClaimPaths(groups="realm_access.roles", other=(("badge", "https://example.com/badge"),))
    rig = await start_rig(start_site, provider, claims=claims)
    browser = rig.site.browser()
    await rig.login(browser)
    session = await browser.session()
    assert session
    assert session.identity.groups == ("ops",)
    assert dict(session.identity.claims) == {"sub": "subject-1", "badge": 17}


async def test_the_newest_tabs_work_in_any_order_and_the_cookie_does_not_grow(rig: Rig) -> None:
    browser = rig.site.browser()
    backs, sizes = [], []
    for tab in range(30):
        backs.append(rig.provider.visit(await rig.leave(browser, f"/wiki/{tab}?{'x' * 60}")))
        sizes.append(len(browser.cookies[COOKIE]))
    assert max(sizes) < 4096
    assert max(sizes[5:]) - min(sizes[5:]) < 20
    for tab in (27, 25, 29, 26, 28):
        assert (await browser.get(backs[tab])).headers["Location"].startswith(f"/wiki/{tab}?")
    assert (await browser.get(backs[24])).status == 400


async def test_long_addresses_do_not_break_the_cookie(rig: Rig) -> None:
    browser = rig.site.browser()
    back = ""
    for _ in range(5):
        back = rig.provider.visit(await rig.leave(browser, "/wiki/" + "a" * 1900))
        assert len(browser.cookies[COOKIE]) < 4096
    assert len((await browser.get(back)).headers["Location"]) == 1906
    assert (await rig.login(rig.site.browser(), "/wiki/" + "a" * 3000)).headers["Location"] == "/"
    assert (await rig.login(rig.site.browser(), "/wiki/page?" + "a" * 3000)).headers["Location"] == "/wiki/page"


async def test_an_hour_later_a_login_is_no_longer_in_progress(rig: Rig) -> None:
    browser = rig.site.browser()
    back = rig.provider.visit(await rig.leave(browser))
    rig.site.clock.move(601)
    await rig.assert_refused(browser, await browser.get(back), "no login in progress")
