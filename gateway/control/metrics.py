"""The gateway's counts in Prometheus' text format, rendered when they are asked for."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, product

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.core.metrics import LATENCY_BOUNDS, Counters, RunState, is_count
from gateway.core.reasons import CUTS, REFUSALS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("success", "failure", "throttled", "busy", "csrf", "error")
REFRESH_OUTCOMES = ("refreshed", "ended", "failed")
CREDENTIAL_KINDS = ("bearer", "introspection", "basic", "api_key")
CREDENTIAL_OUTCOMES = ("accepted", "refused", "unavailable")
_STORE_HELP = "Of the session store, all processes together."
_BUCKETS = [*(str(bound) for bound in LATENCY_BOUNDS), "+Inf"]


class LoginCounts:
    """Logins by outcome since the start."""

    def __init__(self) -> None:
        self._by_outcome = Counter(dict.fromkeys(OUTCOMES, 0))

    def count(self, outcome: str) -> None:
        """Count one login; ``outcome`` is one of `OUTCOMES`."""
        self._by_outcome[outcome] += 1

    def by_outcome(self) -> dict[str, int]:
        """Return the counts, those that are zero too."""
        return dict(self._by_outcome)


class RefreshCounts:
    """Token calls that were to refresh a login, by provider and outcome, since the start."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, provider: str, outcome: str) -> None:
        """Count one call; ``outcome`` is one of `REFRESH_OUTCOMES`."""
        self._counts.update({(provider, each): int(each == outcome) for each in REFRESH_OUTCOMES})

    def by_provider(self) -> dict[tuple[str, str], int]:
        """Return the counts by provider and outcome, those that are zero too."""
        return dict(self._counts)


class CredentialCounts:
    """Verdicts on what programs sent, by kind and outcome, since the start."""

    def __init__(self) -> None:
        self._counts = Counter(dict.fromkeys(product(CREDENTIAL_KINDS, CREDENTIAL_OUTCOMES), 0))

    def count(self, kind: str, outcome: str) -> None:
        """Count one verdict; both are of `CREDENTIAL_KINDS` and `CREDENTIAL_OUTCOMES`."""
        self._counts[kind, outcome] += 1

    def by_kind(self) -> dict[tuple[str, str], int]:
        """Return the counts by kind and outcome, those that are zero too."""
        return dict(self._counts)


@dataclass(frozen=True, slots=True)
class StoreState:
    """How the session store is at a scrape."""

    works: bool
    stats: Mapping[str, float] = field(default_factory=dict)
    """What it has counted in this process; other processes' counts are in `Counters`."""


class GatewayCollector(Collector):
    """Turns the counts of the data plane, of the logins and of the session store into metrics."""

    store: StoreState | None = None

    def __init__(
        self,
        counters: Callable[[], Counters],
        run: RunState,
        logins: LoginCounts,
        refreshes: RefreshCounts,
        credentials: CredentialCounts,
        version: str,
    ) -> None:
        self._counters = counters
        self._run = run
        self._logins = logins
        self._refreshes = refreshes
        self._credentials = credentials
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        counters = self._counters()
        yield from _of_routes(counters)
        yield _by_reason("gateway_refused", "Requests that the gateway refused.", REFUSALS, counters.refused)
        yield _by_reason("gateway_cut", "Responses, WebSockets and uploads ended under way.", CUTS, counters.cut)
        yield from _of_connections(counters)
        yield from _of_run(self._run)
        if self.store is not None:
            yield from _of_store(self.store, counters.store)
        logins = CounterMetricFamily("gateway_logins", "Logins by outcome.", labels=["outcome"])
        for outcome, count in self._logins.by_outcome().items():
            logins.add_metric([outcome], count)
        yield logins
        yield _of_refreshes(self._refreshes)
        yield _of_credentials(self._credentials)
        build = GaugeMetricFamily("gateway_build_info", "Always 1; the labels tell.", labels=["version", "python"])
        build.add_metric([self._version, platform.python_version()], 1)
        yield build


def _by_reason(name: str, text: str, known: Iterable[str], counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=["reason"])
    for reason in known:
        family.add_metric([reason], counts.get(reason, 0))
    return family


