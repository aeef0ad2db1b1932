"""Being remembered after a login at a provider: chosen on the page, carried under seal, kept from then on."""

from __future__ import annotations

import re
from html import unescape

import pytest

from gateway.core.cookie import CookiePolicy
from gateway.core.policy import Rule
from gateway.core.provider import Provider
from gateway.core.route import Route
from gateway.core.session import Lifetimes, Session
from gateway.core.step_up import StepUp
from gateway.core.upstream import UpstreamAddress
from gateway.login.oidc.github import GithubLogin
from gateway.login.oidc.openid import OpenIdLogin
from tests.control.conftest import StartSite
from tests.control.harness import HOST, ROUTES, Answer, Browser, Settings
from tests.control.hosts import OTHER, TAB, Person
from tests.control.hosts import ROUTES as SEVERAL_HOSTS
from tests.control.oidc import QUICK, START, Rig, settings_of, start_rig
from tests.control.refreshing import Gateway, World
from tests.support import github as at_github
from tests.support.github import FakeGithub
from tests.support.provider import FakeProvider, asked_for
from tests.support.users import ALICE

DAY = 86400
LOGIN = "/_gateway/login"
LASTING = f"; Max-Age={30 * DAY}; Expires="
ASKING = Route(
    "pay", (UpstreamAddress("127.0.0.1", 9),), Rule("p", step_up=StepUp("pay", ("mfa",))), path="/pay", title="Pay"
)


async def begin(browser: Browser, query: str) -> str:
    """Begin a login; return where the browser is sent to."""
    answer = await browser.get(f"{START}?next=/wiki{query}")
    assert answer.status == 303, (answer.status, answer.text)
    return answer.headers["Location"]


async def log_in(rig: Rig, browser: Browser, query: str = "&remember=1") -> Answer:
    return await browser.get(rig.provider.visit(await begin(browser, query)))


async def session_of(browser: Browser) -> Session:
    session = await browser.session()
    assert session
    return session


def cookie_of(answer: Answer) -> str:
    (cookie,) = (line for line in answer.cookies if line.startswith("__Host-gateway_session="))
    return cookie


def links(page: Answer) -> list[str]:
    """Return where the buttons of providers lead: those of who does not tick the box, then of who does."""
    return [unescape(link) for link in re.findall(r'class="button provider" href="([^"]+)"', page.text)]


# The choice


async def test_whoever_chose_it_has_a_lasting_cookie_and_session(rig: Rig) -> None:
    browser = rig.site.browser()
    cookie = cookie_of(await log_in(rig, browser))
    assert LASTING in cookie
    assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
    session = await session_of(browser)
    assert (session.remembered, session.idle, session.expires - session.created) == (True, None, 30 * DAY)
    assert session.login
    rig.site.clock.move(29 * DAY)
    assert await browser.session()
    rig.site.clock.move(2 * DAY)
    assert await browser.session() is None


async def test_whoever_did_not_has_one_that_ends_with_the_browser(rig: Rig) -> None:
    for query in ("", "&remember=0"):
        browser = rig.site.browser()
        cookie = cookie_of(await log_in(rig, browser, query))
        assert "Max-Age" not in cookie
        assert "Expires" not in cookie
        session = await session_of(browser)
        assert (session.remembered, session.idle) == (False, 1800)


NO_YES = [
    "",
    "00",
    "01",
    "2",
    "-1",
    "on",
    "yes",
    "true",
    "True",
    "1 ",
    "+1",
    "1%00",
    "%EF%BC%91",
    "%C2%B9",
    "%FF",
    "[1]",
]
REPEATED = ["1&remember=0", "0&remember=1", "1&remember=1"]


@pytest.mark.parametrize("value", [*NO_YES, *REPEATED, "1" * 1000, "%7B%22remember%22%3Atrue%7D"])
async def test_what_is_no_clear_yes_is_a_no(rig: Rig, value: str) -> None:
    browser = rig.site.browser()
    assert "Max-Age" not in cookie_of(await log_in(rig, browser, f"&remember={value}"))
    assert not (await session_of(browser)).remembered


