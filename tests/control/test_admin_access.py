"""Whom the admin API lets in, and whom it refuses."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import Request

from gateway.control.admin_access import refusal
from tests.control.admin_listener import SESSIONS, Admin

TOKEN = "x0Rk2-nB7qLw.4vT_9aZ"


async def test_with_a_token_everybody_needs_it_and_nothing_else(admin: Admin) -> None:
    admin.token = TOKEN
    path = f"{SESSIONS}?user=alice"
    through_a_proxy = {"X-Forwarded-For": "192.0.2.1", "Host": "admin.example.com"}
    for scheme in ("Bearer", "bearer"):
        assert (await admin.call("GET", path, {"Authorization": f"{scheme} {TOKEN}", **through_a_proxy}))[0] == 200
    assert (await admin.call("GET", path))[0] == 401
    assert admin.headers[hdrs.WWW_AUTHENTICATE] == 'Bearer realm="gateway admin"'
    for wrong in (
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer é",
        f"Bearer{TOKEN}",
    ):
        status, problem = await admin.call("GET", path, {"Authorization": wrong})
        assert status == 401, wrong
        assert admin.headers[hdrs.WWW_AUTHENTICATE] == 'Bearer realm="gateway admin", error="invalid_token"'
        assert TOKEN not in json.dumps(problem)
    assert {event.kind for event in admin.events} == {"admin_refused"}
    assert TOKEN not in repr(admin.events)


async def test_a_refused_call_ends_nothing_and_is_in_the_audit_log(admin: Admin) -> None:
    session, token = await admin.begin("alice")
    admin.token = TOKEN
    for path in (f"{SESSIONS}?everybody=true", f"{SESSIONS}?user=alice", f"{SESSIONS}/{session.handle}?user=alice"):
        assert (await admin.call("DELETE", path, {"Authorization": "Bearer wrong"}))[0] == 401
    assert not await admin.is_over(token)
    assert [(event.kind, event.client, event.reason) for event in admin.events] == [
        ("admin_refused", "127.0.0.1", "not the token")
    ] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"x-forwarded-host": "localhost"},
        {"X-Forwarded-Anything": ""},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"X-Real-IP": "127.0.0.1"},
        {"Origin": "http://localhost:9090"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:9090"},
        {"Host": "localhost.evil.example"},
        {"Host": "192.0.2.1:9090"},
        {"Host": "0.0.0.0:9090"},
        {"Host": ""},
    ],
    ids=str,
)
async def test_without_a_token_what_others_may_have_caused_is_refused(admin: Admin, headers: dict[str, str]) -> None:
    _, token = await admin.begin("alice")
    for method, query in (("GET", "user=alice"), ("DELETE", "user=alice"), ("DELETE", "everybody=true")):
        status, problem = await admin.call(method, f"{SESSIONS}?{query}", headers)
        assert status == 403
        assert "admin_token" in problem["detail"]
    assert not await admin.is_over(token)
    assert [event.kind for event in admin.events] == ["admin_refused"] * 3


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9090", "127.0.0.1", "127.0.0.1:1", "[::1]:9090", "127.9.9.9"])
async def test_without_a_token_programs_of_this_machine_are_let_in(admin: Admin, host: str) -> None:
    assert (await admin.call("GET", f"{SESSIONS}?user=alice", {"Host": host}))[0] == 200


async def test_health_and_metrics_are_for_everybody_who_reaches_the_listener(admin: Admin) -> None:
    admin.token = TOKEN
    for path in ("/healthz", "/readyz", "/metrics"):
        async with admin.client.get(path, headers={"Host": "x.example", "X-Forwarded-For": "192.0.2.1"}) as response:
            assert response.status == 200


class Peer(asyncio.Transport):
    """A transport whose other end is where a test says; only asked, never used."""

    def __init__(self, address: str | None, family: socket.AddressFamily = socket.AF_INET6) -> None:
        super().__init__()
        self._sock = socket.socket(family)
        self._sock.close()
        self._address = address

    def get_extra_info(self, name: str, default: object = None) -> object:
        known = {"peername": (self._address, 50000) if self._address else None, "socket": _Family(self._sock)}
        return known.get(name, default)


class _Family:
    def __init__(self, sock: socket.socket) -> None:
        self.family = sock.family


def asked_from(peer: Peer, host: str = "127.0.0.1") -> Request:
    return make_mocked_request("GET", SESSIONS, headers={"Host": host}, transport=peer)


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "0.0.0.0", "fe80::1", None]
)
def test_without_a_token_only_this_machine_is_let_in(address: str | None) -> None:
    refused = refusal(asked_from(Peer(address)), None)
    assert refused
    assert (refused.status, refused.reason.partition(";")[0]) == (403, "not from this machine")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_without_a_token_loopback_is_let_in(address: str) -> None:
    assert refusal(asked_from(Peer(address)), None) is None


def test_a_unix_socket_is_of_this_machine_whatever_host_is_named() -> None:
    peer = Peer(None, socket.AF_UNIX)
    assert refusal(asked_from(peer, "anything"), None) is None
    request = make_mocked_request(
        "GET", SESSIONS, headers={"Host": "x", "X-Forwarded-For": "192.0.2.1"}, transport=peer
    )
    assert refusal(request, None), "but a proxy in front of it is not"
