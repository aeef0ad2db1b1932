"""The dependencies have no known hole: floors that clear every advisory, held in the lock and here."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]

FLOORS = {
    "aiohttp": "3.14.5",  # request smuggling and chunk parsing up to 3.14.3, pinned to what was measured
    "aiohttp-session": "2.12.1",  # sessions that outlive their end before 2.7
    "authlib": "1.7.2",
    "cryptography": "50.0.2",
    "joserfc": "1.6.8",
    "pyjwt": "2.14",
    "redis": "4.5.4",  # answers of cancelled commands given to the next one
    "uvloop": "0.23.0",  # uvloop#645: a cancelled connect left a socket on a descriptor that was used again
}
"""Oldest acceptable version by package, whether we depend on it or something else brings it along."""
COME_WITH = {"pydantic-core": "pydantic"}
"""Distributions that another one pins to the very version it needs."""
REQUIRED = ("aiohttp", "aiohttp-session", "cryptography", "joserfc", "uvloop")


def installed(package: str) -> Version | None:
    try:
        return Version(version(package))
    except PackageNotFoundError:
        return None


def project_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def asked_for() -> set[str]:
    """What the gateway needs to run."""
    return {canonicalize_name(Requirement(line).name) for line in project_table()["dependencies"]}


@cache
def project() -> dict[str, Requirement]:
    """What pyproject.toml asks for, of all extras."""
    table = project_table()
    lines = list(table["dependencies"]) + [line for extra in table["optional-dependencies"].values() for line in extra]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


@cache
def locked() -> dict[str, Version]:
    """What requirements.lock pins."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): Version(pin) for name, pin in pins}


def third_party(folder: str) -> set[str]:
    """Return the top-level packages that the Python files of a folder import from outside."""
    found: set[str] = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    ours = {"gateway", "gateway_verify", "tests", "bench", "tools"}
    return found - set(sys.stdlib_module_names) - ours - {"_pytest", "_typeshed"}


def distributions(packages: set[str]) -> set[str]:
    by_package = packages_distributions()
    names = {canonicalize_name(by_package.get(package, [package])[0]) for package in packages}
    return {canonicalize_name(COME_WITH.get(name, name)) for name in names}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_no_installed_version_is_below_its_floor(package: str, floor: str) -> None:
    found = installed(package)
    assert found is None or found >= Version(floor)


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_no_locked_version_is_below_its_floor(package: str, floor: str) -> None:
    assert package not in locked() or locked()[package] >= Version(floor)


@pytest.mark.parametrize("package", REQUIRED)
def test_the_project_itself_refuses_a_version_below_the_floor(package: str) -> None:
    floor = Version(FLOORS[package])
    requirement = project()[package]
    below = Version(f"{floor.major}.{floor.minor - 1 if floor.minor else 0}.0.dev0")
    assert requirement.specifier.contains(floor)
    assert not requirement.specifier.contains(below, prereleases=True)


@pytest.mark.parametrize("package", REQUIRED)
def test_what_the_gateway_stands_on_is_installed(package: str) -> None:
    assert installed(package) is not None


def test_what_the_gateway_imports_is_asked_for_by_itself() -> None:
    """Not just brought along by something else, which may stop doing so."""
    assert distributions(third_party("gateway")) - asked_for() == set()


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_what_tests_and_benchmark_import_is_asked_for(folder: str) -> None:
    assert distributions(third_party(folder)) - set(project()) - apps_of(folder) == set()


def apps_of(folder: str) -> set[str]:
    """Return the packages of the real apps that a folder's tests start; they have a lock of their own."""
    file = ROOT / folder / "apps/requirements.in"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}


def test_the_lock_pins_everything_the_project_asks_for() -> None:
    assert set(project()) - set(locked()) == set()


def test_the_lock_satisfies_what_the_project_asks_for() -> None:
    wrong = {name: str(locked()[name]) for name, asked in project().items() if locked()[name] not in asked.specifier}
    assert wrong == {}


@pytest.mark.parametrize("lock", ["requirements.lock", "tests/apps/requirements.lock"])
def test_every_line_of_the_lock_is_a_pin_or_a_comment(lock: str) -> None:
    """Options would say where packages come from, which is for the machine to decide."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    pin = re.compile(r"[a-z0-9._-]+==[^\s;#]+(\s*;[^#]*)?(\s+#.*)?")
    assert [
        line for line in lines if line.strip() and not line.lstrip().startswith("#") and not pin.fullmatch(line)
    ] == []
