"""The admin API: what it tells and what it ends."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.control import admin_api
from gateway.errors import StoreUnavailable
from tests.control.admin_listener import SESSIONS, Admin

# --- what it does -------------------------------------------------------------------------------------


async def test_it_lists_the_sessions_of_a_user_newest_first(admin: Admin) -> None:
    first, token = await admin.begin("alice", "Firefox on Windows")
    await admin.begin("bob")
    admin.clock.move(10)
    second, _ = await admin.begin("alice")
    status, found = await admin.call("GET", f"{SESSIONS}?user=alice")
    assert status == 200
    assert (found["user"], found["listable"]) == ("alice", True)
    assert [entry["handle"] for entry in found["sessions"]] == [second.handle, first.handle]
    assert found["sessions"][1] == {
        "handle": first.handle,
        "user": "alice",
        "created": "2027-01-15T08:00:00Z",
        "last_seen": "2027-01-15T08:00:00Z",
        "expires": "2027-01-15T20:00:00Z",
        "remembered": False,
        "address": "192.0.2.7",
        "device": "Firefox on Windows",
    }
    assert token not in json.dumps(found)
    assert first.id.hex() not in json.dumps(found)
    assert await admin.call("GET", f"{SESSIONS}?user=nobody") == (
        200,
        {"user": "nobody", "listable": True, "sessions": []},
    )


async def test_it_ends_one_session_of_a_user(admin: Admin) -> None:
    (session, token), (_, other) = await admin.begin("alice"), await admin.begin("alice")
    path = f"{SESSIONS}/{session.handle}?user=alice"
    assert await admin.call("DELETE", path, {"User-Agent": "tool/1"}) == (200, {"ended": 1})
    assert await admin.is_over(token)
    assert not await admin.is_over(other)
    (event,) = admin.events
    assert (event.kind, event.user, event.session, event.by) == ("session_ended", "alice", session.handle, "admin API")
    assert (event.client, event.user_agent, event.time) == ("127.0.0.1", "tool/1", admin.clock())
    assert (await admin.call("DELETE", path))[0] == 404, "it is over"


async def test_a_session_is_ended_under_its_users_name_only(admin: Admin) -> None:
    session, token = await admin.begin("alice")
    for handle, user in ((session.handle, "bob"), ("0" * 32, "alice"), (session.handle[:-1], "alice"), ("*", "alice")):
        assert (await admin.call("DELETE", f"{SESSIONS}/{handle}?user={user}"))[0] == 404
    assert not await admin.is_over(token)
    assert admin.events == []


async def test_it_ends_all_sessions_of_a_user(admin: Admin) -> None:
    tokens = [(await admin.begin("alice"))[1] for _ in range(3)]
    _, other = await admin.begin("bob")
    assert await admin.call("DELETE", f"{SESSIONS}?user=alice") == (200, {"ended": 3})
    assert all([await admin.is_over(token) for token in tokens])
    assert not await admin.is_over(other)
    assert [(event.kind, event.user, event.ended) for event in admin.events] == [("sessions_ended", "alice", 3)]
    assert await admin.call("DELETE", f"{SESSIONS}?user=alice") == (200, {"ended": 0})


async def test_it_ends_the_sessions_of_everybody(admin: Admin) -> None:
    tokens = [(await admin.begin(user))[1] for user in ("alice", "bob")]
    assert await admin.call("DELETE", f"{SESSIONS}?everybody=true") == (200, {"ended": None})
    assert all([await admin.is_over(token) for token in tokens])
    (event,) = admin.events
    assert (event.kind, event.user, event.by, event.reason) == ("sessions_ended", "", "admin API", "everybody")


async def test_sessions_in_cookies_are_ended_by_user_or_all_and_not_listed(of_cookies: Admin) -> None:
    session, token = await of_cookies.begin("alice")
    _, other = await of_cookies.begin("bob")
    assert await of_cookies.call("GET", f"{SESSIONS}?user=alice") == (
        200,
        {"user": "alice", "listable": False, "sessions": []},
    )
    status, found = await of_cookies.call("DELETE", f"{SESSIONS}/{session.handle}?user=alice")
    assert status == 409
    assert "end all of the user" in found["detail"]
    assert await of_cookies.call("DELETE", f"{SESSIONS}?user=alice") == (200, {"ended": None})
    assert await of_cookies.is_over(token)
    assert not await of_cookies.is_over(other)
    assert await of_cookies.call("DELETE", f"{SESSIONS}?everybody=true") == (200, {"ended": None})
    assert await of_cookies.is_over(other)


async def test_names_of_every_kind_are_taken(admin: Admin) -> None:
    for user, written in (("a b&c=d/é", "a%20b%26c%3Dd%2F%C3%A9"), ("carol@example.com", "carol%40example.com")):
        session, token = await admin.begin(user)
        status, found = await admin.call("GET", f"{SESSIONS}?user={written}")
        assert (status, [entry["handle"] for entry in found["sessions"]]) == (200, [session.handle])
        assert await admin.call("DELETE", f"{SESSIONS}?user={written}") == (200, {"ended": 1})
        assert await admin.is_over(token)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", SESSIONS, 400),
        ("GET", f"{SESSIONS}?user=", 400),
        ("GET", f"{SESSIONS}?user=a&user=b", 400),
        ("GET", f"{SESSIONS}?user=a&limit=1", 400),
        ("GET", f"{SESSIONS}?user=a%00b", 400),
        ("GET", f"{SESSIONS}?user={'a' * 257}", 400),
        ("DELETE", SESSIONS, 400),
        ("DELETE", f"{SESSIONS}?everybody=false", 400),
        ("DELETE", f"{SESSIONS}?everybody", 400),
        ("DELETE", f"{SESSIONS}?everybody=true&user=alice", 400),
        ("DELETE", f"{SESSIONS}?everybody=true&everybody=true", 400),
        ("DELETE", f"{SESSIONS}/{'0' * 32}", 400),
        ("DELETE", f"{SESSIONS}/", 404),
        ("POST", f"{SESSIONS}?user=alice", 405),
        ("GET", f"{SESSIONS}/{'0' * 32}?user=alice", 405),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/", 404),
    ],
)
async def test_what_is_not_asked_exactly_is_refused_and_ends_nothing(
    admin: Admin, method: str, path: str, status: int
) -> None:
    _, token = await admin.begin("alice")
    found, problem = await admin.call(method, path)
    assert (found, problem["status"]) == (status, status)
    assert problem["detail"]
    assert not await admin.is_over(token)
    assert admin.events == []


# --- with a store that does not work ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("GET", "?user=alice", "list"),
        ("DELETE", "?user=alice", "revoke_user"),
        ("DELETE", "?everybody=true", "revoke_all"),
        ("DELETE", "/{handle}?user=alice", "revoke"),
    ],
)
@pytest.mark.parametrize("hangs", [False, True], ids=["fails", "hangs"])
async def test_a_store_that_does_not_work_is_503_and_in_no_log_as_done(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, method: str, path: str, call: str, *, hangs: bool
) -> None:
    session, _ = await admin.begin("alice")

    async def broken(*_: object) -> None:
        if hangs:
            await asyncio.Event().wait()
        raise StoreUnavailable("connection to 10.9.8.7 refused")

    monkeypatch.setattr(admin_api, "STORE_SECONDS", 0.05 if hangs else 20.0)
    monkeypatch.setattr(admin.store, call, broken)
    status, problem = await admin.call(method, SESSIONS + path.format(handle=session.handle))
    assert status == 503
    assert admin.headers["Retry-After"] == "5"
    assert "10.9.8.7" not in problem["detail"]
    assert admin.events == []


async def test_while_the_gateway_starts_it_is_503(admin: Admin) -> None:
    admin.starting = True
    assert (await admin.call("GET", f"{SESSIONS}?user=alice"))[0] == 503
    async with admin.client.get("/readyz") as response:
        assert response.status == 503
    async with admin.client.get("/metrics") as response:
        assert "gateway_session_store_up 0.0" in await response.text()
