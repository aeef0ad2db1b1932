"""Step-up: people are sent to log in again as a route asks, once, and never in circles."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.core.cookie import CookiePolicy
from gateway.core.identity import Identity
from gateway.core.policy import Allow, Rule
from gateway.core.provider import Provider, ProviderSession
from gateway.core.route import Route
from gateway.core.session import Lifetimes, start_session
from gateway.core.step_up import StepUp
from gateway.core.upstream import UpstreamAddress
from gateway.login.oidc.github import GithubLogin
from gateway.login.oidc.openid import OpenIdLogin
from gateway.login.redirect import RedirectLogin
from tests.control.conftest import StartSite
from tests.control.harness import HOST, Answer, Browser, Settings
from tests.control.oidc import QUICK, Rig, settings_of
from tests.support.provider import At, FakeProvider, asked_for
from tests.support.users import ALICE
from tests.support.waiting import wait_until

START = "/_gateway/oidc/sso/start"
MFA = StepUp("payroll", ("mfa", "key"))
FRESH = StepUp("bank", max_age=300.0, prompt="login")


def route(name: str, step_up: StepUp | None, *rules: Rule, **more: Any) -> Route:
    default = Rule(name, step_up=step_up, allow=Allow(groups=frozenset({"staff"})))
    return Route(name, (UpstreamAddress("127.0.0.1", 9),), default, path=f"/{name}", rules=rules, **more)


ROUTES = (
    route("payroll", MFA, title="Pay & rolls"),
    route("bank", FRESH),
    route("wiki", None, Rule("line", "/wiki/admin", step_up=StepUp("wiki.0", max_age=60.0))),
)


def login(name: str, path: str = "") -> str:
    return f"/_gateway/login?next={path or '/' + name}&step_up={name}"


async def start(start_site: StartSite, provider: FakeProvider, **more: Any) -> Rig:
    """Start a site with a provider and with GitHub, whose clock is the provider's."""
    hub = Provider("hub", "https://github.com", "a", name="GitHub", kind="github", client_secret="b")
    providers: dict[str, RedirectLogin] = {"sso": OpenIdLogin(settings_of(provider), QUICK), "hub": GithubLogin(hub)}
    site = await start_site(Settings(**{"routes": ROUTES, "providers": providers, **more}))
    site.clock.now = time.time()
    return Rig(site, provider)


@pytest.fixture
async def rig(start_site: StartSite, provider: FakeProvider) -> Rig:
    return await start(start_site, provider)


@pytest.fixture
async def alice(rig: Rig) -> Browser:
    """A browser with a session from the provider, which said neither how nor when."""
    rig.provider.change = {"auth_time": None}
    browser = rig.site.browser()
    await rig.login(browser)
    return browser


async def step_up(rig: Rig, browser: Browser, path: str) -> Answer:
    """Open the login page, be led to the provider without a further page, and come back."""
    answer = await browser.get(path)
    assert (answer.status, answer.headers["Location"].split("?")[0]) == (303, START), answer
    answer = await browser.get(answer.headers["Location"])
    return await browser.get(rig.provider.visit(answer.headers["Location"]))


# --- at a provider ------------------------------------------------------------------------------------


async def test_a_session_of_a_provider_is_led_there_at_once_and_comes_back_stronger(rig: Rig, alice: Browser) -> None:
    old, cookies = await alice.session(), dict(alice.cookies)
    rig.provider.change = {"acr": "key"}
    answer = await step_up(rig, alice, login("payroll", "/payroll/june?x=1"))
    assert (answer.status, answer.headers["Location"]) == (303, "/payroll/june?x=1")
    new = await alice.session()
    assert old
    assert new
    assert new.login
    assert (new.id != old.id, new.user, new.login.acr) == (True, old.user, "key")
    alice.cookies = cookies
    assert await alice.session() is None, "the token of before is over"
    assert [event.reason for event in rig.site.audited("session_superseded")] == ["a new login"]


async def test_the_provider_is_asked_for_what_the_route_wants_and_nothing_else(rig: Rig, alice: Browser) -> None:
    for name, asked in (("payroll", {"acr_values": "mfa key"}), ("bank", {"max_age": "300", "prompt": "login"})):
        answer = await alice.get(f"{START}?next=/x&step_up={name}&acr_values=weak&max_age=999999&prompt=none")
        sent = asked_for(answer.headers["Location"])
        assert {key: sent[key] for key in ("acr_values", "max_age", "prompt") if key in sent} == asked


async def test_after_it_nothing_more_is_asked_for(rig: Rig, alice: Browser) -> None:
    rig.provider.change = {}
    await step_up(rig, alice, login("bank"))
    for path in (login("bank"), f"{START}?next=/bank&step_up=bank"):
        answer = await alice.get(path)
        assert (answer.status, answer.headers["Location"]) == (303, "/bank")
    rig.site.clock.move(361)
    assert START in (await alice.get(login("bank"))).headers["Location"]


