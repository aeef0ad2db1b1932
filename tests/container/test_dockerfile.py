"""What the Dockerfile must keep to. What comes of it is looked at by tests/image."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).resolve().parents[2]
Step = tuple[str, str]
EXEC = ("ENTRYPOINT", "CMD", "HEALTHCHECK")


def steps() -> list[Step]:
    """Return instructions and their arguments, in order, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def stages() -> Iterator[list[Step]]:
    """Yield the steps of each stage, FROM first."""
    stage: list[Step] = []
    for step in steps():
        if step[0] == "FROM":
            stage = [step]
            yield stage
        else:
            stage.append(step)


def result() -> list[Step]:
    """Return the steps of the last stage, which is what runs."""
    return list(stages())[-1]


def arguments(word: str) -> list[str]:
    """Return the arguments of each such instruction of the last stage."""
    return [rest for name, rest in result() if name == word]


def test_every_stage_stands_on_the_base_that_an_argument_names() -> None:
    assert ("ARG", "BASE=python:3.13-slim") in steps()
    assert [rest.split()[0] for word, rest in steps() if word == "FROM"] == ["${BASE}"] * 2


def test_it_runs_as_a_user_without_rights_given_as_a_number() -> None:
    """A number, so that an orchestrator can see that it is not root."""
    assert arguments("USER") == ["10001:10001"]


@pytest.mark.parametrize("word", EXEC)
def test_programs_are_started_without_a_shell(word: str) -> None:
    """A shell as process 1 would keep SIGTERM from the gateway."""
    (rest,) = arguments(word)
    command = json.loads(rest[rest.index("[") :])
    assert all(isinstance(part, str) for part in command)
    assert word == "CMD" or command[0] == "gateway"


def test_its_health_is_asked_by_the_command_for_that() -> None:
    (rest,) = arguments("HEALTHCHECK")
    assert rest.endswith('CMD ["gateway", "health"]')
    assert {"--interval", "--timeout", "--start-period", "--retries"} == set(re.findall(r"--[a-z-]+", rest))


def test_the_result_is_copied_and_neither_compiled_nor_installed_there() -> None:
    assert not [rest for rest in arguments("RUN") if re.search(r"\b(apt|apt-get|pip|gcc|curl|wget)\b", rest)]
    assert arguments("COPY") == ["--from=build /opt/gateway /opt/gateway"]
    assert not arguments("ADD")


def test_its_state_is_a_volume_that_its_user_can_write() -> None:
    (volume,) = arguments("VOLUME")
    assert f"install -d -o 10001 -g 10001 -m 0700 {volume}" in arguments("RUN")
    assert result().index(("VOLUME", volume)) > result().index(("RUN", arguments("RUN")[-1]))


def test_its_labels_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', " ".join(arguments("LABEL"))))
    assert labels["title"] == project["name"]
    assert labels["description"] == project["description"]
    assert labels["version"] == "${VERSION}"
    assert f"VERSION={gateway.__version__}" in arguments("ARG")


def test_every_version_comes_from_the_lock() -> None:
    installs = [part for _, rest in steps() for part in rest.split("&&") if re.search(r"\bpip\b.* install ", part)]
    assert len(installs) == 3
    assert not [part for part in installs if "--constraint requirements.lock" not in part and "--no-index" not in part]


def test_the_engine_gets_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copies = [rest.split()[:-1] for word, rest in steps() if word == "COPY" and "--from" not in rest]
    assert "*" in lines
    assert let_through == {name for names in copies for name in names}
    assert [name for name in let_through if not (ROOT / name).exists()] == []


def test_no_registry_is_named() -> None:
    """Whose registry it is, and what is the newest there, is for who builds."""
    named = re.findall(r"^ARG BASE=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    named += re.findall(r"^\s+image: (\S+)", (ROOT / "compose.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.partition(":")[0] for name in named} == {"python", "redis", "session-gateway"}
    assert [name for name in named if "/" in name or name.endswith(":latest")] == []