def _of_refreshes(counts: RefreshCounts) -> Metric:
    family = CounterMetricFamily(
        "gateway_token_refreshes", "Calls to refresh a login, by outcome.", labels=["provider", "outcome"]
    )
    for labels, count in counts.by_provider().items():
        family.add_metric(list(labels), count)
    return family


def _of_credentials(counts: CredentialCounts) -> Metric:
    family = CounterMetricFamily(
        "gateway_credentials", "Verdicts on credentials of programs, by outcome.", labels=["kind", "outcome"]
    )
    for labels, count in counts.by_kind().items():
        family.add_metric(list(labels), count)
    return family


def _of_routes(counters: Counters) -> Iterator[Metric]:
    requests = CounterMetricFamily("gateway_requests", "Answered requests.", labels=["route", "status"])
    latency = HistogramMetricFamily(
        "gateway_request_duration_seconds", "From the request's head to the end of its answer.", labels=["route"]
    )
    errors = CounterMetricFamily("gateway_upstream_errors", "Failures of upstreams.", labels=["route", "kind"])
    dropped = CounterMetricFamily("gateway_dropped", "Messages that lost something.", labels=["route", "kind"])
    for name, route in counters.routes.items():
        for status, count in route.by_status.items():
            requests.add_metric([name, str(status)], count)
        latency.add_metric([name], list(zip(_BUCKETS, accumulate(route.latency), strict=True)), route.latency_sum)
        for kind, count in route.upstream_errors.items():
            errors.add_metric([name, kind], count)
        for kind, count in route.dropped.items():
            dropped.add_metric([name, kind], count)
    yield from (requests, latency, errors, dropped)


def _of_connections(counters: Counters) -> Iterator[Metric]:
    yield GaugeMetricFamily("gateway_connections", "Client connections open now.", counters.connections)
    yield CounterMetricFamily("gateway_connections_accepted", "Client connections since the start.", counters.accepted)
    yield GaugeMetricFamily("gateway_tunnels", "WebSockets open now.", counters.tunnels)
    yield CounterMetricFamily(
        "gateway_log_lines_dropped",
        "Log lines lost because their target did not take them.",
        counters.log_lines_dropped,
    )
    yield GaugeMetricFamily(
        "gateway_sessions_in_memory", "Opened sessions held in memory.", counters.sessions_in_memory
    )


def _of_run(run: RunState) -> Iterator[Metric]:
    yield GaugeMetricFamily("gateway_workers", "Data planes that serve now.", run.workers)
    yield CounterMetricFamily(
        "gateway_worker_restarts", "Workers that died by themselves and were replaced.", run.worker_restarts
    )
    yield GaugeMetricFamily(
        "gateway_config_last_reload_successful",
        "Whether the last reading of the configuration succeeded, 1 or 0.",
        int(run.reload_successful),
    )
    yield GaugeMetricFamily(
        "gateway_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was read.",
        run.configured_at,
    )


def _of_store(state: StoreState, of_workers: Mapping[str, float]) -> Iterator[Metric]:
    yield GaugeMetricFamily("gateway_session_store_up", "Whether the session store works, 1 or 0.", int(state.works))
    stats = Counter(state.stats)
    stats.update(of_workers)
    errors = CounterMetricFamily(
        "gateway_session_store_errors", "Failed calls of the session store by kind.", labels=["kind"]
    )
    for name, value in sorted(stats.items()):
        if name.startswith("errors_"):
            errors.add_metric([name.removeprefix("errors_")], value)
        elif name == "up":
            yield GaugeMetricFamily("gateway_session_store_processes_up", "Processes that trust their store.", value)
        elif is_count(name):
            yield CounterMetricFamily(f"gateway_session_store_{name}", _STORE_HELP, value)
        else:
            yield GaugeMetricFamily(f"gateway_session_store_{name}", _STORE_HELP, value)
    yield errors


class MetricsPage:
    """What ``/metrics`` answers with."""

    def __init__(self, collector: GatewayCollector) -> None:
        self._registry = CollectorRegistry()
        self._collector = collector
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)

    def render(self, store: StoreState) -> bytes:
        """Return the metrics in the text format, version 0.0.4."""
        self._collector.store = store
        return generate_latest(self._registry)
