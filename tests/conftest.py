"""Fixtures that every test may use: gateways as processes, and upstreams that record."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.gateway import Config, GatewayProcess
from tests.support.upstream import RecorderUpstream

pytest_plugins = ["tests.support.redis_fixtures"]

StartGateway = Callable[..., GatewayProcess]

# How long an example takes says something of the machine only.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Let SIGTERM end the tests as Ctrl-C does, so that the programs they started are stopped too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Start gateways on given configurations; each must end cleanly after the test."""
    started: list[GatewayProcess] = []

    def start(config: Config, **options: Any) -> GatewayProcess:
        gateway = GatewayProcess(tmp_path / f"gateway-{len(started)}", config, **options)
        started.append(gateway)
        gateway.start()
        return gateway

    yield start
    running = [gateway for gateway in started if gateway.is_alive()]
    try:
        for gateway in running:
            gateway.stop()
    finally:
        for gateway in running:
            gateway.kill()


@pytest.fixture
def recorder() -> Iterator[RecorderUpstream]:
    """Run a well-behaved upstream; what the gateway sends it must be HTTP/1.1 to the letter."""
    with RecorderUpstream() as upstream:
        yield upstream
        assert not upstream.violations, upstream.violations
