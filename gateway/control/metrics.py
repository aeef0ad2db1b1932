"""The gateway's counts in Prometheus' text format, rendered when they are asked for."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.core.metrics import LATENCY_BOUNDS, Counters

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("success", "failure", "throttled", "busy", "csrf", "error")
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


class GatewayCollector(Collector):
    """Turns the counts of the data plane and of the logins into metrics."""

    def __init__(self, counters: Callable[[], Counters], logins: LoginCounts, version: str) -> None:
        self._counters = counters
        self._logins = logins
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        counters = self._counters()
        yield from _of_routes(counters)
        yield from _of_connections(counters)
        logins = CounterMetricFamily("gateway_logins", "Logins by outcome.", labels=["outcome"])
        for outcome, count in self._logins.by_outcome().items():
            logins.add_metric([outcome], count)
        yield logins
        build = GaugeMetricFamily("gateway_build_info", "Always 1; the labels tell.", labels=["version", "python"])
        build.add_metric([self._version, platform.python_version()], 1)
        yield build


def _of_routes(counters: Counters) -> Iterator[Metric]:
    requests = CounterMetricFamily("gateway_requests", "Answered requests.", labels=["route", "status"])
    latency = HistogramMetricFamily(
        "gateway_request_duration_seconds", "From the request's head to the end of its answer.", labels=["route"]
    )
    errors = CounterMetricFamily("gateway_upstream_errors", "Failures of upstreams.", labels=["route", "kind"])
    for name, route in counters.routes.items():
        for status, count in route.by_status.items():
            requests.add_metric([name, str(status)], count)
        latency.add_metric([name], list(zip(_BUCKETS, accumulate(route.latency), strict=True)), route.latency_sum)
        for kind, count in route.upstream_errors.items():
            errors.add_metric([name, kind], count)
    yield from (requests, latency, errors)


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


class MetricsPage:
    """What ``/metrics`` answers with."""

    def __init__(self, counters: Callable[[], Counters], logins: LoginCounts, version: str) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(GatewayCollector(counters, logins, version))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return the metrics in the text format, version 0.0.4."""
        return generate_latest(self._registry)
