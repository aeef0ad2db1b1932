"""What `make test-compiled` tests is the compiled program; elsewhere these would fail."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import gateway_config, route
from tests.support.upstream import RecorderUpstream
from tools.compile_hot_path import hot_modules

ROOT = Path(__file__).resolve().parents[2]
HOT = ["core.policy", "proxy.exchange", "sessions.recent", "wire.cookies"]


COMPILED = [file.removesuffix(".py").replace("/", ".") for file in hot_modules(ROOT / "gateway")]


def test_all_of_the_data_plane_is_among_them() -> None:
    assert {f"gateway.{name}" for name in HOT} <= set(COMPILED)


@pytest.mark.parametrize("name", COMPILED)
def test_a_module_is_compiled(name: str) -> None:
    assert str(importlib.import_module(name).__file__).endswith(".so")


def test_the_gateways_that_tests_start_are_compiled(start_gateway: StartGateway) -> None:
    """Parent and worker have the extension modules in memory, as far as interpreted ones import them."""
    with RecorderUpstream() as app:
        gateway = start_gateway(gateway_config(route("app", "/", app.url, public=True)))
        maps = [Path(f"/proc/{pid}/maps").read_text(encoding="utf-8") for pid in gateway.pids()]
    assert len(maps) > 1
    assert all("/build/compiled/gateway/proxy/server." in each for each in maps)
