"""Refreshing sessions when something is wrong: what ends one, and what does not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.core.cookie import CookiePolicy
from gateway.core.policy import Allow
from gateway.core.provider import ProviderAllow
from gateway.core.refresh import Refreshed
from gateway.errors import StoreUnavailable
from tests.control.oidc import IMPATIENT, QUICK
from tests.control.refreshing import Gateway, World
from tests.support.provider import endless, hang, said
from tests.support.waiting import wait_until

# What ends a session


async def assert_ended(gateway: Gateway, token: str, reason: str) -> None:
    """Require that a session is over, is audited, and leaves no tokens."""
    session = await gateway.session(token)
    assert session
    assert await gateway.refresher.refresh(token) == Refreshed("over")
    assert await gateway.session(token) is None
    assert await gateway.vault.get(session) is None
    assert gateway.outcomes().get("ended") == 1
    (event,) = gateway.events
    assert (event.kind, event.by, event.user, event.session) == ("session_ended", "provider", "alice", session.handle)
    assert event.reason.startswith("sso: ")
    assert reason in event.reason
    assert await gateway.refresher.refresh(token) == Refreshed("over")
    assert len(gateway.events) == 1


async def test_a_login_that_the_provider_refreshes_no_more_ends(world: World, gateway: Gateway) -> None:
    _, token = await world.begin(gateway)
    _, other = await world.begin(gateway)
    world.provider.end_logins()
    world.wait()
    await assert_ended(gateway, token, "invalid_grant")
    assert await gateway.session(other), "nobody has asked about that one yet"


async def test_who_is_let_in_no_more_is_out(world: World) -> None:
    gateway = await world.gateway(allow=ProviderAllow(Allow(groups=frozenset({"staff"}))))
    _, token = await world.begin(gateway)
    world.wait()
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
    world.provider.person["groups"] = ["wiki"]
    world.wait()
    await assert_ended(gateway, token, "groups")


@pytest.mark.parametrize("change", [{"sub": "subject-2"}, {"preferred_username": "bob"}], ids=["sub", "user"])
async def test_somebody_else_does_not_get_the_session(world: World, gateway: Gateway, change: dict[str, Any]) -> None:
    _, token = await world.begin(gateway)
    world.provider.change_again = change
    world.wait()
    await assert_ended(gateway, token, next(iter(change.values())) if "sub" not in change else "sub")


async def test_a_session_that_is_not_there_is_over(world: World, gateway: Gateway) -> None:
    session, token = await world.begin(gateway)
    await gateway.store.revoke(session)
    world.wait()
    for each in (token, "v1.x", ""):
        assert await gateway.refresher.refresh(each) == Refreshed("over")
    assert world.calls() == 0


async def test_a_session_that_ends_meanwhile_stays_ended_and_leaves_no_tokens(world: World, gateway: Gateway) -> None:
    session, token = await world.begin(gateway)
    world.wait()
    asked = asyncio.create_task(gateway.refresher.refresh(token))

    async def has_asked() -> bool:
        return world.provider.counts["refresh"] > 0

    await wait_until(has_asked)
    await gateway.store.revoke(session)
    assert (await asked).kind in ("over", "fresh")
    assert await gateway.session(token) is None


async def test_a_session_that_fits_into_no_cookie_any_more_ends(world: World) -> None:
    gateway = await world.gateway(sqlite=False, cookie=CookiePolicy(budget=1500))
    session, token = await world.begin(gateway)
    world.provider.person["groups"] = [f"group-{number}" for number in range(300)]
    world.wait()
    assert await gateway.refresher.refresh(token) == Refreshed("over")
    assert await gateway.session(token) is None
    assert await gateway.vault.get(session) is None
    (event,) = gateway.events
    assert "budget" in event.reason


# What does not

FAULTS: dict[str, Any] = {
    "hangs": hang,
    "5 MB": endless,
    "HTML": said(200, b"<html>", "text/html"),
    "redirect": said(302, b'{"error": "invalid_grant"}', Location="https://evil.example/token"),
    "broken JSON": said(200, b'{"access_token": '),
    "out of order": said(503, b'{"error": "invalid_grant"}'),
}


async def assert_later(world: World, gateway: Gateway, token: str) -> None:
    """Require that nothing is known, nothing has ended, and nothing is asked again too soon."""
    before, asked = await gateway.identity(token), world.provider.counts["/token"]
    answer = await gateway.refresher.refresh(token)
    assert answer.kind == "later"
    assert 2.5 <= answer.again <= 60
    assert await gateway.identity(token) == before
    assert gateway.events == []
    made = world.provider.counts["/token"] - asked
    assert made <= 1
    again = await gateway.refresher.refresh(token)
    assert again.kind == "later"
    assert 0 < again.again <= answer.again + 0.001
    assert world.provider.counts["/token"] == asked + made


@pytest.mark.parametrize("name", FAULTS)
async def test_a_provider_that_is_out_of_order_ends_nothing(world: World, name: str) -> None:
    gateway = await world.gateway(timing=IMPATIENT if name == "hangs" else QUICK)
    _, token = await world.begin(gateway)
    world.provider.person["groups"] = ["wiki"]
    world.provider.instead["/token"] = FAULTS[name]
    world.wait()
    await assert_later(world, gateway, token)
    world.wait(60)
    await assert_later(world, gateway, token)
    del world.provider.instead["/token"]
    world.wait(60)
    answer = await gateway.refresher.refresh(token)
    assert answer.kind == "fresh"
    assert (await gateway.identity(answer.token)).groups == ("wiki",)
    assert gateway.outcomes() == {"failed": 2, "refreshed": 1}


async def test_a_provider_that_is_down_ends_nothing_and_is_found_again(world: World, gateway: Gateway) -> None:
    _, token = await world.begin(gateway)
    world.provider.down()
    world.wait()
    await assert_later(world, gateway, token)
    world.provider.up()
    world.wait(60)
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
    assert world.calls() == 1


async def test_a_provider_that_is_down_is_left_alone(world: World) -> None:
    """However many sessions are due: one asks at a time, until it answers."""
    gateway = await world.gateway()
    begun = [await world.begin(gateway) for _ in range(20)]
    world.provider.instead["/token"] = said(500, b"{}")
    world.wait()
    asked = world.provider.counts["/token"]
    assert (await gateway.refresher.refresh(begun[0][1])).kind == "later"
    for seconds in (0, 10):
        world.wait(seconds)
        answers = await asyncio.gather(*(gateway.refresher.refresh(token) for _, token in begun[1:]))
        assert {answer.kind for answer in answers} == {"later"}
    assert world.provider.counts["/token"] == asked + 2
    del world.provider.instead["/token"]
    world.wait(60)
    for kinds in ({"fresh", "later"}, {"fresh"}):
        answers = await asyncio.gather(*(gateway.refresher.refresh(token) for _, token in begun))
        assert {answer.kind for answer in answers} == kinds
        world.wait(5.1)


@pytest.mark.parametrize(
    "change",
    [{"iss": "https://evil.example"}, {"aud": "another"}, {"nonce": "another"}],
    ids=lambda each: next(iter(each)),
)
async def test_an_id_token_that_is_not_believed_changes_and_ends_nothing(
    world: World, gateway: Gateway, change: dict[str, Any]
) -> None:
    """The tokens that came with it are kept: the ones before were used up."""
    session, token = await world.begin(gateway)
    before = await gateway.kept(session)
    world.provider.person["groups"] = ["admins"]
    world.provider.change_again = change
    world.wait()
    await assert_later(world, gateway, token)
    kept = await gateway.kept(session)
    assert kept.identity == before.identity
    assert kept.tokens.refresh_token != before.tokens.refresh_token
    assert kept.tokens.id_token == before.tokens.id_token
    world.provider.change_again = {}
    world.wait(10)
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
    assert world.calls() == 2


async def test_tokens_are_kept_though_userinfo_fails(world: World, gateway: Gateway) -> None:
    """Who they are is not known anew, and is asked again soon, with the new token."""
    world.provider.in_userinfo = {"groups"}
    session, token = await world.begin(gateway)
    before = await gateway.kept(session)
    world.provider.person["groups"] = ["wiki"]
    world.provider.instead["/userinfo"] = said(502, b"<html>", "text/html")
    world.wait()
    await assert_later(world, gateway, token)
    kept = await gateway.kept(session)
    assert kept.identity == before.identity
    assert kept.tokens.refresh_token not in ("", before.tokens.refresh_token)
    del world.provider.instead["/userinfo"]
    world.wait(10)
    answer = await gateway.refresher.refresh(token)
    assert answer.kind == "fresh"
    assert (await gateway.identity(answer.token)).groups == ("wiki",)
    assert world.calls() == 2


async def test_a_vault_that_fails_when_new_tokens_come_loses_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await world.gateway()
    session, token = await world.begin(gateway)
    before = await gateway.kept(session)
    renew = gateway.behind.renew

    async def fail(*_: object) -> None:
        raise StoreUnavailable("no")

    monkeypatch.setattr(gateway.behind, "renew", fail)
    world.wait()
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
    assert await gateway.behind.get(session) == before
    assert not await gateway.behind.lease(session.handle, 1), "no other gateway may use the token before"
    monkeypatch.setattr(gateway.behind, "renew", renew)

    async def is_written() -> bool:
        return await gateway.behind.get(session) != before

    await wait_until(is_written)
    world.wait()
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
    assert world.calls() == 2


@pytest.mark.parametrize("what", ["load", "save"])
async def test_a_store_that_fails_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    gateway = await world.gateway()
    _, token = await world.begin(gateway)
    world.wait()

    async def fail(*_: object) -> None:
        raise StoreUnavailable("no")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.store, what, fail)
        answer = await gateway.refresher.refresh(token)
        assert answer.kind == "later"
        assert answer.again > 0
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
    assert world.calls() == 1


async def test_a_vault_that_fails_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await world.gateway()
    _, token = await world.begin(gateway)
    world.wait()

    async def fail(*_: object) -> None:
        raise StoreUnavailable("no")

    for what in ("get", "lease"):
        with monkeypatch.context() as patch:
            patch.setattr(gateway.behind, what, fail)
            assert (await gateway.refresher.refresh(token)).kind == "later"
        world.wait(10)
    assert world.calls() == 0
    assert (await gateway.refresher.refresh(token)).kind == "fresh"


async def test_tokens_that_are_lost_end_nothing(world: World, gateway: Gateway) -> None:
    """As after a file was deleted: the session goes on for as long as what was told last counts."""
    session, token = await world.begin(gateway)
    await gateway.vault.drop(session)
    world.wait()
    answer = await gateway.refresher.refresh(token)
    assert answer.kind == "later"
    assert answer.again >= 30
    assert await gateway.session(token)


async def test_a_provider_that_is_configured_no_more_ends_nothing(world: World) -> None:
    gateway = await world.gateway()
    session, token = await world.begin(gateway)
    world.wait()
    assert session.login
    elsewhere = replace(session, login=replace(session.login, provider="another"))
    token = (await gateway.store.save(elsewhere, token)).token
    answer = await gateway.refresher.refresh(token)
    assert answer.kind == "later"
    assert answer.again >= 30


async def test_what_nobody_foresaw_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await world.gateway()
    _, token = await world.begin(gateway)
    world.wait()

    async def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.login, "refresh", fail)
        assert (await gateway.refresher.refresh(token)).kind == "later"
    world.wait(10)
    with monkeypatch.context() as patch:
        patch.setattr(gateway.behind, "get", fail)
        assert (await gateway.refresher.refresh(token)).kind == "later"
    assert (await gateway.refresher.refresh(token)).kind == "fresh"
