"""Whom the gateway connects to is verified in one way: in every place, and on every Python."""

from __future__ import annotations

import ast
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from gateway.core.redis_address import RedisAddress
from gateway.core.upstream import UpstreamAddress
from gateway.login.oidc.fetch import ProviderHttp
from gateway.proxy.pool import tls_context as upstream_context
from gateway.sessions.redis_servers import tls_context as redis_context
from gateway.tls import client_context
from tests.conftest import StartGateway
from tests.support.certificates import Chain, make_chain
from tests.support.gateway import ROOT, gateway_config
from tests.support.upstream import RecorderUpstream
from tests.support.visitor import Visitor

FLAGS = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
HANDSHAKE = """
import ssl, sys
from gateway.tls import client_context
root, server, key = sys.argv[1:]
ours, theirs = client_context(root), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
theirs.load_cert_chain(server, key)
there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
ends = [ours.wrap_bio(back, there, server_hostname="app.lan"), theirs.wrap_bio(there, back, server_side=True)]
while ends:
    for end in list(ends):
        try:
            end.do_handshake()
            ends.remove(end)
        except ssl.SSLWantReadError:
            pass
print(int(ours.verify_flags), ours.minimum_version.name, ours.check_hostname)
"""


def contexts() -> dict[str, ssl.SSLContext | None]:
    """Return those of all kinds of places."""
    redis = RedisAddress((("redis.lan", 6379),), tls=True)
    return {
        "upstream": upstream_context(UpstreamAddress("app.lan", 443, tls=None)),
        "redis": redis_context(redis),
        "provider": ProviderHttp()._tls,
        "itself": client_context(),
    }


@pytest.mark.parametrize("place", list(contexts()))
def test_every_place_verifies_alike(place: str) -> None:
    """Chain and name are verified, without the strict flag, with what is trusted as an anchor, TLS 1.2 or newer."""
    context = contexts()[place]
    assert context is not None
    assert (context.verify_flags, context.verify_mode, context.check_hostname) == (FLAGS, ssl.CERT_REQUIRED, True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_no_other_place_makes_a_context_of_its_own() -> None:
    """Contexts to connect with come from one function; the others are for listeners."""
    found = []
    for file in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called, text = node.func.attr, ast.unparse(node)
                if called in {"create_default_context", "_create_unverified_context"} or (
                    called == "SSLContext" and "PROTOCOL_TLS_SERVER" not in text
                ):
                    found.append(str(file.relative_to(ROOT)))
    assert found == ["gateway/tls.py"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"), "app.lan", IPv4Address("127.0.0.1"))


def pythons() -> Iterator[str]:
    """Yield this Python, and others that the machine may have."""
    yield sys.executable
    for minor in range(11, 16):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            yield found


@pytest.mark.parametrize("python", sorted(set(pythons())))
def test_a_private_authority_is_enough_on_every_python(python: str, chain: Chain) -> None:
    """A certificate without an Authority Key Identifier is verified by its root, as by an intermediate alone."""
    for anchor in (chain.root, chain.intermediate):
        command = [python, "-c", HANDSHAKE, str(anchor), str(chain.server), str(chain.key)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.split() == [str(int(FLAGS)), "TLSv1_2", "True"], done.stderr


@pytest.mark.parametrize("anchor", ["root", "intermediate"])
def test_an_app_with_a_certificate_of_a_private_authority(
    start_gateway: StartGateway, chain: Chain, tmp_path: Path, anchor: str
) -> None:
    """The app is served where its chain leads to what is trusted; by another name or authority it is 502."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain.server, chain.key)
    other = make_chain(tmp_path, "app.lan", IPv4Address("127.0.0.1"))
    with RecorderUpstream(tls=context) as app:
        upstream = {"url": app.url, "ca": str(getattr(chain, anchor))}
        routes = {
            "good": upstream,
            "named": {**upstream, "server_name": "app.lan"},
            "stranger": {**upstream, "ca": str(getattr(other, anchor))},
            "misnamed": {**upstream, "server_name": "other.lan"},
            "system": {"url": app.url},
        }
        gateway = start_gateway(
            gateway_config(
                *(
                    {"name": name, "path": f"/{name}", "public": True, "upstream": [value]}
                    for name, value in routes.items()
                )
            )
        )
        found = {name: Visitor(gateway).get(f"/{name}/x").status for name in routes}
    assert found == {"good": 200, "named": 200, "stranger": 502, "misnamed": 502, "system": 502}