NOT_ENOUGH: dict[str, tuple[str, dict[str, Any], str]] = {
    "another acr": ("payroll", {"acr": "pwd"}, "not made in the way"),
    "no acr": ("payroll", {}, "not made in the way"),
    "an acr that is a list": ("payroll", {"acr": ["mfa"]}, "not made in the way"),
    "an old login": ("bank", {"auth_time": At(-400)}, "too long ago"),
    "no auth_time": ("bank", {"auth_time": None}, "too long ago"),
    "a login in the future": ("bank", {"auth_time": At(400)}, "too long ago"),
}


@pytest.mark.parametrize("name", NOT_ENOUGH)
async def test_a_provider_that_does_not_do_it_is_a_page_and_no_circle(rig: Rig, alice: Browser, name: str) -> None:
    """What was there before stays, the audit log knows, and from the page it goes on by hand only."""
    asks, rig.provider.change, reason = NOT_ENOUGH[name]
    before = await alice.session()
    answer = await step_up(rig, alice, login(asks, f"/{asks}/a?b=1"))
    assert (answer.status, "Location" in answer.headers) == (403, False)
    assert "That sign-in is not enough" in answer.text
    assert ("Pay &amp; rolls" if asks == "payroll" else "bank") + " needs a stronger or fresher sign-in" in answer.text
    assert "than Single sign-on gave" in answer.text
    assert await alice.session() == before
    (event,) = rig.site.audited("login_failed")
    assert reason in event.reason
    link = f"/_gateway/login?next=/{asks}/a%3Fb%3D1&step_up={asks}&choose=1"
    assert f'href="{link.replace("&", "&amp;")}"' in answer.text
    shown = await alice.get(link)
    assert (shown.status, "Location" in shown.headers) == (200, False)


async def test_a_login_a_little_older_than_it_may_be_passes_for_clocks_differ(rig: Rig, alice: Browser) -> None:
    rig.provider.change = {"auth_time": At(-350)}
    assert (await step_up(rig, alice, login("bank"))).headers["Location"] == "/bank"
    assert (await alice.get(login("bank"))).headers["Location"] == "/bank"


async def test_a_provider_that_says_so_itself_is_the_same_page(rig: Rig, alice: Browser) -> None:
    rig.provider.answer = {"code": None, "error": "unmet_authentication_requirements"}
    answer = await step_up(rig, alice, login("payroll"))
    assert (answer.status, "That sign-in is not enough" in answer.text) == (403, True)


async def test_a_login_that_is_cancelled_leaves_the_session_as_it_was(rig: Rig, alice: Browser) -> None:
    before = await alice.session()
    rig.provider.answer = {"code": None, "error": "access_denied"}
    assert "Not signed in" in (await step_up(rig, alice, login("payroll"))).text
    assert await alice.session() == before


async def test_somebody_else_may_log_in_who_then_has_a_session_of_their_own(rig: Rig, alice: Browser) -> None:
    rig.provider.change = {"acr": "mfa", "sub": "subject-2", "preferred_username": "carol"}
    await step_up(rig, alice, login("payroll"))
    session = await alice.session()
    assert session
    assert session.user == "carol"


async def test_a_provider_that_is_down_is_shown_so_in_place_of_leading_there(
    start_site: StartSite, provider: FakeProvider
) -> None:
    provider.down()
    rig = await start(start_site, provider)
    remains = ProviderSession("sso", provider.issuer, "subject-1")
    now, parts = rig.site.clock(), rig.site.parts
    session = start_session(b"s" * 16, Identity("alice"), Lifetimes(), remember=False, now=now, login=remains)
    opened = await parts.store.save(session)
    browser = rig.site.browser()
    browser.keep(parts.session_cookie.set(opened.token, max_age=None, now=now))

    async def is_known_to_be_down() -> bool:
        return not parts.providers["sso"].is_up()

    await wait_until(is_known_to_be_down)
    shown = await browser.get(login("payroll"))
    assert shown.status == 200
    assert "cannot be reached right now" in shown.text
    provider.up()


# --- with a password ----------------------------------------------------------------------------------


async def test_a_password_is_enough_where_a_fresh_login_is_all_that_is_asked_for(rig: Rig) -> None:
    browser = rig.site.browser()
    await browser.login(ALICE, remember=True)
    assert (await browser.get(login("bank"))).headers["Location"] == "/bank"
    rig.site.clock.move(361)
    old, cookies = await browser.session(), dict(browser.cookies)
    shown = await browser.get(login("bank", "/bank/page"))
    assert shown.status == 200
    assert "bank asks you to sign in again, to be sure that it is you." in shown.text
    assert (shown.field("username"), shown.field("step_up"), shown.field("next")) == ("alice", "bank", "/bank/page")
    assert "checked" in shown.text, "who was remembered still is"
    form = {"username": "alice", "password": ALICE.password, "next": "/bank/page", "step_up": "bank"}
    wrong = await browser.post("/_gateway/login", form | {"password": "x", "csrf_token": shown.field("csrf_token")})
    assert (wrong.status, wrong.field("step_up"), "to be sure that it is you" in wrong.text) == (401, "bank", True)
    assert await browser.session() == old
    done = await browser.post("/_gateway/login", form | {"csrf_token": wrong.field("csrf_token")})
    assert (done.status, done.headers["Location"]) == (303, "/bank/page")
    new = await browser.session()
    assert old
    assert new
    assert new.id != old.id
    assert (await browser.get(login("bank"))).headers["Location"] == "/bank"
    browser.cookies = cookies
    assert await browser.session() is None


