"""A provider that is down, slow, odd, or changes its keys."""

from __future__ import annotations

import asyncio

import pytest

from tests.control.conftest import StartSite
from tests.control.oidc import IMPATIENT, QUICK, START, Rig, start_rig
from tests.support.provider import (
    FakeProvider,
    endless,
    hang,
    new_key,
    said,
)
from tests.support.users import ALICE

LOGIN = "/_gateway/login"


SLOW_OR_ODD = {
    "hangs": hang,
    "5 MB": endless,
    "announces 5 MB": said(200, b" " * 5_000_000),
    "HTML": said(200, b"<html>sign in</html>", "text/html"),
    "redirect": said(302, b"{}", Location="https://evil.example/token"),
    "broken JSON": said(200, b'{"id_token": '),
    "a list": said(200, b"[]"),
    "deep JSON": said(200, b"[" * 100_000),
    "500": said(500, b'{"error": "server_error"}'),
    "gzip": said(200, b"{}", **{"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("path", ["/token", "/jwks", "/userinfo"])
@pytest.mark.parametrize("name", SLOW_OR_ODD)
async def test_an_endpoint_out_of_order_is_a_502_page_in_time(
    start_site: StartSite, provider: FakeProvider, name: str, path: str
) -> None:
    rig = await start_rig(start_site, provider, IMPATIENT if name == "hangs" else QUICK)
    browser = rig.site.browser()
    rig.provider.in_userinfo = {"groups"}
    rig.provider.instead = {path: SLOW_OR_ODD[name]}
    answer = await rig.login(browser)
    assert "Single sign-on does not work" in answer.text
    await rig.assert_refused(browser, answer, "", 502)
    rig.provider.instead = {}
    assert (await rig.login(browser)).status == 303


async def test_a_provider_that_is_down_at_the_start_says_so_on_its_button_and_nobody_else_minds(
    start_site: StartSite, provider: FakeProvider
) -> None:
    provider.down()
    rig = await start_rig(start_site, provider)
    browser = rig.site.browser()
    answer = await browser.get(START)
    await rig.assert_refused(browser, answer, provider.issuer, 503)
    assert answer.headers["Retry-After"]
    assert "Single sign-on is not reachable" in answer.text
    page = await browser.get(LOGIN)
    assert "Single sign-on <small>cannot be reached right now</small>" in page.text
    assert (await rig.site.browser().login(ALICE)).status == 303
    provider.up()
    for _ in range(500):
        if "cannot be reached" not in (await browser.get(LOGIN)).text:
            break
        await asyncio.sleep(0.02)
    assert (await rig.login(browser)).status == 303


async def test_a_provider_that_goes_down_later_keeps_its_button_and_fails_in_time(rig: Rig) -> None:
    browser = rig.site.browser()
    back = rig.provider.visit(await rig.leave(browser))
    rig.provider.down()
    await rig.assert_refused(browser, await browser.get(back), "failed", 502)
    rig.provider.up()


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "http://evil.example/token"},
        {"token_endpoint": "https://user@evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"userinfo_endpoint": 7},
    ],
)
async def test_a_provider_that_describes_itself_oddly_is_as_good_as_down(
    start_site: StartSite, provider: FakeProvider, metadata: dict[str, object]
) -> None:
    provider.metadata = metadata
    rig = await start_rig(start_site, provider)
    browser = rig.site.browser()
    await rig.assert_refused(browser, await browser.get(START), "", 503)


async def test_keys_that_were_changed_without_overlap_are_fetched_once_more(rig: Rig) -> None:
    assert (await rig.login(rig.site.browser())).status == 303
    rig.provider.rotate()
    assert (await rig.login(rig.site.browser())).status == 303
    assert rig.provider.counts["/jwks"] == 2
    rig.provider.keys = [new_key("EC", rig.provider.keys[0].kid)]
    assert (await rig.login(rig.site.browser())).status == 303
    assert rig.provider.counts["/jwks"] == 3
