"""Programs at the running gateway: what is asked for, passwords, whose a credential is, odd spellings."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.conftest import StartGateway
from tests.support.oidc_site import audited
from tests.support.program_site import CHALLENGES, Programs, program_site
from tests.support.programs import basic, token
from tests.support.users import ADMIN, ALICE, BOB, CAROL
from tests.support.visitor import Visitor, logged_in
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with program_site(tmp_path_factory.mktemp("programs")) as site:
        yield site


def test_a_program_without_a_credential_is_told_what_is_accepted(programs: Programs) -> None:
    """401 with a challenge for each scheme, and a problem in JSON."""
    answer = programs.get("/app")
    assert answer.status == 401
    assert answer.get_all("WWW-Authenticate") == CHALLENGES
    assert json.loads(answer.body)["status"] == 401
    assert programs.get("/keys").get_all("WWW-Authenticate") == CHALLENGES[:1]
    assert programs.get("/plain").get_all("WWW-Authenticate") == []


def test_browsers_are_sent_to_the_login_and_never_asked_for_a_password_by_themselves(programs: Programs) -> None:
    """A navigation gets the login page; a script's request gets no Basic challenge, which opens a dialogue."""
    assert programs.get("/app", Accept="text/html", Sec_Fetch_Mode="navigate").status == 302
    answer = programs.get("/app", Sec_Fetch_Mode="cors", Sec_Fetch_Site="same-origin")
    assert (answer.status, answer.get_all("WWW-Authenticate")) == (401, CHALLENGES[:1])


def test_a_password_opens_a_route_that_accepts_passwords(programs: Programs) -> None:
    """The app gets the same headers as for a session, but not the password; no cookie is set."""
    assert programs.user("/app", basic(ALICE)) == "alice"
    seen = programs.app.last()
    assert seen.get("X-Forwarded-Groups") == "staff,wiki"
    assert seen.get_all("Authorization") == []
    assert programs.user("/app", basic(ALICE).replace("Basic ", "bASIC   ")) == "alice"


def test_the_policy_is_that_of_sessions(programs: Programs) -> None:
    """403 for whoever lacks the group."""
    assert programs.get("/staff", basic(ALICE)).status == 403
    assert programs.user("/staff", basic(ADMIN)) == "admin"
    refused = programs.get("/staff", "Bearer " + token(programs.provider, role="reader"))
    assert refused.status == 403
    assert 'Bearer realm="gateway", error="insufficient_scope"' in refused.get_all("WWW-Authenticate")


@pytest.mark.parametrize(
    "credential",
    [basic(ALICE, "wrong"), basic(CAROL), "Basic", "Basic YWxpY2U=", "Basic !", "Basic 4A==", "Basic Og=="],
)
def test_a_wrong_password_is_refused(programs: Programs, credential: str) -> None:
    answer = programs.get("/app", credential)
    assert answer.status == 401
    assert answer.get_all("WWW-Authenticate") == CHALLENGES


def test_passwords_are_throttled_as_logins_are(programs: Programs, start_gateway: StartGateway) -> None:
    """After some failures the next attempt has to wait, and the login page knows it too."""
    gateway = start_gateway(programs.gateway.config)
    statuses = [Visitor(gateway).get("/app", {"Authorization": basic(BOB, f"no{n}")}).status for n in range(6)]
    assert statuses[:5] == [401] * 5

    def is_held_up() -> bool:
        # The wait is over on a slow machine; then this is one more failure, which doubles it.
        answer = Visitor(gateway).get("/app", {"Authorization": basic(BOB, "another")})
        at_the_page = Visitor(gateway).try_login(BOB.user, "wrong")
        held_up = answer.status == at_the_page.status == 429
        assert not held_up or int(answer.get("Retry-After") or 0) > 0
        return held_up

    wait_for(is_held_up, what="both to be held up")
    wait_for(lambda: {line["user"] for line in audited(gateway, "login_failed")} == {"bob"}, what="the log")
    assert len(audited(gateway, "login_failed")) >= 5


def test_a_known_password_is_not_hashed_again(programs: Programs, start_gateway: StartGateway) -> None:
    """Hundreds of requests cost less than a few hashes would."""
    gateway = start_gateway(programs.gateway.config)
    header = f"GET /app HTTP/1.1\r\nHost: {gateway.authority}\r\nAuthorization: {basic(ALICE)}\r\n\r\n"
    with gateway.connect() as client:
        for _ in range(300):
            client.send(header)
            assert client.answer().status == 200
    failures = [event for event in gateway.audit_log() if event["event"].startswith("login")]
    assert failures == []


