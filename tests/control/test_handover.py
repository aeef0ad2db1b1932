"""Hand-over: a login on ``public_url`` opens the hosts that share no cookie with it, for the browser that asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.control.facts import login_path
from gateway.control.handover import start_url
from gateway.core.cookie import CookiePolicy
from gateway.core.next_url import MAX_ADDRESS, MAX_LENGTH
from gateway.sessions.handovers import MAX_KEPT, Handover, MemoryHandovers
from tests.control.harness import HOST, Clock, ControlSite, Settings, StartSite
from tests.control.hosts import OTHER, ROUTES, START, TAB, TENANT, Person, asked, coded, login_url
from tests.control.oidc import start_rig
from tests.support.provider import FakeProvider
from tests.support.users import ALICE, BOB
from tests.support.visitor import PAGE, PROGRAM


@pytest.fixture
async def hosts(start_site: StartSite) -> ControlSite:
    return await start_site(Settings(routes=ROUTES))


@pytest.fixture
def alice(hosts: ControlSite) -> Person:
    return Person(hosts)


@pytest.mark.parametrize(
    ("next_url", "back"),
    [
        ("/page?x=" + "%22" * 600, "/page?x=" + "%22" * 600),
        ("/page?x=" + "%22" * 1300, "/page"),
        ("/page?x=" + "?" * 2500, "/page"),
        ("/" + "%22" * 1300, "/"),
    ],
)
def test_a_way_back_that_is_too_long_is_the_path_alone(next_url: str, back: str) -> None:
    """The address becomes the ``next`` of a login, which neither takes more nor could be asked for by more."""
    url = start_url(OTHER, "b" * 43, next_url, "wiki")
    assert parse_qs(urlsplit(url).query)["next"] == [back]
    assert len(url) <= MAX_LENGTH
    assert len(login_path(url, "wiki")) <= MAX_ADDRESS


# --- The way ------------------------------------------------------------------------------------------


async def test_a_login_on_public_url_opens_every_host(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    session = await alice.on(HOST).session()
    for host in (OTHER, "mail.example.org", TENANT):
        url, answer = await alice.open(login_url(host))
        assert (url, answer.status) == (f"https://{host}/page?x=1", 303)
        assert await alice.on(host).session() == session
    assert [(e.user, e.reason) for e in hosts.audited("handed_over")] == [
        ("alice", OTHER), ("alice", "mail.example.org"), ("alice", TENANT)
    ]  # fmt: skip
    assert session
    assert {e.session for e in hosts.audited("handed_over")} == {session.handle}
    assert len(hosts.audited("login")) == 1


async def test_without_a_session_the_login_page_of_public_url_is_shown_and_leads_back(
    hosts: ControlSite, alice: Person
) -> None:
    url, answer = await alice.open(login_url(OTHER))
    assert (urlsplit(url).netloc, urlsplit(url).path, answer.status) == (HOST, "/_gateway/login", 200)
    assert f"<strong>{OTHER}</strong>" in answer.text, "it names the site that one came from"
    form = {"username": ALICE.user, "password": ALICE.password, "next": answer.field("next")}
    done = await alice.on(HOST).post("/_gateway/login", form | {"csrf_token": answer.field("csrf_token")})
    url, _ = await alice.open(done.headers["Location"], HOST)
    assert url == f"https://{OTHER}/page?x=1"
    assert await alice.on(OTHER).session() == await alice.on(HOST).session() is not None


async def test_a_logout_anywhere_ends_it_everywhere(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    for host in (OTHER, TENANT):
        await alice.open(login_url(host))
    page = await alice.on(OTHER).get("/_gateway/logout")
    await alice.on(OTHER).post("/_gateway/logout", {"csrf_token": page.field("csrf_token")})
    for host in (HOST, OTHER, TENANT):
        assert await alice.on(host).session() is None


async def test_after_a_logout_nothing_is_handed_over_until_somebody_wants_it(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    await alice.open(login_url(OTHER))
    page = await alice.on(OTHER).get("/_gateway/logout")
    done = await alice.on(OTHER).post("/_gateway/logout", {"csrf_token": page.field("csrf_token")})
    await alice.on(HOST).login(BOB)
    shown = await alice.on(OTHER).get(done.headers["Location"], TAB)
    assert shown.status == 200
    assert "You are signed out." in shown.text
    assert 'href="/_gateway/login?next="' in shown.text
    assert "<form" not in shown.text
    await alice.open(f"https://{OTHER}/_gateway/login?next=")
    session = await alice.on(OTHER).session()
    assert session
    assert session.user == "bob"


async def test_a_remembered_session_is_remembered_on_every_host_for_as_long(hosts: ControlSite, alice: Person) -> None:
    await alice.login(remember=True)
    hosts.clock.move(86400)
    location = await coded(alice)
    answer = await alice.on(OTHER).get(location.removeprefix(f"https://{OTHER}"), TAB)
    (cookie,) = [cookie for cookie in answer.cookies if cookie.startswith("__Host-gateway_session=")]
    assert f"; Max-Age={29 * 86400};" in cookie
    assert "; Secure; HttpOnly; SameSite=Lax" in cookie


async def test_one_that_is_not_remembered_goes_with_the_browser(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    location = await coded(alice)
    answer = await alice.on(OTHER).get(location.removeprefix(f"https://{OTHER}"), TAB)
    (cookie,) = [cookie for cookie in answer.cookies if cookie.startswith("__Host-gateway_session=")]
    assert "Max-Age" not in cookie


async def test_a_session_over_several_cookies_arrives_whole(start_site: StartSite) -> None:
    many = replace(ALICE, groups=tuple(f"group-{n:04}-with-a-long-name" for n in range(180)))
    person = Person(await start_site(Settings(routes=ROUTES, users=(many,))))
    await person.on(HOST).login(many)
    url, _ = await person.open(login_url(OTHER))
    assert url.endswith("/page?x=1")
    assert "__Host-gateway_session_1" in person.on(OTHER).cookies
    assert await person.on(OTHER).session() == await person.on(HOST).session() is not None


@pytest.mark.parametrize("same_site", ["lax", "strict"])
async def test_records_on_the_server_are_handed_over_too(start_site: StartSite, same_site: str) -> None:
    cookie = CookiePolicy(same_site=same_site)
    person = Person(await start_site(Settings(routes=ROUTES, sqlite=True, cookie=cookie)))
    await person.login()
    await person.open(login_url(OTHER))
    assert await person.on(OTHER).session() == await person.on(HOST).session() is not None


async def test_many_tabs_at_once_all_arrive(hosts: ControlSite, alice: Person) -> None:
    """Opened before any answer, as a restored browser does: none takes the question of another."""
    await alice.login()
    bare = alice.on(OTHER)
    starts = []
    for number in range(12):
        fresh = hosts.browser(OTHER)
        answer = await fresh.get(f"/_gateway/login?next=/tab/{number}", TAB)
        bare.keep(answer.cookies)
        starts.append(answer.headers["Location"])
    for number, start in enumerate(starts):
        url, _ = await alice.open(start)
        assert url == f"https://{OTHER}/tab/{number}"
    assert len(hosts.audited("handed_over")) == 1, "the first one brings the session, the others find it"
    assert hosts.audited("handover_refused") == []


async def test_questions_that_are_never_answered_do_not_pile_up(hosts: ControlSite, alice: Person) -> None:
    for _ in range(30):
        hosts.clock.move(1)
        await asked(alice)
    names = [name for name in alice.on(OTHER).cookies if name.startswith("__Host-gateway_handover_")]
    assert len(names) == 8
    await alice.login()
    url, _ = await alice.open(login_url(OTHER))
    assert url == f"https://{OTHER}/page?x=1"


async def test_a_session_renewed_meanwhile_is_still_the_same(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    location = await coded(alice)
    token = alice.on(HOST).cookies["__Host-gateway_session"]
    hosts.clock.move(20)
    opened = await hosts.store.load(token, hosts.clock())
    await hosts.store.save(opened.session.touched(hosts.clock()), token)
    await alice.open(location)
    session = await alice.on(OTHER).session()
    assert session
    assert session.id == opened.session.id


# --- Who is not led anywhere --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [PROGRAM, PAGE, {"Accept": "text/html"}, {**TAB, "Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "cors"}]
)
async def test_programs_and_frames_get_the_host_s_own_form(
    hosts: ControlSite, alice: Person, headers: Mapping[str, str]
) -> None:
    answer = await alice.on(OTHER).get("/_gateway/login", headers)
    assert (answer.status, "<form" in answer.text) == (200, True)
    assert (await alice.on(OTHER).login(ALICE)).status == 303
    assert await alice.on(OTHER).session() is not None
    assert await alice.on(HOST).session() is None


async def test_a_host_that_was_handed_a_session_and_lost_it_shows_its_own_form(
    hosts: ControlSite, alice: Person
) -> None:
    """The session's cookie does not stay in the browser: no circle, and a word about it."""
    await alice.login()
    for _ in range(3):
        url, _ = await alice.open(login_url(OTHER))
        assert url == f"https://{OTHER}/page?x=1"
        del alice.on(OTHER).cookies["__Host-gateway_session"]
    url, answer = await alice.open(login_url(OTHER))
    assert (urlsplit(url).netloc, answer.status) == (OTHER, 200)
    assert "did not keep the cookie" in answer.text
    del alice.on(OTHER).cookies["__Host-gateway_handed_over"]
    url, _ = await alice.open(login_url(OTHER))
    assert url == f"https://{OTHER}/page?x=1"


