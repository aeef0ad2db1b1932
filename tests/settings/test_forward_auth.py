"""`forward_auth`: who may ask, and what is said of lists that are hardly meant."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tests.settings.support import Case, assert_case, case, problems_of, settings_of, unmarked

CASES = {
    "nobody": case("forward_auth: {from: ▸[]}", ("forward_auth.from", "should hold at least one entry")),
    "no network": case("forward_auth: {from: [▸proxy]}", ("forward_auth.from[0]", '"proxy" is not a network')),
    "nothing": case("forward_auth: ▸{}", ("forward_auth.from", "is missing")),
    "everybody": case(
        "forward_auth: {from: [10.0.0.2, ▸0.0.0.0/0, ▸'::/0']}",
        ("forward_auth.from[1]", "would let everybody ask"),
        ("forward_auth.from[2]", "name the proxies that ask, as 10.0.0.2"),
    ),
    "another key": case("forward_auth: {from: 10.0.0.2, ▸form: x}", ("forward_auth.form", "from")),
}


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_what_is_wrong_is_said_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text)
    assert_case("gateway.yaml", problems_of(text), places, expected)


def test_nobody_may_ask_unless_it_is_set() -> None:
    assert settings_of("").forward_auth.networks == ()


def test_one_network_needs_no_list() -> None:
    settings = settings_of("forward_auth: {from: 10.0.0.2}\ntrusted_proxies: [10.0.0.0/8]")
    assert settings.forward_auth.networks == (ip_network("10.0.0.2/32"),)
    assert not [problem for problem in settings.warnings if problem.key.startswith("forward_auth")]


@pytest.mark.parametrize("trusted", ["[]", "[10.0.1.0/24]", "[10.0.0.2/32]", "['::/64']"])
def test_a_proxy_that_passes_on_the_login_page_has_to_be_trusted(trusted: str) -> None:
    settings = settings_of(f"forward_auth: {{from: [10.0.0.0/24]}}\ntrusted_proxies: {trusted}")
    (warning,) = [problem for problem in settings.warnings if problem.key.startswith("forward_auth")]
    assert (warning.key, "is not in trusted_proxies" in warning.text) == ("forward_auth.from[0]", True)
