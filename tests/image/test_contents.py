"""What is in the image, and what is not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gateway
from tests.support.container import Container

ROOT = Path(__file__).resolve().parents[2]
USER = 10001


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[Container]:
    with Container(image) as container:
        yield container


def test_it_runs_the_gateway_as_a_user_without_rights(config: dict[str, Any], container: Container) -> None:
    assert config["User"] == f"{USER}:{USER}"
    assert [*config["Entrypoint"], *config["Cmd"]] == ["gateway", "run"]
    assert config["Healthcheck"]["Test"] == ["CMD", "gateway", "health"]
    assert container.run("id", "-u").stdout == f"{USER}\n"
    assert container.run("touch", "/new").returncode != 0


def test_its_labels_say_what_it_is(config: dict[str, Any]) -> None:
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items() if "opencontainers" in name}
    assert labels["title"] == "session-gateway"
    assert labels["version"] == gateway.__version__
    assert labels["revision"] == os.environ["GATEWAY_REVISION"]


def test_the_data_plane_is_compiled(container: Container) -> None:
    said = container.run("python3", "-c", "import gateway.proxy.plane as plane, gateway; print(plane.__file__)")
    assert said.stdout.endswith(".so\n"), said


def test_there_is_one_copy_of_the_program(container: Container) -> None:
    found = [path for path in container.root.rglob("gateway/proxy/plane.py") if path.is_file()]
    assert len(found) == 1


def test_there_is_no_compiler_no_cache_and_no_test(container: Container) -> None:
    programs = container.run("sh", "-c", "command -v gcc cc c++ clang make")
    assert programs.stdout == ""
    for gone in ("build", "opt/tools", "var/cache/pip", "etc/pip.conf"):
        path = container.root / gone
        assert not path.exists() or path.stat().st_size == 0 or not any(path.iterdir()), gone
    kept = {path.name for path in (container.root / "opt/gateway").rglob("*")}
    assert kept & {"pytest", "mypy", "mypyc", "hatchling", "setuptools", "pip", "tests", "bench"} == set()


def test_the_versions_are_those_of_the_lock(container: Container) -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))
    program = "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()))"
    installed = dict(line.lower().split("==") for line in container.run("python3", "-c", program).stdout.split())
    assert installed.pop("session-gateway") == gateway.__version__
    assert {name.replace("_", "-"): version for name, version in installed.items()}.items() <= locked.items()
    assert {"aiohttp", "cryptography", "uvloop"} <= set(installed)
