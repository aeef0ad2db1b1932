"""The gateway's own cookies as they are written: names, attributes, parts, budget (RFC 6265bis)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.cookie import MAX_AGE_CAP, MAX_PARTS, PART_BYTES, CookiePolicy
from gateway.errors import SessionTooLarge
from gateway.wire.cookies import CookiePicker

NOW = 1_700_000_000.0
TOKENS = st.integers(1, 8192).map(lambda size: "v1." + "a" * size)


def attributes(cookie: str) -> dict[str, str]:
    """Return the attributes of a Set-Cookie value by lower-case name."""
    parts = (part.partition("=") for part in cookie.split("; ")[1:])
    return {name.lower(): value for name, _, value in parts}


NAMES = [
    (CookiePolicy(), "__Host-gateway_session"),
    (CookiePolicy(domain="example.com"), "__Secure-gateway_session"),
    (CookiePolicy(path="/app"), "__Secure-gateway_session"),
    (CookiePolicy(secure=False), "gateway_session"),
    (CookiePolicy(secure=False, domain="example.com"), "gateway_session"),
    (CookiePolicy(name="__Host-own"), "__Host-own"),
    (CookiePolicy(name="__SECURE-own"), "__SECURE-own"),
]


@pytest.mark.parametrize(("policy", "name"), NAMES)
def test_the_prefix_follows_the_attributes(policy: CookiePolicy, name: str) -> None:
    """``__Host-`` is written with Secure, Path=/ and no Domain, ``__Secure-`` with Secure (§4.1.3)."""
    assert policy.full_name == name
    for cookie in policy.set("x", max_age=None, now=NOW):
        said = attributes(cookie)
        if policy.name == "gateway_session" and name.startswith("__"):
            assert "secure" in said
        if policy.name == "gateway_session" and name.startswith("__Host-"):
            assert said["path"] == "/"
            assert "domain" not in said


@given(TOKENS, st.sampled_from([policy for policy, _ in NAMES]))
@settings(max_examples=100)
def test_a_token_goes_round(token: str, policy: CookiePolicy) -> None:
    """Cut over cookies that each fit a browser, a token comes back, as the standard library reads them too."""
    if len(token) > policy.budget:
        return
    cookies = policy.set(token, max_age=60, now=NOW)
    assert len(cookies) == -(-len(token) // PART_BYTES)
    pairs = [cookie.partition(";")[0] for cookie in cookies]
    assert all(len(pair) - 1 <= 4096 for pair in pairs)
    picked = CookiePicker(policy).pick([pair.encode("ascii") for pair in pairs])
    assert picked.token == token
    assert picked.others == b""
    jar = SimpleCookie("; ".join(pairs))
    assert {morsel.key: morsel.value for morsel in jar.values()} == dict(pair.split("=", 1) for pair in pairs)


def test_the_budget() -> None:
    """What does not fit is refused with the numbers, never cut."""
    assert len(CookiePolicy(budget=8192).split("a" * 8192)) == 3
    for policy, size in ((CookiePolicy(budget=8192), 8193), (CookiePolicy(budget=10**6), MAX_PARTS * PART_BYTES + 1)):
        with pytest.raises(SessionTooLarge, match=r"\d"):
            policy.split("a" * size)
    assert len(CookiePolicy(budget=10**6).split("a" * (MAX_PARTS * PART_BYTES))) == MAX_PARTS


def test_a_browser_session() -> None:
    """Without a lifetime there is neither Max-Age nor Expires."""
    (cookie,) = CookiePolicy().set("x", max_age=None, now=NOW)
    assert cookie == "__Host-gateway_session=x; Path=/; Secure; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize("age", [1, 86400, MAX_AGE_CAP, MAX_AGE_CAP + 1, 10 * MAX_AGE_CAP])
def test_a_lifetime(age: int) -> None:
    """Max-Age and Expires say the same, at most 400 days (§5.5)."""
    (cookie,) = CookiePolicy().set("x", max_age=age, now=NOW)
    said = attributes(cookie)
    assert int(said["max-age"]) == min(age, MAX_AGE_CAP)
    assert parsedate_to_datetime(said["expires"]).timestamp() == NOW + min(age, MAX_AGE_CAP)
    assert said["expires"].endswith(" GMT")


def test_every_attribute_is_written() -> None:
    """Domain, path, SameSite, Secure and HttpOnly are those of the configuration, on every part."""
    policy = CookiePolicy("sid", "example.com", "/app", "strict", secure=False, http_only=False)
    assert policy.set("x", max_age=None, now=NOW) == ["sid=x; Path=/app; Domain=example.com; SameSite=Strict"]
    parts = CookiePolicy("sid", same_site="none").set("a" * 8000, max_age=None, now=NOW)
    assert [cookie.partition("=")[0] for cookie in parts] == ["__Host-sid", "__Host-sid_1", "__Host-sid_2"]
    assert {str(attributes(cookie)) for cookie in parts} == {str(attributes(parts[0]))}


@pytest.mark.parametrize("policy", [policy for policy, _ in NAMES])
def test_clearing_repeats_what_was_set(policy: CookiePolicy) -> None:
    """A cookie goes only by name, domain and path, and a ``__Host-`` one only with Secure."""
    gone = policy.clear(3)
    kept = policy.set("a" * 8000, max_age=None, now=NOW)
    assert [cookie.partition("=")[0] for cookie in gone] == [cookie.partition("=")[0] for cookie in kept]
    for cookie, before in zip(gone, kept, strict=True):
        said = attributes(cookie)
        assert cookie.partition("=")[2].startswith(";")
        assert said.pop("max-age") == "0"
        assert parsedate_to_datetime(said.pop("expires")).timestamp() == 0
        assert said == attributes(before)


@pytest.mark.parametrize("parts", [0, 1, -1])
def test_clearing_clears_one_at_least(parts: int) -> None:
    """The first cookie is always removed."""
    assert len(CookiePolicy().clear(parts)) == 1