def test_a_password_that_a_browser_adds_to_another_sites_request_is_refused(programs: Programs) -> None:
    """Browsers send a password by themselves: not across sites, except for a link that was followed."""
    for site in ("cross-site", "same-site"):
        assert programs.get("/app", basic(ALICE), Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403
        assert programs.get("/app", basic(ALICE), Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate").status == 200
    assert programs.get("/app", basic(ALICE), Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors").status == 200
    crossing = [("Authorization", basic(ALICE)), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
    assert Visitor(programs.gateway).request("POST", "/app", crossing).status == 403
    # What older browsers send, and those that reach the gateway over plain http.
    own = f"http://{programs.gateway.authority}"
    for origin, status in ((own, 200), ("http://evil.example", 403), ("null", 403), (f"{own}.evil.example", 403)):
        came = [("Authorization", basic(ALICE)), ("Origin", origin)]
        assert Visitor(programs.gateway).request("POST", "/app", came).status == status


def test_a_credential_that_a_route_does_not_accept_is_the_apps_own(programs: Programs) -> None:
    """It goes on as it came, with whatever session there is."""
    alice = logged_in(programs.gateway, ALICE)
    for path, credential in {
        "/plain": basic(BOB),
        "/keys": "Bearer app-token",
        "/tokens": basic(BOB),
        "/app": 'Digest username="x"',
    }.items():
        assert alice.get(path, {"Authorization": credential}).status == 200
        seen = programs.app.last()
        assert (seen.get("X-Forwarded-User"), seen.get("Authorization")) == ("alice", credential)
        assert programs.get(path, credential).status == 401
    assert programs.get("/free", "Bearer app-token").status == 200
    assert programs.app.last().get_all("X-Forwarded-User") == []


def test_a_credential_counts_in_place_of_a_session(programs: Programs) -> None:
    """With both, it is the credential's user; a bad credential is refused whatever the session."""
    alice = logged_in(programs.gateway, ALICE)
    answer = alice.get("/app", {"Authorization": basic(BOB)})
    assert (answer.status, programs.app.last().get("X-Forwarded-User")) == (200, "bob")
    assert alice.get("/app", {"Authorization": "Bearer nonsense"}).status == 401


def test_a_route_may_pass_the_credential_on(programs: Programs) -> None:
    assert programs.user("/passed", basic(ALICE)) == "alice"
    assert programs.app.last().get("Authorization") == basic(ALICE)


def test_a_public_route_knows_programs_and_lets_everybody_in(programs: Programs) -> None:
    """A password that is wrong is as good as none there, and is not shown to the app."""
    assert programs.user("/open", basic(ALICE)) == "alice"
    assert programs.user("/open", basic(ALICE, "wrong one")) is None
    assert programs.app.last().get_all("Authorization") == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Authorization: {good}\r\nAuthorization: {good}", 400),
        ("Authorization: {good}\r\nAuthorization: Basic x", 400),
        ("authorization: Negotiate x\r\nAUTHORIZATION: {good}", 400),
        ("Authorization: {good}, {good}", 401),
        ("Authorization: {good} x", 401),
        ("Authorization: {good},", 401),
        ("Authorization: Bearer", 401),
        ("Authorization: Bearer  ", 401),
        ("Authorization: Bearer ,", 401),
        ("Authorization: Bearer token=\"x\"", 401),
        ("Authorization:", 401),
        ("Authorization: ,{good}", 401),
        ("Authorization: \xa0{good}", 401),
        ("Authorization: Bearer {good}", 401),
        ("Authorization: {good}\0", 400),
        ("Authorization: {good}\r\n\tx", 400),
        ("Authorization : {good}", 400),
        ("Authorization: Bearer " + "x" * 9000, 431),
        ("Authorization: Basic " + "x" * 8000, 401),
        ("Authorization: Bearer " + "." * 8000, 401),
        ("Authorization: Bearer gwk_", 401),
        ("Authorization: Bearer gwk_" + "0" * 12 + "_" + "0" * 64, 401),
        ("Proxy-Authorization: {good}", 401),
        ("X-Authorization: {good}", 401),
        ("Authorization_: {good}", 401),
        ("AUTHORIZATION: {good}", 200),
        ("Authorization: {good}  ", 200),
        ("Authorization:\t{tab}", 200),
        ("Connection: Authorization\r\nAuthorization: {good}", 200),
    ],
)  # fmt: skip
def test_odd_credentials(programs: Programs, fields: str, status: int) -> None:
    """What could be read in two ways is refused; nothing of it gets through, and nobody falls over it."""
    good = basic(ALICE)
    text = fields.format(good=good, tab=good.replace(" ", "\t"))
    before = len(programs.app.requests)
    with programs.gateway.connect() as client:
        client.send(f"GET /app/odd HTTP/1.1\r\nHost: {programs.gateway.authority}\r\n{text}\r\n\r\n")
        assert client.answer().status == status
    assert len(programs.app.requests) - before == (status == 200)
    assert programs.user("/app", good) == "alice"


def test_nothing_secret_is_in_any_log(programs: Programs) -> None:
    """Neither passwords nor tokens, whole or in part."""
    text = token(programs.provider, role="reader")
    for credential in (
        basic(ALICE),
        basic(ALICE, "a wrong secret"),
        f"Bearer {text}",
        f"Bearer x{text}",
        "Bearer good-one",
    ):
        programs.get("/app", credential)
    said = programs.gateway.log_text()
    for secret in (ALICE.password, "a wrong secret", basic(ALICE)[8:], text.split(".")[2], "good-one"):
        assert secret not in said
