"""Signed and opaque tokens of programs at the running gateway."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from gateway.login.programs.introspection import MAX_ASKED, MAX_FOR_ONE
from tests.conftest import StartGateway
from tests.support.clock import SetClock
from tests.support.program_site import CHALLENGES, INVALID, Programs, config_for, program_site
from tests.support.programs import basic, token, with_key_id
from tests.support.provider import FakeProvider, new_key, signed_with_public_key, unsigned
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import Visitor
from tests.support.waiting import PATIENCE, wait_for


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with program_site(tmp_path_factory.mktemp("programs")) as site:
        yield site


def test_a_signed_token_opens_a_route(programs: Programs) -> None:
    """Whoever it is about, by its issuer's name for it; no other source has a user of that name."""
    text = token(programs.provider, role="reader")
    assert programs.user("/app", f"Bearer {text}") == "ci:robot"
    assert programs.app.last().get("X-Forwarded-Groups") == "staff"
    assert programs.app.last().get_all("Authorization") == []
    assert programs.user("/tokens", "bearer " + token(programs.provider, role="reader", header={"typ": "at+jwt"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"}, {"aud": None}, {"aud": ["x", "y"]}, {"iss": "https://other.example"}, {"exp": None},
        {"exp": 1}, {"exp": "never"}, {"nbf": 9_999_999_999}, {"iat": 9_999_999_999}, {"sub": None}, {"sub": 0.5},
        {"cnf": {"jkt": "x"}}, {"header": {"typ": "logout+jwt"}}, {"header": {"crit": ["exp"]}},
        {"header": {"kid": "unknown"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_that_is_not_for_here_and_now_is_refused(programs: Programs, changes: dict[str, object]) -> None:
    answer = programs.get("/tokens", "Bearer " + token(programs.provider, **{"role": "reader", **changes}))  # type: ignore[arg-type]
    # A token that names nobody is sound, and still lets nobody in.
    assert answer.status == (403 if "sub" in changes else 401), answer
    assert answer.get("WWW-Authenticate") != CHALLENGES[0]


def test_a_token_that_the_issuer_has_not_signed_is_refused(programs: Programs) -> None:
    """By another key, by none, by the public key as a secret, changed afterwards, or cut."""
    good = token(programs.provider, role="reader")
    key = programs.provider.keys[0]
    claims = {
        "iss": programs.provider.issuer,
        "aud": "wiki",
        "sub": "robot",
        "exp": time.time() + 100,
        "role": "reader",
    }
    head, payload, signature = good.split(".")
    for text in (
        token(programs.provider, key=new_key("EC", key.kid), role="reader"),
        unsigned(claims),
        signed_with_public_key(claims, key),
        f"{head}.{payload}.{signature[:-8]}AAAAAAAA",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        f"{head}..{signature}",
        f"{good}.{signature}",
    ):
        answer = programs.get("/tokens", f"Bearer {text}")
        assert answer.status == 401, text
        assert answer.get("WWW-Authenticate") == INVALID
    assert programs.user("/tokens", f"Bearer {good}") == "ci:robot"


def test_a_token_of_somebody_who_is_not_allowed_there_is_forbidden(programs: Programs) -> None:
    answer = programs.get("/tokens", "Bearer " + token(programs.provider, role="writer"))
    assert answer.status == 403
    assert answer.get("WWW-Authenticate") == 'Bearer realm="gateway", error="insufficient_scope"'


def test_each_request_of_a_connection_is_judged_by_its_own_credential(programs: Programs) -> None:
    """Whatever the one before it presented, and to which route."""
    first, second = (token(programs.provider, role="reader", sub=name) for name in ("first", "second"))
    writer = token(programs.provider, role="writer")
    changed = first[:-8] + "AAAAAAAA"
    steps = [
        ("/tokens", [first], 200), ("/tokens", [first], 200), ("/tokens", [second], 200), ("/app", [second], 200),
        ("/tokens", [writer], 403), ("/tokens", [writer], 403), ("/staff", [first], 403), ("/tokens", [first], 200),
        ("/tokens", [changed], 401), ("/tokens", [], 401), ("/tokens", [first], 200), ("/keys", [first], 401),
        ("/tokens", [first, first], 400),
    ]  # fmt: skip
    with programs.gateway.connect() as client:
        for path, texts, status in steps:
            lines = "".join(f"Authorization: Bearer {text}\r\n" for text in texts)
            client.send(f"GET {path} HTTP/1.1\r\nHost: {programs.gateway.authority}\r\n{lines}\r\n")
            assert client.answer().status == status, (path, texts)
            if status == 200:
                name = "first" if texts == [first] else "second"
                assert programs.app.last().get("X-Forwarded-User") == f"ci:{name}"


def test_a_token_that_ends_is_over_although_it_is_known(
    programs: Programs, start_gateway: StartGateway, clock: SetClock
) -> None:
    """With the minute that clocks may differ by."""
    site = programs.at(start_gateway(programs.gateway.config, env=clock.env))
    text = token(site.provider, role="reader", exp=int(time.time()) + 300)
    assert site.user("/tokens", f"Bearer {text}") == "ci:robot"
    clock.jump(site.gateway, timedelta(seconds=330))
    assert site.user("/tokens", f"Bearer {text}") == "ci:robot"
    clock.jump(site.gateway, timedelta(seconds=370))
    wait_for(lambda: site.get("/tokens", f"Bearer {text}").status == 401, what="the token to end")


def test_a_thousand_unknown_key_ids_cost_one_request_for_keys(programs: Programs) -> None:
    """Made-up key ids bother neither the issuer nor anybody with a good token."""
    good = token(programs.provider, role="reader")
    assert programs.user("/tokens", f"Bearer {good}") == "ci:robot"
    before, started = programs.provider.counts["/jwks"], time.monotonic()
    random = [with_key_id(good, secrets.token_hex(8)) for _ in range(1000)]
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda text: programs.get("/tokens", f"Bearer {text}").status, random))
    assert set(statuses) == {401}
    cool_downs = (time.monotonic() - started) / 10
    assert programs.provider.counts["/jwks"] - before <= 1 + cool_downs
    assert programs.user("/tokens", f"Bearer {good}") == "ci:robot"
    another = token(programs.provider, role="reader", jti="not seen before")
    assert programs.user("/tokens", f"Bearer {another}") == "ci:robot"


def test_keys_that_are_replaced_without_overlap_are_found(programs: Programs) -> None:
    """One new request for keys after the cool-down; then the new key is believed, the old is not."""
    old = token(programs.provider, role="reader", jti="signed by the old key")
    programs.provider.rotate()
    text = token(programs.provider, role="reader")
    before, started = programs.provider.counts["/jwks"], time.monotonic()
    wait_for(lambda: programs.get("/tokens", f"Bearer {text}").status == 200, 60, "the new key to be found")
    assert programs.provider.counts["/jwks"] - before <= 1 + (time.monotonic() - started) / 10
    assert programs.get("/tokens", f"Bearer {old}").status == 401


def test_an_issuer_that_is_down_lets_nobody_in_and_is_found_when_it_is_back(start_gateway: StartGateway) -> None:
    """503, not 401: nothing is known about the token. Whoever is known goes on."""
    with FakeProvider() as provider, RecorderUpstream() as app:
        site = Programs(start_gateway(config_for(app, provider)), app, provider, [])
        provider.down()
        first = token(provider, role="reader")
        answer = site.get("/tokens", f"Bearer {first}")
        assert (answer.status, answer.get("Retry-After")) == (503, "5")
        assert site.get("/tokens", f"Bearer {first}").status == 503
        assert site.user("/app", basic(ALICE)) == "alice"
        provider.up()
        wait_for(lambda: site.get("/tokens", f"Bearer {first}").status == 200, 60, "the issuer to be found")
        provider.down()
        assert site.user("/tokens", f"Bearer {first}") == "ci:robot"
        assert site.user("/tokens", "Bearer " + token(provider, role="reader", jti="new")) == "ci:robot"
        provider.up()


def test_an_opaque_token_is_asked_about_once(programs: Programs) -> None:
    """However many requests bring it, at whichever worker."""
    text = f"good-{secrets.token_hex(8)}"
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: programs.get("/app", f"Bearer {text}").status, range(40)))
    assert set(statuses) == {200}
    assert programs.asked.count(text) == 1
    assert programs.user("/app", f"Bearer {text}") == "robot"
    assert programs.app.last().get("X-Forwarded-Groups") == "bots"


def test_an_inactive_token_is_refused(programs: Programs) -> None:
    answer = programs.get("/app", "Bearer bad-one")
    assert answer.status == 401
    assert answer.get_all("WWW-Authenticate") == [INVALID, CHALLENGES[1]]


def test_keys_of_ours_are_shown_to_nobody(programs: Programs) -> None:
    """A key that is wrong is not asked about elsewhere."""
    assert programs.get("/app", f"Bearer gwk_{'0' * 12}_{'1' * 64}").status == 401
    assert not [text for text in programs.asked if text.startswith("gwk_")]


def test_one_client_does_not_take_all_the_places_to_ask(start_gateway: StartGateway) -> None:
    """However many made-up tokens somebody sends at once, those of others are asked about."""
    with FakeProvider() as provider, RecorderUpstream() as app:
        asked: list[str] = []
        go = threading.Event()

        async def introspect(request: web.Request) -> web.Response:
            (text,) = parse_qs((await request.read()).decode())["token"]
            asked.append(text)
            await asyncio.to_thread(go.wait, PATIENCE)
            return web.json_response({"active": text == "good", "sub": "robot", "aud": ["wiki"]})

        provider.instead["/introspect"] = introspect
        site = Programs(start_gateway(config_for(app, provider)), app, provider, [])
        with ThreadPoolExecutor(MAX_ASKED + 1) as pool:
            made_up = [pool.submit(site.get, "/app", f"Bearer bad-{number}") for number in range(MAX_ASKED)]
            wait_for(lambda: len(asked) == MAX_FOR_ONE, what="as many questions as one client may ask")
            wait_for(
                lambda: sum(each.done() for each in made_up) == MAX_ASKED - MAX_FOR_ONE, what="the others' answers"
            )
            elsewhere = Visitor(site.gateway, source="127.0.0.2")
            good = pool.submit(elsewhere.get, "/app", {"Authorization": "Bearer good"})
            wait_for(lambda: "good" in asked, what="somebody else's question")
            go.set()
            assert good.result(PATIENCE).status == 200
            statuses = Counter(each.result(PATIENCE).status for each in made_up)
        assert statuses == {401: MAX_FOR_ONE, 503: MAX_ASKED - MAX_FOR_ONE}
        assert site.get("/app", "Bearer bad-again").status == 401


def test_a_place_to_ask_that_is_down_lets_nobody_in_but_those_who_are_known(start_gateway: StartGateway) -> None:
    """503 for the others; a password works meanwhile."""
    with FakeProvider() as provider, RecorderUpstream() as app:

        async def introspect(_: web.Request) -> web.Response:
            return web.json_response({"active": True, "sub": "robot", "aud": ["wiki"]})

        provider.instead["/introspect"] = introspect
        site = Programs(start_gateway(config_for(app, provider)), app, provider, [])
        assert site.user("/app", "Bearer known") == "robot"
        provider.down()
        assert site.user("/app", "Bearer known") == "robot"
        assert site.get("/app", "Bearer unknown").status == 503
        assert site.user("/app", basic(ALICE)) == "alice"
        provider.up()