async def test_the_provider_learns_nothing_of_it_and_nobody_adds_it_on_the_way_back(rig: Rig) -> None:
    chosen, other = rig.site.browser(), rig.site.browser()
    there, elsewhere = [await begin(browser, query) for browser, query in ((chosen, "&remember=1"), (other, ""))]
    asked, plain = asked_for(there), asked_for(elsewhere)
    assert asked.keys() == plain.keys()
    assert "remember" not in there
    assert len(asked["state"]) == len(plain["state"])
    back = rig.provider.visit(elsewhere)
    assert "Max-Age" not in cookie_of(await other.get(f"{back}&remember=1"))


async def test_it_is_of_one_login_not_of_the_browser(rig: Rig) -> None:
    """Two tabs: each has what was chosen there, in any order."""
    browser = rig.site.browser()
    remembered, plain = [rig.provider.visit(await begin(browser, query)) for query in ("&remember=1", "")]
    assert "Max-Age" not in cookie_of(await browser.get(plain))
    assert LASTING in cookie_of(await browser.get(remembered))


async def test_who_is_signed_in_stays_as_they_are(rig: Rig) -> None:
    browser = rig.site.browser()
    await log_in(rig, browser, "")
    answer = await browser.get(f"{START}?next=/wiki&remember=1")
    assert (answer.status, answer.headers["Location"], answer.cookies) == (303, "/wiki", [])
    assert not (await session_of(browser)).remembered


async def test_at_github_too(start_site: StartSite) -> None:
    with FakeGithub() as github:
        known = Provider(
            "github", github.url, at_github.CLIENT_ID, kind="github", client_secret=at_github.CLIENT_SECRET
        )
        site = await start_site(Settings(providers={"github": GithubLogin(known, QUICK)}))
        browser = site.browser()
        left = await browser.get("/_gateway/oidc/github/start?next=/wiki&remember=1")
        assert LASTING in cookie_of(await browser.get(github.visit(left.headers["Location"])))
        assert (await session_of(browser)).remembered


# The page


@pytest.mark.parametrize("local", [True, False])
async def test_the_box_is_for_the_buttons_too(start_site: StartSite, provider: FakeProvider, local: bool) -> None:
    login = OpenIdLogin(settings_of(provider), QUICK)
    site = await start_site(Settings(providers={"sso": login}, local_login=local))
    page = await site.browser().get(f"{LOGIN}?next=/wiki")
    assert page.text.count('id="remember"') == 1
    assert page.text.index('id="remember"') < page.text.index('class="providers once"')
    assert links(page) == [f"{START}?next=/wiki", f"{START}?next=/wiki&remember=1"]
    assert ('type="password"' in page.text) is local


async def test_a_box_that_was_ticked_stays_so_and_may_be_unticked(rig: Rig) -> None:
    browser = rig.site.browser()
    page = await browser.get(f"{LOGIN}?next=/wiki")
    form = {"username": "alice", "password": "no", "next": "/wiki", "remember": "1"}
    wrong = await browser.post(LOGIN, {**form, "csrf_token": page.field("csrf_token")})
    assert (wrong.status, 'value="1" checked' in wrong.text) == (401, True)
    assert links(wrong) == [f"{START}?next=/wiki&remember=0", f"{START}?next=/wiki&remember=1"]


async def test_where_it_is_off_it_is_neither_offered_nor_given(start_site: StartSite, provider: FakeProvider) -> None:
    login = OpenIdLogin(settings_of(provider), QUICK)
    site = await start_site(Settings(providers={"sso": login}, lifetimes=Lifetimes(remember=None)))
    rig, browser = Rig(site, provider), site.browser()
    page = await browser.get(f"{LOGIN}?next=/wiki")
    assert ("remember" in links(page)[0], len(links(page)), 'id="remember"' in page.text) == (False, 1, False)
    assert "Max-Age" not in cookie_of(await log_in(rig, browser))
    session = await session_of(browser)
    assert (session.remembered, session.idle, session.expires - session.created) == (False, 1800, 12 * 3600)


# Other hosts


async def test_one_cookie_for_a_domain_the_choice_goes_along_to_public_url(
    start_site: StartSite, provider: FakeProvider
) -> None:
    rig = await start_rig(start_site, provider, cookie=CookiePolicy(domain="example.com"))
    answer = await rig.site.browser("mail.example.com").get(f"{START}?next=/inbox&remember=1")
    expected = f"https://{HOST}{START}?next=https%3A//mail.example.com/inbox&remember=1"
    assert (answer.status, answer.headers["Location"]) == (302, expected)


