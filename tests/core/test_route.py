"""Finding a route: by host, then by the longest prefix at a segment boundary, at a cost that stays."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.core.policy import Rule, is_under
from gateway.core.route import Route, Router
from gateway.core.upstream import UpstreamAddress

if TYPE_CHECKING:
    from _typeshed import TraceFunction

PUBLIC = "apps.example.com"
HOSTS = [
    "",
    PUBLIC,
    "a.example.com",
    "b.a.example.com",
    "*.example.com",
    "*.a.example.com",
    "other.test",
    "*.test",
    "[::1]",
]
NAMES = [
    *(host for host in HOSTS if host and "*" not in host), "x.example.com", "y.x.example.com", "c.b.a.example.com",
    "example.com", "test", "x.test", "evilexample.com", "evil.com", "com", "xa.example.com", "localhost", "",
]  # fmt: skip
PREFIXES = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/_gateway"]
PATHS = [*PREFIXES, "/a/b/x", "/a/bx", "/x", "/a//b", "//a", "/A", "/_gateway/login", "/_gatewayx", "/a/b/c/d/e"]
CONTROL = Route("gateway", (UpstreamAddress(path="/x"),), Rule("control"), path="/_gateway", control=True)


def route(host: str, path: str, name: str = "") -> Route:
    return Route(name or f"{host}{path}", (UpstreamAddress("up", 80),), Rule("x"), host=host, path=path)


def rank(host: str, name: str) -> int | None:
    """Return how closely a route's host names a request's, or None if it does not."""
    if host.startswith("*."):
        return len(host) if name.endswith(host[1:]) and name != host[1:] else None
    return {name: 1000, "": 0}.get(host)


def naive(routes: Sequence[Route], name: str, path: str) -> Route | None:
    """Find a route by looking at all of them."""
    ours = {PUBLIC} | {one.host for one in routes if one.host}
    if name not in ours and not any(host.startswith("*.") and rank(host, name) is not None for host in ours):
        return None
    if is_under(path, "/_gateway"):
        return CONTROL
    found = [(rank(one.host, name), len(one.path.rstrip("/")), one) for one in routes if is_under(path, one.path)]
    known = [(hosted, length, -routes.index(one), one) for hosted, length, one in found if hosted is not None]
    return max(known, key=lambda entry: entry[:3])[3] if known else None


@given(
    st.lists(st.builds(route, st.sampled_from(HOSTS), st.sampled_from(PREFIXES)), max_size=8),
    st.sampled_from(NAMES),
    st.sampled_from(PATHS),
)
@settings(max_examples=400)
def test_the_router_finds_what_looking_at_all_finds(routes: list[Route], name: str, path: str) -> None:
    """Exact host before wildcard, longer wildcard before shorter, then no host; within each the longest prefix."""
    found = Router(routes, PUBLIC, CONTROL).find(name, path)
    event("found" if found else "none")
    assert found is naive(routes, name, path)


@given(
    st.lists(st.sampled_from(PREFIXES), max_size=6), st.lists(st.sampled_from(["a", "b", "ab", "", "x"]), max_size=5)
)
def test_any_path_finds_the_longest_prefix(prefixes: list[str], segments: list[str]) -> None:
    """Whatever the path, the route with the most segments above it is found."""
    path = "/" + "/".join(segments)
    routes = [route("", prefix) for prefix in prefixes]
    matching = [one for one in routes if is_under(path, one.path)]
    longest = max(matching, key=lambda one: len(one.path.rstrip("/")), default=None)
    assert Router(routes, PUBLIC).find(PUBLIC, path) is longest


@pytest.mark.parametrize("host", ["evil.test", "", "example.com", "xapps.example.com", "apps.example.com.evil.test"])
def test_a_host_that_is_not_ours_finds_nothing(host: str) -> None:
    """A route without a host is served on configured hosts only (RFC 9110 §7.4), and our own pages too."""
    router = Router([route("", "/"), route("wiki.example.com", "/")], PUBLIC, CONTROL)
    assert router.host(host) is None
    assert router.find(host, "/_gateway/login") is None
    assert router.find(PUBLIC, "/") is router.routes[0]


CLOSEST = [
    ("b.a.example.com", "/x", "b.a.example.com/"),
    ("c.a.example.com", "/x", "*.a.example.com/"),
    ("c.b.a.example.com", "/x", "*.a.example.com/"),
    ("b.example.com", "/x", "*.example.com/"),
    ("apps.example.com", "/x", "*.example.com/"),
    ("b.a.example.com", "/only/x", "b.a.example.com/"),
]


@pytest.mark.parametrize(("host", "path", "name"), CLOSEST)
@pytest.mark.parametrize("turned", [True, False])
def test_the_closest_host_wins(host: str, path: str, name: str, turned: bool) -> None:
    """An exact host comes before any wildcard, a longer wildcard before a shorter, a longer path does not matter."""
    hosts = ["", "*.example.com", "*.a.example.com", "b.a.example.com"]
    routes = [*(route(one, "/") for one in hosts), route("", "/only"), route("*.example.com", "/only/x/y")]
    found = Router(routes[::-1] if turned else routes, PUBLIC).find(host, path)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("path", "name"),
    [("/deep/x", "deep.a.example.com/deep"), ("/a/x", "*.a.example.com/a"), ("/b", "*.example.com/b"), ("/", "/")],
)
def test_a_host_without_the_path_leaves_it_to_the_next(path: str, name: str) -> None:
    """What the closest host does not serve is looked for under the less close ones, in their order."""
    pairs = [
        ("deep.a.example.com", "/deep"),
        ("*.a.example.com", "/a"),
        ("*.example.com", "/a"),
        ("*.example.com", "/b"),
        ("", "/"),
    ]
    found = Router([route(*pair) for pair in pairs], PUBLIC).find("deep.a.example.com", path)
    assert found is not None
    assert found.name == name


def test_loopback_has_several_names() -> None:
    """A gateway at localhost is found by its addresses too; any other only by its name."""
    local = Router([route("", "/")], "localhost")
    assert all(local.find(name, "/") for name in ("localhost", "127.0.0.1", "[::1]"))
    assert local.find("127.0.0.2", "/") is None
    assert Router([route("", "/")], PUBLIC).find("localhost", "/") is None


def test_our_own_pages_are_on_every_host() -> None:
    """No route can take the place of the login page, by host or path."""
    routes = [route(host, path) for host in HOSTS for path in ("/", "/_gateway", "/_gateway/login")]
    router = Router(routes, PUBLIC, CONTROL)
    for host in (PUBLIC, "a.example.com", "x.example.com", "x.a.example.com", "other.test"):
        assert router.find(host, "/_gateway") is CONTROL
    assert router.all_routes()[-1] is CONTROL


def work_of(router: Router, host: str, path: str) -> int:
    """Count the lines of Python that a lookup takes: a cost without a clock."""
    count = 0

    def tracer(frame: FrameType, event: str, arg: object) -> TraceFunction:
        nonlocal count
        count += 1
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        assert router.find(host, path) is not None
    finally:
        sys.settrace(before)
    return count


def test_a_thousand_routes_cost_what_ten_do() -> None:
    """The work of a lookup does not grow with the number of routes or hosts."""
    few, many = (
        Router([*(route("", f"/app{i}/x") for i in range(n)), *(route(f"h{i}.example.com", "/") for i in range(n)),
                *(route(f"*.w{i}.test", "/") for i in range(n))], PUBLIC, CONTROL)
        for n in (10, 1000)
    )  # fmt: skip
    for host, path in ((PUBLIC, "/app9/x/y"), ("h9.example.com", "/a/b"), ("a.b.w9.test", "/a")):
        assert work_of(many, host, path) == work_of(few, host, path)
    assert many.find(PUBLIC, "/app999/x").name == "/app999/x"  # type: ignore[union-attr]
    assert many.find(PUBLIC, "/app1000/x") is None


def ruled(path: str, *rules: Rule, host: str = "") -> Route:
    default = Rule("route", public=path == "/")
    return Route(host + path, (UpstreamAddress("up", 80),), default, host=host, path=path, rules=rules)


LETTERS = Router(
    [
        ruled("/", Rule("1", path="/Help/Desk", methods=frozenset({"GET"})), Rule("2", path="/help")),
        ruled("/admin"),
        ruled("/app", Rule("3", path="/app/admin"), Rule("4", path="/app/Twice"), Rule("5", path="/app/twice")),
        ruled("/Shop"),
        ruled("/shop", Rule("6", path="/shop/till")),
        ruled("/x", host=PUBLIC),
    ],
    PUBLIC,
    CONTROL,
)
IN_UPPER_CASE = [
    ("/ADMIN/secret", False),
    ("/aDmin", False),
    ("/Adminx", True),
    ("/Any/THING", True),
    ("/x/ADMIN", True),
    ("/X/y", False),
    ("/admin/DEEP", True),
    ("/app/ADMIN/x", False),
    ("/app/admin/X", True),
    ("/app/x/ADMIN", True),
    ("/app/Twice/x", True),
    ("/app/twice/X", True),
    ("/app/TWICE", False),
    ("/Shop/x", True),
    ("/Shop/Till", True),
    ("/shop/till", True),
    ("/shop/TILL", False),
    ("/SHOP", False),
    ("/help/desk", False),
    ("/Help/Desk", True),
    ("/HELP", False),
    ("/_gateway/LOGIN", True),
    ("/_GATEWAY/login", True),
    ("/\u212aelvin", True),
    ("/\u017fhop", False),
]


@pytest.mark.parametrize(("path", "leads"), IN_UPPER_CASE)
def test_upper_and_lower_case_lead_to_one_place(path: str, leads: bool) -> None:
    """An app that disregards case finds the same route and rule; what differs in case alone is apart on purpose."""
    hosts = LETTERS.host(PUBLIC)
    assert hosts is not None
    found = hosts.find(path)
    assert found is not None
    assert hosts.leads_to(found, found.rule_for(path, "GET"), path, "GET") is leads


@given(st.text("aAbB/", max_size=8), st.lists(st.sampled_from(["/", "/a", "/a/b", "/b"]), min_size=1, unique=True))
@settings(max_examples=300)
def test_case_matters_only_where_the_lower_one_leads_elsewhere(text: str, paths: list[str]) -> None:
    """Where all paths of the configuration are in lower case, that is where the path in lower case is found."""
    hosts = Router([ruled(path) for path in paths], PUBLIC, CONTROL).host(PUBLIC)
    assert hosts is not None
    if (found := hosts.find("/" + text)) is not None:
        same = hosts.find(f"/{text}".lower()) is found
        assert hosts.leads_to(found, found.default, "/" + text, "GET") is same


def test_one_app_without_rules_has_nothing_to_compare() -> None:
    """What can lead to one place only is not looked up twice."""
    hosts = Router([route("", "/"), route("wiki.test", "/"), ruled("/", host="a.test")], PUBLIC, CONTROL)
    found = [hosts.host(name) for name in (PUBLIC, "wiki.test")]
    assert [one.caseless is None for one in found if one] == [True, False]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("wiki.example.com", True),
        (PUBLIC, True),
        ("x.open.example.com", True),
        ("a.b.open.example.com", True),
        ("x.shut.example.com", False),
        ("x.shut.open.example.com", False),
        ("open.example.com", False),
        ("elsewhere.org", False),
    ],
)
def test_which_hosts_get_sessions_from_another(host: str, expected: bool) -> None:
    """Those that are named, and of a wildcard's those whose own wildcard says so on any of its routes."""
    routes = [
        route("wiki.example.com", "/"),
        route("*.open.example.com", "/"),
        replace(route("*.open.example.com", "/app"), transfer=True),
        route("*.shut.example.com", "/"),
        route("*.shut.open.example.com", "/"),
    ]
    assert Router(routes, PUBLIC).transfers(host) is expected
