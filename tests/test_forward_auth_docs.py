"""docs/forward-auth.md: blocks that are not run hold documented keys only; no block errs as the first ones did."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.settings.support import settings_of
from tests.support.fronts import DOCS, documented

TEXT = DOCS.read_text(encoding="utf-8")
IDENTITY = ("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups")
FORWARD_AUTH = {
    "address", "tls", "trustForwardHeader", "authResponseHeaders", "authResponseHeadersRegex", "authRequestHeaders",
    "addAuthCookiesToResponse", "headerField", "forwardBody", "maxBodySize", "preserveLocationHeader",
    "preserveRequestMethod", "maxResponseBodySize",
}  # fmt: skip
"""Traefik 3.6, reference of the ForwardAuth middleware."""
ANNOTATIONS = {
    "auth-url", "auth-method", "auth-proxy-set-headers", "auth-response-headers", "auth-signin",
    "auth-signin-redirect-param", "denylist-source-range",
}  # fmt: skip
"""ingress-nginx, reference of its annotations, as far as they are made use of."""
EXT_AUTH = {
    "http": {"path", "backendRefs", "headersToBackend"},
    "": {"http", "failOpen", "headersToExtAuth"},
}
"""Envoy Gateway, type ExtAuth of its API reference."""


def documents(heading: str) -> Iterator[Any]:
    yield from yaml.safe_load_all(documented(heading, "yaml"))


def test_the_settings_are_right_and_draw_no_warning() -> None:
    text = documented("Setting it up", "yaml").replace("${GATEWAY_KEY}", "${KEY}")
    settings = settings_of(text)
    assert settings.forward_auth == settings.trusted_proxies
    assert settings.warnings == ()


def test_traefik() -> None:
    (config,) = documents("Traefik")
    http = config["http"]
    asking = http["middlewares"]["gateway"]["forwardAuth"]
    assert set(asking) <= FORWARD_AUTH
    assert asking["trustForwardHeader"] is False
    assert asking["authResponseHeaders"] == ["Cookie", "Authorization"]
    expression = re.compile(asking["authResponseHeadersRegex"])
    for name in (*IDENTITY, "X_Forwarded_User", "x.forwarded-groups"):
        assert expression.fullmatch(name)
    assert not expression.fullmatch("X-Forwarded-For")
    routers = http["routers"]
    assert routers["asking"]["priority"] > routers["login"]["priority"] > routers["wiki"]["priority"]
    assert {router["service"] for router in routers.values()} == set(http["services"])
    named = [name for router in routers.values() for name in router.get("middlewares", [])]
    assert set(named) == set(http["middlewares"])


def test_ingress_nginx() -> None:
    headers, wiki, login, verify = documents("ingress-nginx")
    assert headers["data"]["X-Forwarded-Host"] == "wiki.example.com"
    prefix = "nginx.ingress.kubernetes.io/"
    annotations = wiki["metadata"]["annotations"] | verify["metadata"]["annotations"]
    assert {name.removeprefix(prefix) for name in annotations} <= ANNOTATIONS
    assert set(annotations[f"{prefix}auth-response-headers"].split(",")) == {"Cookie", "Authorization", *IDENTITY}
    paths = [each["spec"]["rules"][0]["http"]["paths"][0]["path"] for each in (wiki, login, verify)]
    assert paths == ["/", "/_gateway/", "/_gateway/verify"]


def test_envoy_gateway() -> None:
    kinds = {f"{each['kind']} {each['metadata']['name']}": each["spec"] for each in documents("Envoy Gateway")}
    asking = kinds["SecurityPolicy wiki"]["extAuth"]
    assert set(asking) <= EXT_AUTH[""]
    assert set(asking["http"]) <= EXT_AUTH["http"]
    assert asking["failOpen"] is False
    assert set(asking["http"]["headersToBackend"]) == {"cookie", "authorization", *map(str.lower, IDENTITY)}
    # The list of bare Envoy's block, which is run.
    assert {"cookie", "accept", "origin", "upgrade", "x-forwarded-for", "x-forwarded-proto"} < set(
        asking["headersToExtAuth"]
    )
    refused, login = kinds["HTTPRoute wiki-login"]["rules"]
    assert refused["matches"][0]["path"]["value"] == "/_gateway/verify"
    assert "backendRefs" not in refused
    assert login["matches"][0]["path"]["value"] == "/_gateway/"
    assert kinds["HTTPRouteFilter not-found"]["directResponse"]["statusCode"] == 404


@pytest.mark.parametrize("block", re.findall(r"^```\w+\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
def test_no_block_goes_by_the_host_field_alone(block: str) -> None:
    assert "$http_host" not in block


def test_every_proxy_has_its_oldest_version_and_its_block() -> None:
    rows = re.findall(r"^\| \[(.+?)\]\(#.+?\) \| (.+?) \|", TEXT, re.MULTILINE)
    assert len(rows) == 7
    for name, version in rows:
        assert re.search(r"\d+\.\d+", version)
        assert f"\n## {name}\n" in TEXT
