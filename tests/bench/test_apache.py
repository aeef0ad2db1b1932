"""Apache's configuration says where sessions are, and where Apache is missing the benchmark says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contestants import apache
from bench.load import Wrk
from bench.logged_in import APACHE, OIDC, with_oidc
from bench.process import BenchError
from bench.provider import Client
from bench.stage import QUICK, Stage
from bench.upstream import Upstream

CLIENT = Client("http://127.0.0.1:1234", "gateway", "a: secret", ("openid", "email"))


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_sessions_are_in_the_cookie_or_in_redis() -> None:
    in_cookie = lines(apache.proxy_config(80, 81, CLIENT, ""))
    in_redis = lines(apache.proxy_config(80, 81, CLIENT, "redis://127.0.0.1:6380/0"))
    assert "OIDCSessionType client-cookie" in in_cookie
    assert [line for line in in_cookie if "redis" in line.lower()] == []
    assert "OIDCSessionType server-cache" in in_redis
    assert "OIDCRedisCacheServer 127.0.0.1:6380" in in_redis


def test_everything_but_the_probe_asks_for_a_login() -> None:
    found = lines(apache.proxy_config(80, 81, CLIENT, ""))
    assert found[found.index('<Location "/">') :][:4] == [
        '<Location "/">',
        "AuthType openid-connect",
        "Require valid-user",
        "</Location>",
    ]
    assert found.count("Require all granted") == 1
    assert found[found.index("Require all granted") - 2] == '<Location "/ready">'


def test_the_provider_is_told_the_same_callback_as_apache() -> None:
    found = lines(apache.proxy_config(80, 81, CLIENT, ""))
    assert f"OIDCRedirectURI http://127.0.0.1:80{apache.CALLBACK}" in found
    assert 'OIDCScope "openid email"' in found
    assert 'OIDCClientSecret "a: secret"' in found


def test_apache_keeps_all_its_files_in_its_folder(tmp_path: Path) -> None:
    named = {line.split()[0] for line in lines(apache.server_config(tmp_path, 80)) if str(tmp_path) in line}
    assert named == {"ServerRoot", "DefaultRuntimeDir", "PidFile", "ErrorLog", "CustomLog"}


@pytest.fixture
def no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apache, "MODULE_FOLDER", tmp_path / "none")


@pytest.mark.usefixtures("no_module")
def test_a_missing_module_is_told_with_the_packages(tmp_path: Path) -> None:
    assert "mod_auth_openidc.so" in apache.missing()
    assert "libapache2-mod-auth-openidc" in apache.missing()
    assert apache.versions() == {}
    with pytest.raises(BenchError, match="not installed"), apache.running(tmp_path / "apache", 0, 81, 80, CLIENT):
        pass


@pytest.mark.usefixtures("no_module")
def test_without_the_module_its_case_leaves_it_out_and_does_not_fail(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 0, 1, QUICK, Wrk(1, {}), Upstream(1, 2), None, {})
    with_oidc(stage, [APACHE])
    (line,) = stage.left_out
    assert line.startswith("Apache with mod_auth_openidc: ")
    assert [row for row in stage.rows if row.case == OIDC] == []
    assert stage.failures == []
