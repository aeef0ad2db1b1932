"""A session's life: cookie attributes, renewal, idle and absolute end, logout for good, also over a restart."""

from __future__ import annotations

import time
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from tests.conftest import StartGateway
from tests.support.clock import SetClock
from tests.support.gateway import GatewayProcess, gateway_config, route
from tests.support.messages import Answer
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB, User
from tests.support.visitor import PAGE, PROGRAM, Visitor, form_fields, logged_in
from tests.support.waiting import wait_for

MINUTE = timedelta(minutes=1)


def start(
    start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock | None = None, **session: Any
) -> GatewayProcess:
    """Start a gateway with changes to its ``session`` settings."""
    config = gateway_config(route("app", "/", recorder.url))
    config["session"].update(session)
    return start_gateway(config, env=clock.env if clock else {})


def set_cookie(answer: Answer, name: str = "gateway_session") -> dict[str, str]:
    """Return the attributes of the last Set-Cookie of that name, keys in lower case, the value under ``""``.

    With a domain, the removal of one for the host alone comes before it, and nothing else.
    """
    *removed, line = [line for line in answer.get_all("Set-Cookie") if line.split("=")[0] == name]
    assert all("Max-Age=0" in other and "Domain" not in other for other in removed)
    pair, *attributes = line.split("; ")
    found = {"": pair.partition("=")[2]}
    for attribute in attributes:
        key, _, value = attribute.partition("=")
        found[key.lower()] = value
    return found


def replay(gateway: GatewayProcess, cookies: dict[str, str], target: str = "/x") -> Answer:
    """Return the answer to a request with exactly these cookies."""
    thief = Visitor(gateway)
    thief.cookies = dict(cookies)
    return thief.get(target, PROGRAM)


