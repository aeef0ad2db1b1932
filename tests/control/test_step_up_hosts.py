"""Step-up on hosts that share no cookie with ``public_url``: the new session arrives in place of the old one."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest

from gateway.core.cookie import CookiePolicy
from gateway.core.policy import Rule
from gateway.core.route import Route
from gateway.core.session import Session
from gateway.core.step_up import StepUp
from gateway.core.upstream import UpstreamAddress
from gateway.login.oidc.openid import OpenIdLogin
from tests.control.harness import HOST, Answer, ControlSite, Settings, StartSite
from tests.control.hosts import OTHER, TAB, Person, query_of
from tests.control.oidc import QUICK, settings_of
from tests.support.provider import FakeProvider
from tests.support.users import ALICE, BOB

LOGIN = f"https://{OTHER}/_gateway/login?next=/page&step_up=wiki"


def wiki(step_up: StepUp) -> tuple[Route, ...]:
    up = (UpstreamAddress("127.0.0.1", 9),)
    return (Route("apps", up, Rule("apps")), Route("wiki", up, Rule("wiki", step_up=step_up), host=OTHER))


FRESH, STRONG = wiki(StepUp("wiki", max_age=300.0)), wiki(StepUp("wiki", ("mfa",)))


@pytest.fixture
async def hosts(start_site: StartSite) -> ControlSite:
    return await start_site(Settings(routes=FRESH))


@pytest.fixture
async def alice(hosts: ControlSite) -> Person:
    """Somebody who logged in a while ago, and was handed over."""
    person = Person(hosts)
    await person.login()
    await person.open(f"https://{OTHER}/_gateway/login?next=/")
    assert await person.on(OTHER).session() == await person.on(HOST).session() is not None
    hosts.clock.move(600)
    return person


async def session_on(person: Person, host: str) -> Session:
    session = await person.on(host).session()
    assert session
    return session


async def type_password(person: Person, shown: Answer, host: str = HOST) -> str:
    """Fill in the form; return where that leads in the end."""
    names = ("next", "csrf_token", "step_up")
    form = {"username": "alice", "password": ALICE.password, **{name: shown.field(name) for name in names}}
    done = await person.on(host).post("/_gateway/login", form)
    assert done.status == 303, done
    return (await person.open(done.headers["Location"], host))[0]


async def test_the_new_login_on_public_url_arrives_on_the_host_in_place_of_the_old_one(
    hosts: ControlSite, alice: Person
) -> None:
    old = await session_on(alice, OTHER)
    url, shown = await alice.open(LOGIN)
    assert (urlsplit(url).netloc, urlsplit(url).path, shown.status) == (HOST, "/_gateway/login", 200)
    assert query_of(url)["step_up"] == "wiki"
    assert "wiki asks you to sign in again" in shown.text
    assert f"<strong>{OTHER}</strong>" in shown.text
    assert await type_password(alice, shown) == f"https://{OTHER}/page"
    new = await session_on(alice, OTHER)
    assert new.id == (await session_on(alice, HOST)).id != old.id
    assert (await alice.open(LOGIN))[0] == f"https://{OTHER}/page", "and nothing more is asked for"


async def test_a_session_of_the_host_s_own_is_replaced_and_ended(hosts: ControlSite, alice: Person) -> None:
    """One that was begun on that very host, as with ``here``, is another than that of ``public_url``."""
    other = alice.on(OTHER)
    other.cookies.clear()
    form = await other.get("/_gateway/login?here=1")
    fields = {"username": BOB.user, "password": BOB.password, "csrf_token": form.field("csrf_token")}
    await other.post("/_gateway/login", fields)
    bobs, cookies = await session_on(alice, OTHER), dict(other.cookies)
    hosts.clock.move(600)
    _, shown = await alice.open(LOGIN)
    assert await type_password(alice, shown) == f"https://{OTHER}/page"
    assert (await session_on(alice, OTHER)).user == "alice"
    other.cookies = cookies
    assert await other.session() is None
    assert bobs.handle in {event.session for event in hosts.audited("session_ended")}


async def test_a_fresh_session_on_public_url_is_handed_over_without_a_question(
    hosts: ControlSite, alice: Person
) -> None:
    public = alice.on(HOST)
    public.cookies.clear()
    await alice.login()
    url, answer = await alice.open(LOGIN)
    assert (url, answer.status) == (f"https://{OTHER}/page", 303)
    assert (await session_on(alice, OTHER)).id == (await session_on(alice, HOST)).id


async def test_a_code_without_its_question_changes_nobody_s_session(hosts: ControlSite, alice: Person) -> None:
    """Login CSRF: an attacker's code, sent to somebody whose session is not enough."""
    mallory = Person(hosts)
    await mallory.login()
    asked = await mallory.on(OTHER).get(LOGIN.removeprefix(f"https://{OTHER}"), TAB)
    given = await mallory.on(HOST).get(asked.headers["Location"].removeprefix(f"https://{HOST}"), TAB)
    assert "&step_up=wiki" in given.headers["Location"]
    before = await session_on(alice, OTHER)
    await alice.on(OTHER).get(given.headers["Location"].removeprefix(f"https://{OTHER}"), TAB)
    assert await session_on(alice, OTHER) == before