async def test_a_new_login_right_after_a_logout_is_led_to_public_url(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    await alice.open(login_url(OTHER))
    page = await alice.on(OTHER).get("/_gateway/logout")
    await alice.on(OTHER).post("/_gateway/logout", {"csrf_token": page.field("csrf_token")})
    url, _ = await alice.open(login_url(OTHER))
    assert urlsplit(url).netloc == HOST


@pytest.mark.parametrize(
    ("settings", "host", "scheme"),
    [
        (Settings(routes=ROUTES), HOST, "https"),
        (Settings(routes=ROUTES), OTHER, "http"),
        (Settings(routes=ROUTES), f"{OTHER}:8443", "https"),
        (Settings(routes=ROUTES), f"{OTHER}.", "https"),
        (Settings(routes=ROUTES, cookie=CookiePolicy(path="/app")), OTHER, "https"),
        (Settings(public_url="http://localhost:8080", cookie=CookiePolicy(secure=False)), "127.0.0.1:8080", "http"),
    ],
)
async def test_where_it_would_not_work_the_host_has_its_own_form(
    start_site: StartSite, settings: Settings, host: str, scheme: str
) -> None:
    site = await start_site(settings)
    answer = await site.browser(host, scheme=scheme).get("/_gateway/login", TAB)
    assert (answer.status, "<form" in answer.text) == (200, True)


async def test_the_scheme_s_own_port_may_be_named(hosts: ControlSite, alice: Person) -> None:
    answer = await hosts.browser(f"{OTHER}:443").get("/_gateway/login", TAB)
    assert answer.headers["Location"].startswith(f"https://{HOST}{START}?to={OTHER}&")


async def test_the_port_of_public_url_is_everybody_s(start_site: StartSite) -> None:
    person = Person(await start_site(Settings(public_url=f"https://{HOST}:8443", routes=ROUTES)))
    await person.on(f"{HOST}:8443").login(ALICE)
    url, _ = await person.open(login_url(f"{OTHER}:8443"))
    assert url == f"https://{OTHER}:8443/page?x=1"
    assert await person.on(f"{OTHER}:8443").session() is not None


async def test_one_cookie_for_all_hosts_needs_no_handing_over(start_site: StartSite) -> None:
    site = await start_site(Settings(cookie=CookiePolicy(domain="example.com")))
    answer = await site.browser("mail.example.com").get("/_gateway/login?next=/x", TAB)
    assert answer.headers["Location"] == f"https://{HOST}/_gateway/login?next=https%3A//mail.example.com/x"
    person = Person(site)
    await person.login()
    assert (await person.on(HOST).get(f"{START}?to=mail.example.com&browser={'a' * 43}", TAB)).status == 400


async def test_strict_cookies_get_a_page_where_a_redirect_would_lose_them(start_site: StartSite) -> None:
    """The session's cookie does not come along from another site: a page of our own asks once more."""
    person = Person(await start_site(Settings(routes=ROUTES, cookie=CookiePolicy(same_site="strict"))))
    await person.login()
    start = (await asked(person)).removeprefix(f"https://{HOST}")
    held = dict(person.on(HOST).cookies)
    del person.on(HOST).cookies["__Host-gateway_session"]
    shown = await person.on(HOST).get(start, TAB)
    assert (shown.status, "One moment" in shown.text) == (200, True)
    person.on(HOST).cookies = held
    given = await person.on(HOST).get(start + "&again=1", TAB)
    taken = await person.on(OTHER).get(given.headers["Location"].removeprefix(f"https://{OTHER}"), TAB)
    assert (taken.status, 'content="0;url=/page?x=1"' in taken.text) == (200, True)
    assert await person.on(OTHER).session() is not None
    person.on(HOST).cookies.clear()
    again = await person.on(HOST).get(start + "&again=1", TAB)
    assert again.headers["Location"].startswith("/_gateway/login?next=")


# --- With a provider ----------------------------------------------------------------------------------


async def test_a_provider_s_button_on_another_host_leads_there_and_back(
    start_site: StartSite, provider: FakeProvider
) -> None:
    rig = await start_rig(start_site, provider)
    person = Person(rig.site)
    other = "mail.example.com"
    shown = await person.on(other).get("/_gateway/login?here=1&next=/x", TAB)
    assert 'href="/_gateway/oidc/sso/start?next=/x"' in shown.text
    left = await person.on(other).get("/_gateway/oidc/sso/start?next=/x", TAB)
    to_public = left.headers["Location"]
    assert to_public.startswith(f"https://{HOST}/_gateway/oidc/sso/start?next=")
    answer = await person.on(HOST).get(to_public.removeprefix(f"https://{HOST}"), TAB)
    back = provider.visit(answer.headers["Location"])
    answer = await person.on(HOST).get(back.removeprefix(f"https://{HOST}"), TAB)
    url, _ = await person.open(answer.headers["Location"], HOST)
    assert url == f"https://{other}/x"
    session = await person.on(other).session()
    assert session
    assert session.user == "alice"
    assert session == await person.on(HOST).session()


# --- The memory ---------------------------------------------------------------------------------------


async def test_the_memory_is_bounded_and_drops_the_oldest() -> None:
    clock = Clock()
    memory = MemoryHandovers(clock)
    one = Handover("token", OTHER, "b")
    for number in range(MAX_KEPT + 1):
        await memory.put(str(number), one)
    assert await memory.take("0") is None
    assert await memory.take("1") == one
    assert await memory.take(str(MAX_KEPT)) == one
    clock.move(30)
    assert await memory.take("2") is None
    await memory.put("x", one)
    assert len(memory._kept) == 1, "what is too old goes when something comes"
    assert "token" not in repr(one)
