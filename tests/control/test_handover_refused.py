"""Hand-over refused: no code opens a session for another browser, another host, a second time or too late."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from gateway.core.next_url import MAX_LENGTH
from tests.control.harness import HOST, ControlSite, Settings, StartSite
from tests.control.hosts import (
    OTHER,
    ROUTES,
    START,
    TAB,
    TENANT,
    Person,
    asked,
    assert_refused,
    coded,
    login_url,
    query_of,
)
from tests.support.users import BOB


@pytest.fixture
async def hosts(start_site: StartSite) -> ControlSite:
    return await start_site(Settings(routes=ROUTES))


@pytest.fixture
def alice(hosts: ControlSite) -> Person:
    return Person(hosts)


# --- What is refused ----------------------------------------------------------------------------------


async def test_a_code_in_another_browser_opens_nothing(hosts: ControlSite, alice: Person) -> None:
    """Login CSRF: an attacker's code, sent to a victim who has asked for a session of their own."""
    await alice.login()
    location = await coded(alice)
    victim = Person(hosts)
    await asked(victim)
    _, answer = await victim.open(location)
    await assert_refused(victim, answer, 403, "a code that another browser asked for")
    assert await victim.on(OTHER).session() is None
    _, answer = await alice.open(location)
    assert answer.status == 400, "and it is used up"


