"""What the data plane counts, as plain numbers that the control plane renders at a scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

LATENCY_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram, seconds."""


@dataclass(slots=True)
class RouteCounters:
    """Counts of one route since the start."""

    by_status: dict[int, int] = field(default_factory=dict)
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))
    latency_sum: float = 0.0
    upstream_errors: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    """What messages lost, by kind: see `core.reasons.DROPS`."""

    def record(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.latency[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.latency_sum += seconds

    def add(self, other: RouteCounters) -> None:
        """Add what another data plane has counted."""
        for status, count in other.by_status.items():
            self.by_status[status] = self.by_status.get(status, 0) + count
        self.latency = [mine + its for mine, its in zip(self.latency, other.latency, strict=True)]
        self.latency_sum += other.latency_sum
        add_counts(self.upstream_errors, other.upstream_errors)
        add_counts(self.dropped, other.dropped)

    def upstream_error(self, kind: str) -> None:
        """Count one failure of an upstream by its kind."""
        self.upstream_errors[kind] = self.upstream_errors.get(kind, 0) + 1

    def drop(self, kind: str) -> None:
        """Count one message that lost something by its kind."""
        self.dropped[kind] = self.dropped.get(kind, 0) + 1


def add_counts(counts: dict[str, int], others: Mapping[str, int]) -> None:
    """Add counts by name to others."""
    for name, count in others.items():
        counts[name] = counts.get(name, 0) + count


def is_count(name: str) -> bool:
    """Tell whether a number of the session store only grows; the others are what there is now."""
    return name.startswith("errors_") or name.endswith("_total")


@dataclass(slots=True)
class RunState:
    """How the gateway as a whole runs."""

    workers: int = 0
    """Data planes that serve now."""
    worker_restarts: int = 0
    """Workers that died by themselves and were replaced."""
    reload_successful: bool = True
    """Whether the last reading of the configuration succeeded."""
    configured_at: float = 0.0
    """When the configuration in force was read, seconds since the epoch."""


@dataclass(slots=True)
class Counters:
    """Counts of one data plane since its start."""

    routes: dict[str, RouteCounters] = field(default_factory=dict)
    connections: int = 0
    """Client connections open now."""
    accepted: int = 0
    tunnels: int = 0
    """WebSockets open now."""
    log_lines_dropped: int = 0
    sessions_in_memory: int = 0
    store: dict[str, float] = field(default_factory=dict)
    """What the session store has counted, by name: see `sessions.store.stats_of`."""
    refused: dict[str, int] = field(default_factory=dict)
    """Refusals by their codes: see `core.reasons.REFUSALS`."""
    cut: dict[str, int] = field(default_factory=dict)
    """What was ended while it was under way, by code: see `core.reasons.CUTS`."""

    def refuse(self, reason: str) -> None:
        """Count one refusal."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def cut_short(self, reason: str) -> None:
        """Count one response, WebSocket or upload that was ended."""
        self.cut[reason] = self.cut.get(reason, 0) + 1

    def add(self, other: Counters, *, ended: bool = False) -> None:
        """Add what another data plane has counted; of one that has ended only what it did, not what it held."""
        for name, route in other.routes.items():
            self.route(name).add(route)
        add_counts(self.refused, other.refused)
        add_counts(self.cut, other.cut)
        self.accepted += other.accepted
        self.log_lines_dropped += other.log_lines_dropped
        for kind, value in other.store.items():
            if not ended or is_count(kind):
                self.store[kind] = self.store.get(kind, 0) + value
        if not ended:
            self.connections += other.connections
            self.tunnels += other.tunnels
            self.sessions_in_memory += other.sessions_in_memory

    def route(self, name: str) -> RouteCounters:
        """Return the counters of a route, made at first use."""
        return self.routes.setdefault(name, RouteCounters())
