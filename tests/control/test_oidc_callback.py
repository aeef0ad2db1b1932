"""What may come back through the browser in place of a login, and is refused."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest

from gateway.login.oidc.openid import OpenIdLogin
from tests.control.conftest import StartSite
from tests.control.harness import Settings
from tests.control.oidc import CALLBACK, QUICK, Rig, settings_of
from tests.support.provider import (
    FakeProvider,
)
from tests.support.visitor import PAGE, PROGRAM

COOKIE = "__Host-gateway_logins"


async def test_a_callback_is_good_once_even_with_the_cookie_of_before(rig: Rig) -> None:
    browser, thief = rig.site.browser(), rig.site.browser()
    back = rig.provider.visit(await rig.leave(browser))
    thief.cookies = dict(browser.cookies)
    rig.provider.accepts_used_codes = True
    assert (await browser.get(back)).status == 303
    rig.site.events.clear()
    assert (await browser.get(back)).status == 400
    rig.site.events.clear()
    await rig.assert_refused(thief, await thief.get(back), "no login in progress")


async def test_a_code_that_the_provider_gave_before_is_refused(rig: Rig) -> None:
    browser = rig.site.browser()
    used = dict(parse_qsl(rig.provider.visit(await rig.leave(browser)).partition("?")[2]))
    fresh = dict(parse_qsl(rig.provider.visit(await rig.leave(browser)).partition("?")[2]))
    await browser.get(f"{CALLBACK}?{urlencode(used)}")
    other = rig.site.browser()
    other.cookies = {name: value for name, value in browser.cookies.items() if name == COOKIE}
    rig.site.events.clear()
    answer = await other.get(f"{CALLBACK}?{urlencode({**fresh, 'code': used['code']})}")
    await rig.assert_refused(other, answer, "invalid_grant")


async def test_a_callback_in_another_browser_is_refused(rig: Rig) -> None:
    victim, attacker = rig.site.browser(), rig.site.browser()
    back = rig.provider.visit(await rig.leave(attacker))
    await rig.assert_refused(victim, await victim.get(back), "no login in progress")
    assert rig.provider.counts["/token"] == 0


async def test_a_code_of_somebody_else_s_login_is_refused(rig: Rig) -> None:
    """Injecting a code: the state is the victim's own, but nonce and verifier are not those of the code."""
    victim, attacker = rig.site.browser(), rig.site.browser()
    stolen = dict(parse_qsl(rig.provider.visit(await rig.leave(attacker)).partition("?")[2]))["code"]
    own = dict(parse_qsl(rig.provider.visit(await rig.leave(victim)).partition("?")[2]))
    answer = await victim.get(f"{CALLBACK}?{urlencode({**own, 'code': stolen})}")
    await rig.assert_refused(victim, answer, "(nonce)")
    assert rig.provider.violations == ["the code verifier is not that of the challenge"]
    rig.provider.violations.clear()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://evil.example"}, "another issuer (iss)"),
        ({"iss": None}, "another issuer (iss)"),
        ({"code": None}, "without a usable code"),
        ({"code": ""}, "without a usable code"),
        ({"code": "x" * 5000}, "without a usable code"),
        ({"error": "invalid_request", "error_description": "<script>alert(1)</script>"}, "invalid_request"),
    ],
)
async def test_an_odd_answer_through_the_browser_is_refused(
    rig: Rig, change: dict[str, str | None], reason: str
) -> None:
    browser = rig.site.browser()
    rig.provider.answer = change
    answer = await rig.login(browser)
    await rig.assert_refused(browser, answer, reason)
    assert "<script" not in answer.text
    assert rig.provider.counts["/token"] == 0


async def test_consent_refused_says_so_and_can_be_tried_again(rig: Rig) -> None:
    browser = rig.site.browser()
    rig.provider.answer = {"error": "access_denied", "code": None}
    answer = await rig.login(browser)
    await rig.assert_refused(browser, answer, "access_denied", 403)
    assert "The sign-in at Single sign-on was cancelled" in answer.text
    rig.provider.answer = {}
    assert (await rig.login(browser)).status == 303


async def test_an_error_without_the_right_iss_or_state_is_not_believed(rig: Rig) -> None:
    browser = rig.site.browser()
    rig.provider.answer = {"error": "access_denied", "code": None, "iss": "https://evil.example"}
    await rig.assert_refused(browser, await rig.login(browser), "another issuer")
    rig.site.events.clear()
    answer = await browser.get(f"{CALLBACK}?error=access_denied&state=made-up")
    await rig.assert_refused(browser, answer, "no login in progress")


@pytest.mark.parametrize(
    "query", ["state=a&state=b&code=x&code=y", "code=x&code=x&state=y", "&".join(f"a{n}=b" for n in range(99))]
)
async def test_parameters_that_are_given_twice_are_refused(rig: Rig, query: str) -> None:
    assert (await rig.site.browser().get(f"{CALLBACK}?{query}")).status == 400


@pytest.mark.parametrize("query", ["", "code=x", "state=", "code=x&state=%ff%00", "code=x&state=é"])
async def test_a_callback_out_of_nowhere_is_refused(rig: Rig, query: str) -> None:
    browser = rig.site.browser()
    await rig.assert_refused(browser, await browser.get(f"{CALLBACK}?{query}"), "no login in progress")


@pytest.mark.parametrize("value", ["", "x", "v1.AAAA", "v1." + "A" * 200])
async def test_a_forged_cookie_holds_no_login_and_does_no_harm(rig: Rig, value: str) -> None:
    browser = rig.site.browser()
    back = rig.provider.visit(await rig.leave(browser))
    browser.cookies[COOKIE] = value
    await rig.assert_refused(browser, await browser.get(back), "no login in progress")
    assert (await rig.login(browser)).status == 303


async def test_looking_at_the_callback_s_link_uses_nothing_up(rig: Rig) -> None:
    browser = rig.site.browser()
    back = rig.provider.visit(await rig.leave(browser))
    assert (await browser.send("HEAD", back, PAGE)).status == 405
    assert (await browser.post(back.partition("?")[0], {})).status == 405
    assert (await browser.get(back)).status == 303


async def test_an_unknown_provider_is_not_found(rig: Rig) -> None:
    for end in ("start", "callback"):
        assert (await rig.site.browser().get(f"/_gateway/oidc/other/{end}")).status == 404


async def test_programs_get_a_problem(rig: Rig) -> None:
    answer = await rig.site.browser().get(f"{CALLBACK}?code=x&state=y", PROGRAM)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")


async def test_the_answer_of_one_provider_is_not_taken_for_another_s(
    start_site: StartSite, provider: FakeProvider
) -> None:
    """Mix-up (RFC 9700 §4.4): a login at the honest provider comes back at the callback of the other."""
    with FakeProvider() as evil:
        logins = {
            "sso": OpenIdLogin(settings_of(provider), QUICK),
            "evil": OpenIdLogin(settings_of(evil, id="evil"), QUICK),
        }
        site = await start_site(Settings(providers=logins))
        rig, browser = Rig(site, provider), site.browser()
        back = provider.visit(await rig.leave(browser))
        answer = await browser.get(back.replace("/sso/", "/evil/"))
        assert answer.status == 400
        assert site.audited("login_failed")[0].reason == "evil: the answer to a login at 'sso'"
        assert await browser.session() is None
        assert evil.counts["/token"] == 0