async def test_without_a_step_up_nobody_s_session_is_changed(hosts: ControlSite, alice: Person) -> None:
    """A code for which this browser did ask, before it got a session in another tab."""
    asks = Person(hosts)
    asked = await asks.on(OTHER).get("/_gateway/login?next=/page", TAB)
    await asks.login()
    given = await asks.on(HOST).get(asked.headers["Location"].removeprefix(f"https://{HOST}"), TAB)
    asks.on(OTHER).cookies |= alice.on(OTHER).cookies
    before = await session_on(asks, OTHER)
    await asks.on(OTHER).get(given.headers["Location"].removeprefix(f"https://{OTHER}"), TAB)
    assert await session_on(asks, OTHER) == before


async def test_a_browser_that_does_not_keep_the_new_cookie_is_not_led_in_circles(
    hosts: ControlSite, alice: Person
) -> None:
    alice.on(HOST).cookies.clear()
    await alice.login()
    old = {name: value for name, value in alice.on(OTHER).cookies.items() if name == "__Host-gateway_session"}
    for _ in range(5):
        url, answer = await alice.open(LOGIN)
        if answer.status == 200:
            break
        assert url == f"https://{OTHER}/page"
        alice.on(OTHER).cookies |= old
    else:
        pytest.fail("led in circles")
    assert "did not keep the cookie" in answer.text


@pytest.mark.parametrize("same_site", ["lax", "strict"])
async def test_a_provider_is_asked_on_public_url_and_the_host_gets_the_session(
    start_site: StartSite, provider: FakeProvider, same_site: str
) -> None:
    providers = {"sso": OpenIdLogin(settings_of(provider), QUICK)}
    cookie = CookiePolicy(same_site=same_site)
    site = await start_site(Settings(routes=STRONG, providers=providers, cookie=cookie))
    site.clock.now = time.time()
    person = Person(site)
    await person.on(HOST).get(
        provider.visit((await person.on(HOST).get("/_gateway/oidc/sso/start")).headers["Location"])
    )
    await person.open(f"https://{OTHER}/_gateway/login?next=/")
    old = await session_on(person, OTHER)
    provider.change = {"acr": "mfa"}
    url, answer = await person.open(LOGIN)
    assert url.startswith(provider.issuer), (url, answer)
    back = await person.on(HOST).get(provider.visit(url), TAB)
    leads = back.headers.get("Location") or back.text.partition("0;url=")[2].partition('"')[0].replace("&amp;", "&")
    url, answer = await person.open(leads, HOST)
    if same_site == "lax":
        assert url == f"https://{OTHER}/page"
    new = await session_on(person, OTHER)
    assert new.login
    assert new.login.acr == "mfa"
    assert new.id == (await session_on(person, HOST)).id != old.id