async def test_a_browser_that_keeps_no_cookie_is_told_so(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    location = await coded(alice)
    alice.on(OTHER).cookies.clear()
    _, answer = await alice.open(location)
    await assert_refused(alice, answer, 403, "no cookie of a question")
    assert "did not keep this site&#39;s cookie" in answer.text
    shown = await alice.on(OTHER).get("/_gateway/login?here=1", TAB)
    assert (shown.status, "<form" in shown.text) == (200, True)


async def test_a_code_is_good_once(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    location = await coded(alice)
    thief = Person(hosts)
    thief.on(OTHER).keep([f"{name}={value}" for name, value in alice.on(OTHER).cookies.items()])
    await alice.open(location)
    hosts.events.clear()
    _, answer = await thief.open(location)
    await assert_refused(thief, answer, 400, "a code that is not there, was used or is too old")
    assert await thief.on(OTHER).session() is None


async def test_loading_the_page_again_goes_on_with_the_session_there_is(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    location = await coded(alice)
    await alice.open(location)
    url, answer = await alice.open(location)
    assert (url, answer.status) == (f"https://{OTHER}/", 303)


@pytest.mark.parametrize(("seconds", "good"), [(29, True), (31, False)])
async def test_a_code_is_good_for_half_a_minute(hosts: ControlSite, alice: Person, seconds: float, good: bool) -> None:
    await alice.login()
    location = await coded(alice)
    hosts.ticks.move(seconds)
    _, answer = await alice.open(location)
    assert (await alice.on(OTHER).session() is not None) is good
    if not good:
        await assert_refused(alice, answer, 400, "a code that is not there, was used or is too old")


async def test_a_code_for_another_host_opens_nothing(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    code = query_of(await coded(alice))["code"]
    for name, value in alice.on(OTHER).cookies.items():
        alice.on(TENANT).cookies[name] = value
    answer = await alice.on(TENANT).get(f"/_gateway/handover?code={code}", TAB)
    await assert_refused(alice, answer, 403, "a code for another host")
    assert await alice.on(TENANT).session() is None


async def test_a_session_that_ended_meanwhile_is_not_handed_over(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    location = await coded(alice)
    session = await alice.on(HOST).session()
    assert session
    await hosts.store.revoke(session)
    _, answer = await alice.open(location)
    await assert_refused(alice, answer, 400, "the session ended meanwhile")
    assert await alice.on(OTHER).session() is None


async def test_nobody_s_session_is_changed_for_another(hosts: ControlSite, alice: Person) -> None:
    """Somebody who signed in on the host itself meanwhile stays who they are."""
    await alice.login()
    location = await coded(alice)
    await alice.on(OTHER).login(BOB)
    url, _ = await alice.open(location)
    assert url == f"https://{OTHER}/page?x=1"
    session = await alice.on(OTHER).session()
    assert session
    assert session.user == "bob"
    assert hosts.audited("handed_over") == []


@pytest.mark.parametrize("code", ["", "x", "a" * 43, "%00", "ä", "a" * 5000])
async def test_what_is_no_code_opens_nothing(hosts: ControlSite, alice: Person, code: str) -> None:
    await asked(alice)
    answer = await alice.on(OTHER).get(f"/_gateway/handover?code={code}", TAB)
    await assert_refused(alice, answer, 400, "a code that is not there, was used or is too old")


EVIL = [
    "evil.example", "evil.example/.tenants.example.net", "evil.example%23.tenants.example.net", HOST,
    "evil.example%3F.tenants.example.net", "evil.example%5C.tenants.example.net", "a@b.tenants.example.net",
    "evil.example:443%2F.tenants.example.net", "https://wiki.example.org", "wiki.example.org:444", "",
    "wiki.example.org%0A", "wiki.example.org.", "%20.tenants.example.net", "..tenants.example.net", "[::1]",
]  # fmt: skip


@pytest.mark.parametrize("to", EVIL)
async def test_codes_go_to_configured_hosts_only(hosts: ControlSite, alice: Person, to: str) -> None:
    await alice.login()
    answer = await alice.on(HOST).get(f"{START}?to={to}&browser={'a' * 43}&next=/", TAB)
    assert (answer.status, "Location" in answer.headers) == (400, False)


@pytest.mark.parametrize(
    "next_url",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "http://wiki.example.org/", "javascript:alert(1)",
     "/" + "a" * MAX_LENGTH],
)  # fmt: skip
async def test_the_end_of_the_way_is_never_elsewhere(hosts: ControlSite, alice: Person, next_url: str) -> None:
    await alice.login()
    start = query_of(await asked(alice))
    for path in (f"{START}?to={OTHER}&browser={start['browser']}&next={next_url}",):
        answer = await alice.on(HOST).get(path, TAB)
        url, _ = await alice.open(answer.headers["Location"])
        assert url == f"https://{OTHER}/"


async def test_another_host_of_ours_may_be_the_end(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    url, _ = await alice.open(login_url(OTHER, "https://mail.example.org/x"))
    assert url == "https://mail.example.org/x"


async def test_only_public_url_gives_and_only_the_others_take(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    start = urlsplit(await asked(alice))
    assert (await alice.on(OTHER).get(f"{start.path}?{start.query}", TAB)).status == 404
    assert (await alice.on(HOST).get("/_gateway/handover?code=x", TAB)).status == 404


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT"])
async def test_codes_are_neither_made_nor_used_by_other_methods(hosts: ControlSite, alice: Person, method: str) -> None:
    await alice.login()
    location = await coded(alice)
    answer = await alice.on(OTHER).send(method, location.removeprefix(f"https://{OTHER}"), TAB)
    assert answer.status == 405
    start = (await asked(alice)).removeprefix(f"https://{HOST}")
    assert (await alice.on(HOST).send(method, start, TAB)).status == 405
    await alice.open(location)
    assert await alice.on(OTHER).session() is not None


async def test_the_code_is_shown_to_nobody(hosts: ControlSite, alice: Person) -> None:
    await alice.login()
    start = (await asked(alice)).removeprefix(f"https://{HOST}")
    given = await alice.on(HOST).get(start, TAB)
    location = given.headers["Location"]
    taken = await alice.on(OTHER).get(location.removeprefix(f"https://{OTHER}"), TAB)
    for answer in (given, taken):
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
    code = query_of(location)["code"]
    assert len(code) == 43
    assert all(code not in repr(event) for event in hosts.events)