async def test_a_session_that_is_handed_over_is_remembered_on_both_hosts(
    start_site: StartSite, provider: FakeProvider
) -> None:
    login = OpenIdLogin(settings_of(provider), QUICK)
    site = await start_site(Settings(providers={"sso": login}, routes=SEVERAL_HOSTS))
    person = Person(site)
    left = await person.on(OTHER).get(f"{START}?next=/x&remember=1", TAB)
    to_public = left.headers["Location"].removeprefix(f"https://{HOST}")
    assert to_public.endswith("&remember=1")
    there = await person.on(HOST).get(to_public, TAB)
    back = await person.on(HOST).get(provider.visit(there.headers["Location"]), TAB)
    assert LASTING in cookie_of(back)
    code = (await person.on(HOST).get(back.headers["Location"], TAB)).headers["Location"]
    site.clock.move(DAY)
    taken = await person.on(OTHER).get(code.removeprefix(f"https://{OTHER}"), TAB)
    assert f"; Max-Age={29 * DAY};" in cookie_of(taken)
    session = await person.on(OTHER).session()
    assert session == await person.on(HOST).session()
    assert session
    assert session.remembered


# Step-up


@pytest.fixture
async def asking(start_site: StartSite, provider: FakeProvider) -> Rig:
    """A site whose app wants a stronger login than the first."""
    login = OpenIdLogin(settings_of(provider), QUICK)
    return Rig(await start_site(Settings(providers={"sso": login}, routes=(*ROUTES, ASKING))), provider)


async def step_up(rig: Rig, browser: Browser, path: str = f"{LOGIN}?next=/pay&step_up=pay") -> Session:
    """Go where a step-up leads, there and back; return the session then."""
    rig.provider.change = {"acr": "mfa"}
    answer = await browser.get(path)
    if answer.headers["Location"].startswith("/"):
        answer = await browser.get(answer.headers["Location"])
    answer = await browser.get(rig.provider.visit(answer.headers["Location"]))
    assert (answer.status, answer.headers["Location"]) == (303, "/pay")
    session = await session_of(browser)
    assert session.acr == "mfa"
    assert ("Max-Age" in cookie_of(answer)) is session.remembered
    return session


@pytest.mark.parametrize("remembered", [True, False])
async def test_a_step_up_keeps_what_the_session_had(asking: Rig, remembered: bool) -> None:
    browser = asking.site.browser()
    await log_in(asking, browser, "&remember=1" if remembered else "")
    assert (await step_up(asking, browser)).remembered is remembered


@pytest.mark.parametrize(("had", "said"), [("&remember=1", "0"), ("", "1")])
async def test_unless_something_else_is_chosen(asking: Rig, had: str, said: str) -> None:
    browser = asking.site.browser()
    await log_in(asking, browser, had)
    page = await browser.get(f"{LOGIN}?next=/pay&step_up=pay&choose=1")
    link = f"{START}?next=/pay&step_up=pay"
    assert links(page) == [link + ("&remember=0" if had else ""), f"{link}&remember=1"]
    assert ('value="1" checked' in page.text) is bool(had)
    assert (await step_up(asking, browser, f"{link}&remember={said}")).remembered is (said == "1")


async def test_somebody_else_is_not_remembered_by_it(asking: Rig) -> None:
    """Nobody asked them; what a session had is for whoever it was of."""
    browser = asking.site.browser()
    await log_in(asking, browser)
    asking.provider.person = {**asking.provider.person, "sub": "subject-2", "preferred_username": "carol"}
    session = await step_up(asking, browser)
    assert (session.user, session.remembered) == ("carol", False)


async def test_a_local_user_who_steps_up_at_a_provider_chooses_on_the_page(asking: Rig) -> None:
    browser = asking.site.browser()
    await browser.login(ALICE, remember=True)
    page = await browser.get(f"{LOGIN}?next=/pay&step_up=pay")
    assert 'value="1" checked' in page.text
    assert (await step_up(asking, browser, links(page)[1])).remembered


# Refreshing


async def test_a_refreshed_session_is_still_remembered(world: World, gateway: Gateway) -> None:
    session, token = await world.begin(gateway, remember=True)
    world.provider.person["groups"] = ["wiki"]
    world.wait()
    answer = await gateway.refresher.refresh(token)
    found = await gateway.session(answer.token)
    assert found
    assert (found.identity.groups, found.remembered, found.idle) == (("wiki",), True, None)
    assert found.expires == session.expires