def test_cookie_is_safe_by_default(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Without "remember me" it is a browser-session cookie: HttpOnly, SameSite=Lax, Path=/."""
    gateway = start(start_gateway, recorder)
    cookie = set_cookie(Visitor(gateway).login(ALICE))
    assert cookie.pop("")
    assert cookie == {"path": "/", "httponly": "", "samesite": "Lax"}


def test_remembered_cookie(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """With "remember me" it has Max-Age and Expires of 30 days."""
    gateway = start(start_gateway, recorder)
    cookie = set_cookie(Visitor(gateway).login(ALICE, remember=True))
    assert abs(int(cookie["max-age"]) - 30 * 86400) < 60
    assert abs(parsedate_to_datetime(cookie["expires"]).timestamp() - time.time() - 30 * 86400) < 60


def test_cookie_attributes_are_configurable(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Name, path, SameSite and HttpOnly are what the configuration says."""
    gateway = start(start_gateway, recorder, cookie={"name": "sid", "same_site": "strict", "http_only": False})
    visitor = Visitor(gateway)
    cookie = set_cookie(visitor.try_login("alice", ALICE.password), "sid")
    assert (cookie["samesite"], "httponly" in cookie) == ("Strict", False)
    assert visitor.get("/x").status == 200
    assert recorder.last().get("Cookie") is None


def test_https_site(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """On https the cookie is Secure and has the `__Host-` prefix; with a domain it has `__Secure-` and the Domain."""
    config = gateway_config(route("app", "/", recorder.url), public_url="https://localhost")
    gateway = start_gateway(config)
    cookie = set_cookie(Visitor(gateway, host="localhost").try_login("alice", ALICE.password), "__Host-gateway_session")
    assert ("secure" in cookie, cookie["path"], "domain" in cookie) == (True, "/", False)
    config = gateway_config(route("app", "/", recorder.url), public_url="https://login.example.com")
    config["session"]["cookie"] = {"domain": "example.com"}
    gateway = start_gateway(config)
    visitor = Visitor(gateway, host="login.example.com")
    cookie = set_cookie(visitor.try_login("alice", ALICE.password), "__Secure-gateway_session")
    assert ("secure" in cookie, cookie["domain"].lstrip(".")) == (True, "example.com")
    assert visitor.get("/x").status == 200


def test_login_makes_a_new_session(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Each login is a session of its own, and a login over a session ends the old one."""
    gateway = start(start_gateway, recorder)
    visitor = logged_in(gateway, ALICE)
    before = dict(visitor.cookies)
    other = logged_in(gateway, ALICE)
    assert other.session() != visitor.session()
    visitor.cookies = dict(before)
    page = visitor.get("/_gateway/login?next=/x", PAGE)
    if page.status == 200:
        form = {"username": BOB.user, "password": BOB.password, "next": "/"}
        visitor.post("/_gateway/login", {**form, "csrf_token": form_fields(page.text())["csrf_token"]})
        assert replay(gateway, before).status == 401
    assert other.get("/x").status == 200


def test_a_planted_session_is_not_adopted(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A cookie that was there before the login is not the session afterwards (fixation)."""
    gateway = start(start_gateway, recorder)
    visitor = Visitor(gateway)
    visitor.cookies["gateway_session"] = planted = "v1.planted"
    visitor.login(ALICE)
    assert visitor.cookies["gateway_session"] != planted


def test_idle_end(start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock) -> None:
    """A session without requests ends after the idle time, whatever cookie the browser keeps; any of them is use."""
    gateway = start(start_gateway, recorder, clock, idle="10m")
    visitor = logged_in(gateway, ALICE)
    kept = dict(visitor.cookies)
    clock.jump(gateway, 9 * MINUTE)
    assert replay(gateway, kept).status == 200
    clock.jump(gateway, 20 * MINUTE)
    assert replay(gateway, kept).status == 401
    assert visitor.get("/x", PROGRAM).status == 401


def test_renewal_keeps_a_busy_session(start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock) -> None:
    """Requests within the idle time keep a session, by a new cookie; not every request writes one."""
    gateway = start(start_gateway, recorder, clock, idle="10m")
    visitor = logged_in(gateway, ALICE)
    first = dict(visitor.cookies)
    renewed = 0
    for minutes in (0, 4, 8, 12, 16, 20):
        clock.jump(gateway, minutes * MINUTE)
        for _ in range(4):
            answer = visitor.get("/x", PROGRAM)
            assert answer.status == 200
            renewed += any(line.startswith("gateway_session=") for line in answer.get_all("Set-Cookie"))
    assert 2 <= renewed <= 20
    assert visitor.cookies != first
    assert replay(gateway, first).status == 200, "the session is in use, by whichever of its cookies"
    clock.jump(gateway, 31 * MINUTE)
    assert replay(gateway, first).status == 401


def test_absolute_end(start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock) -> None:
    """No renewal moves the absolute end."""
    gateway = start(start_gateway, recorder, clock, idle="20m", lifetime="40m")
    visitor = logged_in(gateway, ALICE)
    for minutes in (13, 26, 39):
        clock.jump(gateway, minutes * MINUTE)
        assert visitor.get("/x", PROGRAM).status == 200
    clock.jump(gateway, 41 * MINUTE)
    assert visitor.get("/x", PROGRAM).status == 401


def test_remembered_session_has_no_idle_limit(
    start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock
) -> None:
    """A remembered session outlives the idle time, and ends at its own absolute limit."""
    gateway = start(start_gateway, recorder, clock, idle="10m", remember="40m")
    visitor = Visitor(gateway)
    visitor.login(ALICE, remember=True)
    kept = dict(visitor.cookies)
    clock.jump(gateway, 39 * MINUTE)
    assert replay(gateway, kept).status == 200
    clock.jump(gateway, 41 * MINUTE)
    assert replay(gateway, kept).status == 401


def test_remember_can_be_turned_off(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """With `remember: null` the form offers none, and asking for it gives a browser session."""
    gateway = start(start_gateway, recorder, remember=None)
    visitor = Visitor(gateway)
    assert "remember" not in form_fields(visitor.get("/_gateway/login", PAGE).text())
    assert "max-age" not in set_cookie(visitor.login(ALICE, remember=True))


def test_logout_is_for_good(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Logout clears the cookie and ends the session at the server: a copy is refused, after a restart too."""
    gateway = start(start_gateway, recorder)
    visitor, other = logged_in(gateway, ALICE), logged_in(gateway, ALICE)
    stolen = dict(visitor.cookies)
    assert replay(gateway, stolen).status == 200
    answer = visitor.logout()
    assert answer.status == 303
    assert set_cookie(answer)["max-age"] == "0"
    assert replay(gateway, stolen).status == 401
    assert replay(gateway, stolen, "/_gateway/me").status == 401
    assert other.get("/x").status == 200, "other sessions of the same user go on"
    gateway.restart()
    assert replay(gateway, stolen).status == 401
    assert other.get("/x").status == 200, "a restart logs nobody out"


def test_logout_survives_a_crash(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """What was logged out stays so even if the program is killed right afterwards."""
    gateway = start(start_gateway, recorder)
    visitor = logged_in(gateway, ALICE)
    stolen = dict(visitor.cookies)
    assert visitor.logout().status == 303
    gateway.kill()
    gateway.start()
    assert replay(gateway, stolen).status == 401


def test_logout_needs_its_token(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """GET asks and ends nothing; a POST without the form's token ends nothing."""
    gateway = start(start_gateway, recorder)
    visitor = logged_in(gateway, ALICE)
    assert visitor.get("/_gateway/logout", PAGE).status == 200
    assert visitor.post("/_gateway/logout", {}).status in (400, 403)
    assert visitor.post("/_gateway/logout", {"csrf_token": "x"}).status in (400, 403)
    assert visitor.get("/x").status == 200


def test_logout_beats_a_renewal_under_way(
    start_gateway: StartGateway, recorder: RecorderUpstream, clock: SetClock
) -> None:
    """A renewal written while somebody logs out does not bring the session back."""
    gateway = start(start_gateway, recorder, clock, idle="10m")
    visitor = logged_in(gateway, ALICE)
    cookies = [dict(visitor.cookies)]
    clock.jump(gateway, 5 * MINUTE)
    wait_for(lambda: visitor.get("/x").get_all("Set-Cookie"), what="a renewal")
    cookies.append(dict(visitor.cookies))
    assert cookies[0] != cookies[1], "the session was renewed"
    visitor.logout()
    assert [replay(gateway, kept).status for kept in cookies] == [401, 401]


def test_a_changed_token_is_no_session(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """One changed character anywhere makes it nobody's session."""
    gateway = start(start_gateway, recorder)
    name, value = logged_in(gateway, ALICE).session_pair()
    for index in range(len(value)):
        changed = value[:index] + ("A" if value[index] != "A" else "B") + value[index + 1 :]
        assert replay(gateway, {name: changed}).status == 401, index
    assert replay(gateway, {name: value}).status == 200


def test_a_key_of_another_gateway_opens_nothing(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A session sealed elsewhere is nobody's session."""
    first, second = start(start_gateway, recorder), start(start_gateway, recorder)
    assert replay(second, logged_in(first, ALICE).cookies).status == 401


def test_large_session_is_split(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A session over 4 KiB is spread over numbered cookies; none reaches the app, and logout clears all."""
    big = User("big", "pw 12345", "Big", tuple(f"group-{i:04}-{'x' * 20}" for i in range(140)))
    gateway = start_gateway(gateway_config(route("app", "/", recorder.url)), users=[big])
    visitor = logged_in(gateway, big)
    assert sorted(visitor.session()) == ["gateway_session", "gateway_session_1"]
    assert all(len(name) + len(value) <= 4096 for name, value in visitor.session().items())
    assert visitor.get("/x").status == 200
    assert recorder.last().get("Cookie") is None
    for missing in ("gateway_session", "gateway_session_1"):
        kept = {name: value for name, value in visitor.cookies.items() if name != missing}
        assert replay(gateway, kept).status == 401
    stolen = dict(visitor.cookies)
    visitor.logout()
    assert not visitor.session()
    assert replay(gateway, stolen).status == 401


def test_too_large_session_fails_with_a_reason(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A session over the budget fails at the login with a message, in place of a 431 later."""
    huge = User("huge", "pw 12345", "Huge", tuple(f"group-{i:04}-{'x' * 30}" for i in range(400)))
    gateway = start_gateway(gateway_config(route("app", "/", recorder.url)), users=[huge])
    visitor = Visitor(gateway)
    answer = visitor.try_login("huge", huge.password)
    assert 400 <= answer.status < 600
    assert answer.status not in (401, 431)
    assert not visitor.session()
    wait_for(lambda: "budget" in gateway.log_text() or "store" in gateway.log_text(), what="the reason in the log")


def test_disabling_a_user_ends_the_sessions(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A user who is disabled or removed in the users file is out within seconds, and so are changed rights."""
    gateway = start(start_gateway, recorder)
    alice, bob = logged_in(gateway, ALICE), logged_in(gateway, BOB)
    gateway.write_users([User(ALICE.user, ALICE.password, ALICE.name, ALICE.groups, disabled=True), BOB])
    wait_for(lambda: replay(gateway, alice.cookies).status == 401, what="the disabled user to be out")
    assert bob.get("/x").status == 200
    assert Visitor(gateway).try_login(ALICE.user, ALICE.password).status == 401


def test_broken_users_file_keeps_the_old_one(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A users file that breaks while the gateway runs changes nothing, and is named in the log."""
    gateway = start(start_gateway, recorder)
    visitor = logged_in(gateway, ALICE)
    (gateway.directory / "users.yaml").write_text("users: [broken")
    wait_for(lambda: "users.yaml" in gateway.errors(), what="the problem to be named")
    assert visitor.get("/x").status == 200
    assert logged_in(gateway, BOB).get("/x").status == 200


def test_audit_log(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Logins, failures and logouts are audited with user and address, and without passwords."""
    gateway = start(start_gateway, recorder)
    Visitor(gateway).try_login("alice", "a wrong password")
    logged_in(gateway, ALICE).logout()

    wait_for(lambda: len(gateway.audit_log()) >= 3, what="three audit records")
    text = (gateway.directory / "audit.log").read_text()
    assert text.count("alice") >= 3
    assert "127.0.0.1" in text
    assert "a wrong password" not in text
    assert ALICE.password not in text
