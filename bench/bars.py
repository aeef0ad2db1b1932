"""The bars that the figures are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import forward_auth, logged_in
from bench.cases import COLD_SESSIONS, MANY_SESSIONS, ONE_SESSION
from bench.rows import IdleRow, Row, ratio


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise: a figure, and the least or greatest it may be."""

    text: str
    figure: Callable[[list[Row], list[IdleRow]], float | None]
    at_most: float | None = None
    at_least: float | None = None

    def holds(self, value: float) -> bool:
        """Tell whether a measured value keeps the promise."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def bound(self) -> str:
        """Return the promise in figures."""
        if self.at_most is not None and self.at_least is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"


def _cpu(case: str, variant: str, baseline: str) -> Callable[[list[Row], list[IdleRow]], float | None]:
    def figure(rows: list[Row], _: list[IdleRow]) -> float | None:
        found = ratio(rows, case, variant, baseline, lambda row: row.cpu_us)
        return found.median if found else None

    return figure


def _throughput(case: str) -> Callable[[list[Row], list[IdleRow]], float | None]:
    def figure(rows: list[Row], _: list[IdleRow]) -> float | None:
        found = ratio(rows, case, "ours", "nginx", lambda row: row.mib_per_second)
        return found.median if found else None

    return figure


def _idle_kib(_: list[Row], idle_rows: list[IdleRow]) -> float | None:
    return next((row.bytes_each / 1024 for row in idle_rows if row.variant == "ours"), None)


BARS = (
    Bar("small answer, CPU, ours / nginx", _cpu("proxying", "ours", "nginx"), at_most=2.0),
    Bar("small answer, CPU, ours / Caddy", _cpu("proxying", "ours", "caddy"), at_most=0.4),
    Bar("cold / warm session, CPU", _cpu("sessions", COLD_SESSIONS, MANY_SESSIONS), at_most=1.5),
    Bar("many sessions / 1, CPU", _cpu("sessions", MANY_SESSIONS, ONE_SESSION), at_most=1.1, at_least=0.9),
    Bar(
        "Redis / cookie, warm session, CPU",
        _cpu(logged_in.OIDC, logged_in.OURS_REDIS, logged_in.OURS_COOKIE),
        at_most=1.1,
    ),
    Bar("Redis, cold / warm session, CPU", _cpu("stores", "redis, cold", "redis, warm"), at_most=6.0),
    Bar(
        "ours / mod_auth_openidc, session in the cookie, CPU",
        _cpu(logged_in.OIDC, logged_in.OURS_COOKIE, logged_in.APACHE_COOKIE),
        at_most=0.25,
    ),
    Bar(
        "ours / mod_auth_openidc, session in Redis, CPU",
        _cpu(logged_in.OIDC, logged_in.OURS_REDIS, logged_in.APACHE_REDIS),
        at_most=0.12,
    ),
    Bar(
        "bearer token, warm / cookie session, CPU",
        _cpu(logged_in.PROGRAMS, logged_in.BEARER, logged_in.COOKIE),
        at_most=1.2,
    ),
    Bar(
        "signed identity / cookie session, CPU",
        _cpu(logged_in.PROGRAMS, logged_in.SIGNED, logged_in.COOKIE),
        at_most=1.1,
    ),
    Bar("1 000 routes / 10, CPU", _cpu("routes", "1000 routes", "10 routes"), at_most=1.1, at_least=0.9),
    Bar("answers of 1 MiB, throughput, ours / nginx", _throughput("answer 1m"), at_least=0.9),
    Bar("answers of 100 MiB, throughput, ours / nginx", _throughput("answer 100m"), at_least=0.9),
    Bar("uploads of 1 MiB, throughput, ours / nginx", _throughput("upload 1m"), at_least=0.9),
    Bar("uploads of 10 MiB, throughput, ours / nginx", _throughput("upload 10m"), at_least=0.9),
    Bar("an idle connection, KiB", _idle_kib, at_most=8.0),
    Bar(
        "forward auth, nginx and ours together / nginx, CPU",
        _cpu(forward_auth.FORWARD_AUTH, forward_auth.ASKS_OURS, forward_auth.BARE),
        at_most=3.5,
    ),
    Bar(
        "ours asked directly / ours proxying, CPU",
        _cpu(forward_auth.VERIFY, forward_auth.ASKED, forward_auth.PROXIED),
        at_most=1.0,
    ),
)
