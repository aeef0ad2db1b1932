"""What a sound configuration comes to, in the values that the program uses."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from gateway.core.cookie import CookiePolicy
from gateway.core.limits import Limits
from gateway.core.policy import Allow
from gateway.core.session import Lifetimes
from gateway.core.upstream import UpstreamAddress, UpstreamTls
from gateway.settings import ListenAddress, LogTargets, TlsFiles
from gateway.settings.secrets import session_key
from tests.settings.support import KEY, OTHER_KEY, settings_of

FULL = """\
listen: [127.0.0.1:8443, unix:run/gateway.sock]
admin_listen: null
public_url: https://Login.Example.com:8443/
state_dir: state
trusted_proxies: [10.0.0.0/8]
tls: {certificate: cert.pem, key: /etc/key.pem}
session:
  keys: ["${KEY}", "${OTHER_KEY}"]
  idle: 10m
  lifetime: 1h
  remember: null
  memory: 5
  cookie: {name: sid, domain: example.com, path: /, same_site: strict, http_only: false, budget: 4KiB}
login: {local: {users: users.yaml}}
identity:
  headers: {Remote-User: "{user}"}
  drop_response_headers: [X_Debug]
limits: {head_time: 500ms, body: 1MB, connections: 7}
log: {access: access.log, audit: off, level: debug}
routes:
  - name: wiki
    title: The wiki
    host: "*.example.com"
    path: /wiki/
    upstream:
      - {url: "https://wiki:3443", ca: ca.pem, cert: c.pem, key: k.pem, server_name: wiki.internal}
      - http://wiki:3000
      - unix:wiki.sock
    strip_prefix: true
    preserve_host: false
    websocket: false
    allow: {groups: [staff], users: [alice], emails: ["*@Example.com"], methods: [GET], networks: [10.0.0.0/8]}
    rules:
      - {path: /wiki/health, methods: [GET], public: true}
      - path: /wiki/admin/
        allow: {groups: [admins]}
    headers: {X-One: "1", X-Two: null}
    pass_headers: [X_HTTP.Method-Override]
    timeout: {connect: 1s, response: 2s}
    encoded_slashes: pass
    origins: [HTTPS://Other.example.com:443]
    max_body: 10KB
  - {name: open, path: /open, public: true, upstream: http://open}
  - {name: plain, path: /plain, upstream: http://plain}
"""
FOLDER = Path("/etc/gateway")

SETTINGS = settings_of(FULL, path=FOLDER / "gateway.yaml")


def test_listeners_and_urls() -> None:
    assert SETTINGS.listen == (ListenAddress("127.0.0.1", 8443), ListenAddress(path="/etc/gateway/run/gateway.sock"))
    assert SETTINGS.admin_listen is None
    assert SETTINGS.public_url == "https://login.example.com:8443"
    assert (SETTINGS.public_scheme, SETTINGS.public_host) == ("https", "login.example.com")
    assert SETTINGS.trusted_proxies.trusts(ip_address("10.1.2.3"))
    assert not SETTINGS.trusted_proxies.trusts(ip_address("11.1.2.3"))


def test_relative_files_start_from_the_folder_of_the_configuration() -> None:
    assert SETTINGS.state_dir == FOLDER / "state"
    assert SETTINGS.users_file == FOLDER / "users.yaml"
    assert SETTINGS.tls == TlsFiles(FOLDER / "cert.pem", Path("/etc/key.pem"))
    assert SETTINGS.log == LogTargets("/etc/gateway/access.log", "off", "debug")


def test_a_relative_configuration_file_makes_absolute_ones_for_what_lives_long(tmp_path: Path) -> None:
    settings = settings_of("state_dir: state", path=Path("folder/gateway.yaml"))
    assert settings.state_dir == Path.cwd() / "folder/state"


def test_session() -> None:
    assert SETTINGS.keys == (session_key(KEY), session_key(OTHER_KEY))
    assert SETTINGS.lifetimes == Lifetimes(idle=600.0, absolute=3600.0, remember=None)
    assert SETTINGS.memory == 5
    assert SETTINGS.session_cookie == CookiePolicy(
        name="sid", domain="example.com", path="/", same_site="strict", secure=True, http_only=False, budget=4096
    )


def test_identity() -> None:
    assert SETTINGS.identity_headers == (("Remote-User", "{user}"),)
    assert SETTINGS.drop_response_headers == frozenset({"x-debug"})


def test_limits_not_named_keep_their_defaults() -> None:
    changed = {"head_time": 0.5, "body": 1_000_000, "connections": 7}
    for limit in fields(Limits):
        assert getattr(SETTINGS.limits, limit.name) == changed.get(limit.name, limit.default)


def test_a_route_with_everything() -> None:
    route = SETTINGS.routes[0]
    assert (route.name, route.title, route.host, route.path) == ("wiki", "The wiki", "*.example.com", "/wiki")
    assert route.upstreams == (
        UpstreamAddress(
            "wiki",
            3443,
            tls=UpstreamTls("/etc/gateway/ca.pem", "/etc/gateway/c.pem", "/etc/gateway/k.pem", "wiki.internal"),
        ),
        UpstreamAddress("wiki", 3000),
        UpstreamAddress(path="/etc/gateway/wiki.sock"),
    )
    assert (route.strip_prefix, route.preserve_host, route.websocket) == (True, False, False)
    assert route.set_headers == (("X-One", "1"),)
    assert route.drop_headers == frozenset({"x-two"})
    assert route.pass_headers == frozenset({"x-http-method-override"})
    assert (route.connect_timeout, route.response_timeout, route.max_body) == (1.0, 2.0, 10_000)
    assert route.pass_encoded_slashes
    assert route.origins == frozenset({"https://other.example.com"})


def test_rules_and_the_routes_own_know_their_lines() -> None:
    wiki, everybody, plain = SETTINGS.routes
    assert wiki.default.allow == Allow(
        groups=frozenset({"staff"}),
        users=frozenset({"alice"}),
        emails=("*@example.com",),
        methods=frozenset({"GET"}),
        networks=(ip_network("10.0.0.0/8"),),
    )
    lines = FULL.split("\n")

    def place(start: str) -> str:
        number = next(number for number, line in enumerate(lines, 1) if line.strip().startswith(start))
        return f"{FOLDER}/gateway.yaml:{number}:{len(lines[number - 1]) - len(lines[number - 1].lstrip()) + 1}"

    def item(start: str) -> str:
        where, _, column = place(start).rpartition(":")
        return f"{where}:{int(column) + 2}"

    assert wiki.default.where == place("allow: {groups: [staff]")
    assert [rule.where for rule in wiki.rules] == [item("- {path: /wiki/health"), item("- path: /wiki/admin")]
    assert [(rule.path, rule.public, rule.methods) for rule in wiki.rules] == [
        ("/wiki/health", True, frozenset({"GET", "HEAD"})),
        ("/wiki/admin", False, frozenset()),
    ]
    assert everybody.default.public
    assert everybody.default.where.startswith(item("- {name: open").rpartition(":")[0])
    assert plain.default.where == item("- {name: plain")
    assert plain.default.allow == Allow()


def test_a_route_with_little_has_the_defaults_of_its_value() -> None:
    plain = SETTINGS.routes[2]
    assert (plain.host, plain.strip_prefix, plain.preserve_host, plain.websocket) == ("", False, True, True)
    assert (plain.connect_timeout, plain.response_timeout, plain.max_body) == (5.0, 60.0, None)


def test_the_defaults() -> None:
    settings = settings_of("log: {}")
    assert settings.listen == (ListenAddress("127.0.0.1", 8080),)
    assert settings.admin_listen == ListenAddress("127.0.0.1", 9090)
    assert settings.public_url == "http://localhost:8080"
    assert settings.lifetimes == Lifetimes()
    assert settings.limits == Limits()
    assert settings.session_cookie == CookiePolicy(secure=False)
    assert [name for name, _ in settings.identity_headers] == [
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
    ]
    assert settings.tls is None
    assert settings.users_file is None
    assert settings.trusted_proxies.networks == ()
    assert settings.log == LogTargets("stdout", "stderr", "info")


@pytest.mark.parametrize(
    ("url", "secure", "expected"),
    [
        ("https://a.lan", "auto", True),
        ("http://localhost", "auto", False),
        ("http://localhost", "true", True),
        ("https://a.lan", "false", False),
    ],
)
def test_auto_secures_the_cookie_where_public_url_is_https(url: str, secure: str, expected: bool) -> None:
    settings = settings_of(f"public_url: {url}\nsession: {{keys: [{KEY}], cookie: {{secure: {secure}}}}}")
    assert settings.session_cookie.secure is expected


def test_where_names_the_nearest_place_that_is_known() -> None:
    path = f"{FOLDER}/gateway.yaml"
    assert SETTINGS.where("listen") == f"{path}:1:9"
    assert SETTINGS.where("listen[1]") == f"{path}:1:26"
    assert SETTINGS.where("routes[1].timeout.connect") == SETTINGS.where("routes[1]")
    assert SETTINGS.where("nothing") == f"{path}:1:1"


def test_the_settings_do_not_show_keys_or_headers_when_printed() -> None:
    assert KEY not in repr(SETTINGS)
    assert repr(session_key(KEY)) not in repr(SETTINGS)
    assert "X-One" not in repr(SETTINGS)