async def test_a_password_is_not_offered_where_it_would_not_do_nor_is_github(rig: Rig) -> None:
    browser = rig.site.browser()
    await browser.login(ALICE)
    shown = await browser.get(login("payroll"))
    assert "Pay &amp; rolls needs a stronger sign-in than other pages." in shown.text
    assert 'name="password"' not in shown.text
    assert f'href="{START}?next=/payroll&amp;step_up=payroll"' in shown.text
    assert "GitHub" not in shown.text
    fresh = await rig.site.browser().get(login("bank"))
    assert 'name="password"' in fresh.text
    assert "GitHub" not in fresh.text


async def test_where_nothing_would_do_the_page_says_so(start_site: StartSite) -> None:
    site = await start_site(Settings(routes=ROUTES))
    browser = site.browser()
    await browser.login(ALICE)
    shown = await browser.get(login("payroll"))
    assert (shown.status, "No way to sign in that is enough is set up" in shown.text) == (200, True)


async def test_a_form_that_is_sent_all_the_same_leads_to_no_circle(rig: Rig) -> None:
    browser = rig.site.browser()
    shown = await browser.get("/_gateway/login")
    form = {"username": "alice", "password": ALICE.password, "next": "/payroll", "step_up": "payroll"}
    await browser.post("/_gateway/login", form | {"csrf_token": shown.field("csrf_token")})
    shown = await browser.get(login("payroll"))
    assert (shown.status, "Location" in shown.headers) == (200, False)


# --- nobody, and what an address may say --------------------------------------------------------------


async def test_who_is_not_logged_in_is_asked_for_the_right_login_at_once(rig: Rig) -> None:
    browser = rig.site.browser()
    shown = await browser.get(login("payroll"))
    assert shown.status == 200
    rig.provider.change = {"acr": "mfa"}
    left = await browser.get(f"{START}?next=/payroll&step_up=payroll")
    assert asked_for(left.headers["Location"])["acr_values"] == "mfa key"
    await browser.get(rig.provider.visit(left.headers["Location"]))
    assert (await browser.get(login("payroll", "/payroll"))).headers["Location"] == "/payroll"


@pytest.mark.parametrize("name", ["nothing", "wiki", "payroll.0", "", "PAYROLL", "payroll%00"])
async def test_a_name_of_nothing_is_ignored(rig: Rig, alice: Browser, name: str) -> None:
    for path in (login(name, "/wiki"), f"{START}?next=/wiki&step_up={name}"):
        answer = await alice.get(path)
        assert (answer.status, answer.headers["Location"]) == (303, "/wiki")


async def test_what_is_asked_for_cannot_be_written_into_an_address(rig: Rig, alice: Browser) -> None:
    answer = await alice.get("/_gateway/login?next=/wiki&acr_values=x&max_age=0&prompt=login")
    assert (answer.status, answer.headers["Location"]) == (303, "/wiki")


async def test_with_one_cookie_for_a_domain_the_page_is_on_public_url(
    start_site: StartSite, provider: FakeProvider
) -> None:
    asks = Rule("m", step_up=StepUp("mail", ("mfa",)))
    mail = Route("mail", (UpstreamAddress("127.0.0.1", 9),), asks, host="mail.example.com")
    cookie = CookiePolicy(domain="example.com")
    rig = await start(start_site, provider, cookie=cookie, routes=(*ROUTES, mail))
    browser = rig.site.browser()
    await rig.login(browser)
    browser.host = "mail.example.com"
    first = await browser.get(login("mail", "/inbox"))
    to = f"https://{HOST}/_gateway/login?next=https%3A//mail.example.com/inbox&step_up=mail"
    assert (first.status, first.headers["Location"]) == (302, to)
    direct = await browser.get(f"{START}?next=/inbox&step_up=mail")
    assert direct.headers["Location"] == f"https://{HOST}{START}?next=https%3A//mail.example.com/inbox&step_up=mail"
    browser.host = HOST
    provider.change = {"acr": "mfa"}
    done = await step_up(rig, browser, to.removeprefix(f"https://{HOST}"))
    assert done.headers["Location"] == "https://mail.example.com/inbox"


# --- elsewhere ----------------------------------------------------------------------------------------


async def test_the_portal_shows_apps_that_open_after_another_login(rig: Rig) -> None:
    browser = rig.site.browser()
    await browser.login(ALICE)
    assert "Pay &amp; rolls" in (await browser.get("/_gateway/")).text
