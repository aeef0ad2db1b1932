"""compose.yaml keeps to its schema and to what it promises, and the gateway takes the configuration it would get."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import Settings, check_files, load_settings

ROOT = Path(__file__).resolve().parents[2]
SECRETS = "./config/compose/secrets/"
CONFIG = ROOT / "config/compose/gateway/gateway.yaml"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return found


def services() -> Mapping[str, dict[str, Any]]:
    found: Mapping[str, dict[str, Any]] = compose()["services"]
    return found


def mounts(service: str) -> dict[str, str]:
    """Return where on the host the folders and files of a service come from, by their place in the container."""
    found = compose()
    parts = found["services"][service]
    entries = [volume.split(":") for volume in parts.get("volumes", []) if volume.startswith("./")]
    given = {f"/run/secrets/{name}": found["secrets"][name]["file"] for name in parts.get("secrets", [])}
    return {target: source for source, target, *_ in entries} | given


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the secrets as the setup script does, by the gateway of this checkout."""
    folder = tmp_path_factory.mktemp("setup") / "secrets"
    env = {"GATEWAY": f"{sys.executable} -m gateway", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    subprocess.run([ROOT / "config/compose/setup", folder], env=env, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture
def inside(secrets: Path, tmp_path: Path) -> tuple[Settings, Path]:
    """Load the configuration with every file where compose.yaml would have it, but in another folder."""
    text = CONFIG.read_text(encoding="utf-8")
    places = mounts("gateway") | {"/var/lib/gateway": f"{SECRETS}../state"}
    for target, source in places.items():
        if target != "/etc/gateway":
            assert target in text, f"{target} is mounted and not used"
            text = text.replace(target, str(host_path(source, secrets)))
    assert not re.search(r"[ :\"]/(run|etc|var/lib)/", text), text
    (tmp_path / "gateway.yaml").write_text(text, encoding="utf-8")
    return load_settings(tmp_path / "gateway.yaml", {}), tmp_path


def host_path(source: str, secrets: Path) -> Path:
    return secrets / source.removeprefix(SECRETS) if source.startswith(SECRETS) else ROOT / source


def test_it_keeps_to_the_schema_of_compose_files() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_schema_would_tell_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {gateway: {image: x, read_onyl: true}}")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60).returncode == 1


@pytest.mark.parametrize("service", services())
def test_every_file_that_it_names_is_there_or_made_by_the_setup(service: str, secrets: Path) -> None:
    missing = [source for source in mounts(service).values() if not host_path(source, secrets).exists()]
    assert missing == []


def test_every_secret_is_made_by_the_setup_and_goes_to_who_needs_it(secrets: Path) -> None:
    declared = {entry["file"].removeprefix(SECRETS) for entry in compose()["secrets"].values()}
    assert declared | {"users"} == {path.name for path in secrets.iterdir()}
    assert {name: parts.get("secrets", []) for name, parts in services().items()} == {
        "gateway": ["session_key", "redis_password"],
        "redis": ["redis_acl", "redis_password"],
        "whoami": [],
        "live": [],
    }


def test_the_gateway_takes_the_configuration_with_two_workers_and_redis(inside: tuple[Settings, Path]) -> None:
    settings, _ = inside
    assert check_files(settings) == []
    assert settings.warnings == ()
    assert settings.workers == 2


def test_the_configuration_speaks_of_the_services_by_their_names(inside: tuple[Settings, Path]) -> None:
    settings, _ = inside
    hosts = {upstream.host: upstream.port for route in settings.routes for upstream in route.upstreams}
    assert hosts == {"whoami": 8000, "live": 8000}
    assert "redis://${GATEWAY_REDIS:-redis:6379}" in CONFIG.read_text(encoding="utf-8")
    for name, port in hosts.items():
        assert services()[name]["entrypoint"] == ["python3", "-m", "gateway.demo", name, "--listen", f"0.0.0.0:{port}"]


def test_only_the_gateway_is_published_and_only_on_loopback(inside: tuple[Settings, Path]) -> None:
    assert {name for name, parts in services().items() if "ports" in parts} == {"gateway"}
    settings, _ = inside
    (listen,) = settings.listen
    assert services()["gateway"]["ports"] == [f"127.0.0.1:${{GATEWAY_PORT:-8080}}:{listen.port}"]
    assert settings.admin_listen is not None
    assert settings.admin_listen.host == "127.0.0.1"


def test_apps_and_redis_have_no_way_out_and_do_not_see_each_other() -> None:
    networks = {name: set(parts["networks"]) for name, parts in services().items()}
    assert networks == {
        "gateway": {"front", "apps", "store"},
        "redis": {"store"},
        "whoami": {"apps"},
        "live": {"apps"},
    }
    assert compose()["networks"] == {"front": {}, "apps": {"internal": True}, "store": {"internal": True}}


@pytest.mark.parametrize("service", services())
def test_every_container_is_shut_in(service: str) -> None:
    parts = services()[service]
    assert parts["read_only"] is True
    assert parts["cap_drop"] == ["ALL"]
    assert parts["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"} & set(parts)
    assert [
        volume for volume in parts.get("volumes", []) if volume.startswith("./") and not volume.endswith(":ro")
    ] == []


def test_the_gateway_starts_when_everything_else_is_healthy() -> None:
    waits = services()["gateway"]["depends_on"]
    assert waits == {name: {"condition": "service_healthy"} for name in services() if name != "gateway"}
    assert all("healthcheck" in parts for parts in services().values())


def test_the_gateway_gets_longer_to_stop_than_it_takes(inside: tuple[Settings, Path]) -> None:
    settings, _ = inside
    assert int(services()["gateway"]["stop_grace_period"].removesuffix("s")) > settings.limits.drain_time


def test_one_service_builds_the_image_that_the_apps_take_too() -> None:
    """Several that build one image at once get into each other's way."""
    assert {name: parts.get("build") for name, parts in services().items() if "build" in parts} == {"gateway": "."}
    ours = [parts for parts in services().values() if parts["image"] == "session-gateway" and "build" not in parts]
    assert [parts["pull_policy"] for parts in ours] == ["never", "never"]


def test_every_variable_has_a_default_or_is_set() -> None:
    """So that `docker compose up` asks for nothing."""
    for name in ("compose.yaml", "config/compose/gateway/gateway.yaml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        bare = [body for body in re.findall(r"(?<!\$)\$\{([^}]*)\}", text) if ":-" not in body]
        assert [body for body in bare if not body.startswith("file:")] == []
