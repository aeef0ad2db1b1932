"""What the forms of single values come to."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Limits
from gateway.settings import addresses, headers, secrets, values
from gateway.settings.misfit import Misfit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5.0),
        ("30m", 1800.0),
        ("12h", 43200.0),
        ("30d", 2592000.0),
        ("1.5s", 1.5),
        ("0.001s", 0.001),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["5", "5 s", "s", "-5s", "5S", "1h30m", "5s ", "٥s", "5.s", "1e3s", "", None, 5, 5.0, True]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(Misfit):
        values.duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        (1048576, 1048576),
        ("8KiB", 8192),
        ("10MB", 10_000_000),
        ("2GiB", 2 * 1024**3),
        ("3kB", 3000),
        ("7B", 7),
    ],
)
def test_sizes(text: object, count: int) -> None:
    assert values.size(text) == count


@pytest.mark.parametrize("text", ["8 KiB", "8kib", "KiB", "1.5MiB", "-1", -1, 0, True, None, 1.5, "9" * 30, "٨"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(Misfit):
        values.size(text)


@given(st.integers(1, values.MAX_DURATION * 1000))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    assert values.duration(values.duration_text(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(1, values.MAX_SIZE))
def test_a_size_is_written_as_it_is_read(count: int) -> None:
    assert values.size(values.size_text(count)) == count


def test_every_default_limit_can_be_written() -> None:
    for limit in fields(Limits):
        write = values.duration_text if limit.name.endswith("_time") else values.size_text
        read = values.duration_or_zero if limit.name.endswith("_time") else values.size
        assert read(write(limit.default)) == limit.default  # type: ignore[arg-type]


def test_networks() -> None:
    assert values.network("10.0.0.0/8") == ip_network("10.0.0.0/8")
    assert values.network("10.1.2.3") == ip_network("10.1.2.3/32")
    assert values.network("2001:db8::/32") == ip_network("2001:db8::/32")


@pytest.mark.parametrize("pattern", ["*@example.com", "alice@example.com", "a+*@*.example.com", "ä@example.com"])
def test_email_patterns(pattern: str) -> None:
    assert values.email_pattern(pattern.upper()) == pattern


@pytest.mark.parametrize(
    "pattern", ["*", "*@*", "*@", "@example.com", "*@a.*", "a@b@c", "[ab]@c.de", "a?@b.c", "a b@c.de"]
)
def test_what_is_no_email_pattern(pattern: str) -> None:
    with pytest.raises(Misfit):
        values.email_pattern(pattern)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("https://A.Example.com", "https://a.example.com"),
        ("https://a.lan:443", "https://a.lan"),
        ("http://a.lan:443", "http://a.lan:443"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("HTTP://my_app", "http://my_app"),
    ],
)
def test_origins_are_written_as_browsers_do(text: str, written: str) -> None:
    assert str(addresses.origin(text)) == written


def test_a_final_slash_of_public_url_is_forgiven() -> None:
    assert str(addresses.public_url("https://a.lan/")) == "https://a.lan"


@pytest.mark.parametrize(
    "text",
    [
        "https://", "https://:80", "https://a:", "https://a:x", "https://a b", "https://a:0", "https://[::1", "https://::1",
        "https://[::1]x", "https://[x]", "https://a\\b", "https:/a", "https//a", "//a", "https://a\n", "https://-a.lan",
        "https://127.1", "https://0x7f.1", "https://1.2.3.4.5", "https://[fe80::1%25eth0]", "https://*.lan",
        "https://" + "a" * 64,
    ],
)  # fmt: skip
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(Misfit):
        addresses.origin(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:0", "[::1]:0"),
        ("LOCALHOST:80", "localhost:80"),
        ("0.0.0.0:65535", "0.0.0.0:65535"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("unix:a.sock", "unix:a.sock"),
    ],
)
def test_listen_addresses(text: str, written: str) -> None:
    assert str(addresses.listen_address(text)) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("http://wiki", "http://wiki:80"),
        ("https://Wiki:8443", "https://wiki:8443"),
        ("https://[::1]", "https://[::1]:443"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
    ],
)
def test_upstream_addresses(text: str, written: str) -> None:
    address = addresses.upstream_address(text)
    assert str(address) == written
    assert (address.tls is not None) == text.startswith("https")


@pytest.mark.parametrize(("text", "path"), [("/", "/"), ("/a", "/a"), ("/a/", "/a"), ("/a/b.c~d-e_f", "/a/b.c~d-e_f")])
def test_paths_lose_a_final_slash(text: str, path: str) -> None:
    assert addresses.route_path(text) == path


@pytest.mark.parametrize("path", ["/_gateways", "/x/_gateway", "/_gatewa"])
def test_paths_beside_the_gateway_s_own_are_free(path: str) -> None:
    assert addresses.route_path(path) == path


def test_templates_may_hold_several_placeholders_and_text() -> None:
    for template in (
        "{user}",
        "id={claims.employee id}".replace(" ", "_"),
        "{name} <{email}>",
        "{groups};{method}",
        "fixed",
    ):
        assert headers.template(template) == template


def test_new_keys_are_taken_and_differ() -> None:
    keys = {secrets.new_key() for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        assert len(secrets.session_key(key)) == 32
        assert secrets.session_key(key + "=") == secrets.session_key(key)


@pytest.mark.parametrize(
    "raw",
    [
        bytes(32),
        b"\xff" * 32,
        bytes(range(32)),
        b"0123456789abcdef" * 2,
        b"correct horse battery staple ok!",
        b"ab\x00" * 10 + b"cd",
    ],
)
def test_keys_that_somebody_made_up_are_refused(raw: bytes) -> None:
    with pytest.raises(Misfit, match="not drawn at random"):
        secrets.session_key(secrets.key_text(raw))
