"""The admin listener: health, readiness, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from prometheus_client.parser import text_string_to_metric_families

from gateway.control import admin
from gateway.control.app import AdminParts, make_admin_app
from gateway.control.metrics import CREDENTIAL_KINDS, CredentialCounts, LoginCounts, RefreshCounts
from gateway.core.audit import AuditEvent
from gateway.core.metrics import Counters
from tests.control.test_errors import FailingStore

Client = TestClient[Request, Application]


class Admin:
    """The parts of an admin listener, which tests change."""

    def __init__(self) -> None:
        self.store = FailingStore()
        self.counters = Counters()
        self.logins = LoginCounts()
        self.refreshes = RefreshCounts()
        self.credentials = CredentialCounts()
        self.draining = False
        self.events: list[AuditEvent] = []

    def parts(self) -> AdminParts:
        return AdminParts(
            lambda: self.store,
            lambda: self.counters,
            self.logins,
            lambda: self.draining,
            "1.2.3",
            audit=self.events.append,
            token=lambda: None,
            refreshes=self.refreshes,
            credentials=self.credentials,
        )


@pytest.fixture
def state() -> Admin:
    return Admin()


@pytest.fixture
async def client(state: Admin) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_admin_app(state.parts()))) as found:
        yield found


async def get(client: Client, path: str) -> tuple[int, str]:
    async with client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert "Server" not in response.headers
        return response.status, await response.text()


async def samples(client: Client) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the metrics as Prometheus would read them: value by name and the labels' values, by label."""
    status, text = await get(client, "/metrics")
    assert status == 200
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[_values(sample.labels)] = sample.value
    return found


def _values(labels: dict[str, str]) -> tuple[str, ...]:
    return tuple(labels[name] for name in sorted(labels))


async def test_it_is_healthy_as_long_as_it_answers(client: Client, state: Admin) -> None:
    state.store.works = False
    state.draining = True
    assert await get(client, "/healthz") == (200, "ok\n")


async def test_it_is_ready_unless_it_drains_or_the_store_fails(client: Client, state: Admin) -> None:
    assert await get(client, "/readyz") == (200, "ready\n")
    state.store.works = False
    assert await get(client, "/readyz") == (503, "the session store does not work\n")
    state.store.works = True
    state.draining = True
    assert await get(client, "/readyz") == (503, "draining\n")


async def test_a_store_that_never_answers_makes_it_unready(
    client: Client, state: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(admin, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(state.store, "check", hang)
    assert (await get(client, "/readyz"))[0] == 503


async def test_metrics_tell_what_was_counted(client: Client, state: Admin) -> None:
    wiki = state.counters.route("wiki")
    for status, seconds in ((200, 0.0009), (200, 0.02), (502, 99.0)):
        wiki.record(status, seconds)
    wiki.upstream_error("connect")
    state.counters.connections = 7
    state.counters.accepted = 9
    state.counters.tunnels = 2
    state.counters.log_lines_dropped = 3
    state.counters.sessions_in_memory = 5
    state.logins.count("success")
    for outcome in ("refreshed", "refreshed", "failed"):
        state.refreshes.count("sso", outcome)
    state.credentials.count("api_key", "unavailable")
    found = await samples(client)
    assert found["gateway_requests_total"] == {("wiki", "200"): 2, ("wiki", "502"): 1}
    buckets = found["gateway_request_duration_seconds_bucket"]
    assert (buckets["0.001", "wiki"], buckets["0.025", "wiki"], buckets["30.0", "wiki"]) == (1, 2, 2)
    assert buckets["+Inf", "wiki"] == found["gateway_request_duration_seconds_count"]["wiki",] == 3
    assert found["gateway_request_duration_seconds_sum"]["wiki",] == pytest.approx(99.0209)
    assert found["gateway_upstream_errors_total"] == {("connect", "wiki"): 1}
    assert found["gateway_connections"][()] == 7
    assert found["gateway_connections_accepted_total"][()] == 9
    assert found["gateway_tunnels"][()] == 2
    assert found["gateway_log_lines_dropped_total"][()] == 3
    assert found["gateway_sessions_in_memory"][()] == 5
    assert found["gateway_logins_total"]["success",] == 1
    assert found["gateway_logins_total"]["failure",] == 0
    credentials = found["gateway_credentials_total"]
    assert len(credentials) == 3 * len(CREDENTIAL_KINDS)
    assert {labels: count for labels, count in credentials.items() if count} == {("api_key", "unavailable"): 1}
    refreshes = {labels: count for labels, count in found["gateway_token_refreshes_total"].items() if "sso" in labels}
    assert refreshes == {("ended", "sso"): 0, ("failed", "sso"): 1, ("refreshed", "sso"): 2}
    assert [labels[-1] for labels in found["gateway_build_info"]] == ["1.2.3"]


async def test_metrics_tell_how_the_store_is_and_what_it_has_counted_in_every_process(
    client: Client, state: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await samples(client)
    assert found["gateway_session_store_up"][()] == 1
    assert "gateway_session_store_errors_total" not in found, "it has counted none"
    state.store.works = False
    own = {"errors_timeout": 2.0, "retries_total": 1.0, "known": 4.0, "up": 1.0}
    monkeypatch.setattr(state.store, "stats", lambda: own, raising=False)
    state.counters.store = {"errors_timeout": 3.0, "errors_refused": 1.0, "known": 5.0, "up": 1.0}
    found = await samples(client)
    assert found["gateway_session_store_up"][()] == 0
    assert found["gateway_session_store_errors_total"] == {("timeout",): 5, ("refused",): 1}
    assert found["gateway_session_store_retries_total"][()] == 1
    assert found["gateway_session_store_known"][()] == 9
    assert found["gateway_session_store_processes_up"][()] == 2


def test_of_a_process_that_ended_the_counts_stay_and_what_it_held_goes() -> None:
    total, ended = Counters(), Counters()
    ended.store = {"errors_timeout": 3.0, "retries_total": 2.0, "known": 5.0}
    total.add(ended)
    total.add(ended, ended=True)
    assert total.store == {"errors_timeout": 6.0, "retries_total": 4.0, "known": 5.0}


async def test_counts_are_brought_up_to_date_before_they_are_told(state: Admin) -> None:
    async def gather() -> None:
        state.counters.accepted += 5

    parts = replace(state.parts(), gather=gather)
    async with TestClient(TestServer(make_admin_app(parts))) as client:
        assert (await samples(client))["gateway_connections_accepted_total"][()] == 5
        assert (await samples(client))["gateway_connections_accepted_total"][()] == 10


async def test_metrics_follow_what_happens_between_two_scrapes(client: Client, state: Admin) -> None:
    state.counters.route("a").record(200, 0.1)
    assert (await samples(client))["gateway_requests_total"] == {("a", "200"): 1}
    state.counters.route("a").record(200, 0.1)
    assert (await samples(client))["gateway_requests_total"] == {("a", "200"): 2}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_nothing_but_reading_is_served(client: Client, path: str) -> None:
    send: tuple[Callable[..., Awaitable[object]], ...] = (client.post, client.put, client.delete)
    for method in send:
        response = await method(path)
        assert getattr(response, "status", 0) == 405


async def test_the_login_pages_are_not_served_there(client: Client) -> None:
    assert (await get(client, "/_gateway/login"))[0] == 404
