"""What must hold between keys: each breach told at its place, and nothing told that is not so."""

from __future__ import annotations

import pytest

from tests.settings.support import KEY, Case, assert_case, case, problems_of, settings_of, unmarked

HTTPS = "public_url: https://login.example.com\ntrusted_proxies: [10.0.0.0/8]\n"


def route(more: str, name: str = "a") -> str:
    return f"  - {{name: {name}, upstream: http://{name}, {more}}}\n"


CASES = {
    # --- listeners
    "one address twice": case("listen: [127.0.0.1:81, ▸127.0.0.1:81]", ("listen[1]", "is already listened on")),
    "every address and one of them": case("listen: [0.0.0.0:81, ▸127.0.0.1:81]", ("listen[1]", "already listened on")),
    "one socket twice": case("listen: ['unix:/a', ▸'unix:/a']", ("listen[1]", "unix:/a is already listened on")),
    "admin on the public listener": case(
        "listen: 127.0.0.1:81\nadmin_listen: ▸127.0.0.1:81", ("admin_listen", "choose another port")
    ),
    "admin beneath every address": case(
        "listen: '[::]:81'\nadmin_listen: ▸127.0.0.1:81", ("admin_listen", "health and metrics are not for everybody")
    ),
    "admin default on the public listener": case("▸listen: 127.0.0.1:9090", ("admin_listen", "is the public listener")),
    # --- cookies
    "none without https": case(
        "session: {keys: [$KEY], cookie: {same_site: ▸none}}", ("session.cookie.same_site", "public_url is not https")
    ),
    "prefix without https": case(
        "session: {keys: [$KEY], cookie: {name: ▸__Secure-a}}", ("session.cookie.name", "public_url is not https")
    ),
    "host prefix with a domain": case(
        HTTPS + "session: {keys: [$KEY], cookie: {name: ▸__Host-a, domain: example.com}}",
        ("session.cookie.name", "without a domain"),
    ),
    "host prefix with a path": case(
        HTTPS + "session: {keys: [$KEY], cookie: {name: ▸__Host-a, path: /a}}", ("session.cookie.name", 'the path "/"')
    ),
    "domain beside public_url": case(
        HTTPS + "session: {keys: [$KEY], cookie: {domain: ▸example.org}}",
        ("session.cookie.domain", '"example.org" does not cover "login.example.com"'),
    ),
    "domain below public_url": case(
        HTTPS + "session: {keys: [$KEY], cookie: {domain: ▸a.login.example.com}}", ("session.cookie.domain", "cover")
    ),
    "domain that only looks alike": case(
        "public_url: https://login.notexample.com\nsession: {keys: [$KEY], cookie: {domain: ▸example.com}}",
        ("session.cookie.domain", "does not cover"),
    ),
    "domain beside routes": case(
        HTTPS + "session: {keys: [$KEY], cookie: {domain: example.com}}\nroutes:\n"
        "  - {name: a, upstream: http://a, host: a.example.com}\n"
        "  - {name: b, upstream: http://b, host: ▸b.example.org}\n"
        "  - {name: c, upstream: http://c, host: '*.example.com'}\n"
        "  - {name: d, upstream: http://d, host: ▸'*.com'}\n",
        ("routes[1].host", 'not covered by session.cookie.domain "example.com"'),
        ("routes[3].host", '"*.com" is not covered'),
    ),
    "budget beyond what browsers keep": case(
        "limits: {cookie: 32KiB}\nsession: {keys: [$KEY], cookie: {budget: ▸32KiB}}",
        ("session.cookie.budget", "which is what 8 cookies hold"),
    ),
    "budget beyond what is accepted": case(
        "limits: {cookie: 4KiB}\nsession: {keys: [$KEY], cookie: {budget: ▸8KiB}}",
        ("session.cookie.budget", "is over limits.cookie"),
    ),
    # --- limits
    "parts larger than the whole": case(
        "limits: {head: 16KiB, target: ▸17KiB, line: ▸17KiB, cookie: ▸17KiB}",
        ("limits.target", "is over limits.head (16KiB)"),
        ("limits.line", "is over limits.head"),
        ("limits.cookie", "is over limits.head"),
    ),
    "a route's body larger than any": case(
        "limits: {body: 1MiB}\nroutes:\n" + route("max_body: ▸2MiB"),
        ("routes[0].max_body", "is over limits.body (1MiB)"),
    ),
    # --- identity
    "headers that apps cannot tell apart": case(
        "identity: {headers: {X-A: '{user}', ▸x_a: '{name}'}}", ("identity.headers.x_a", 'cannot tell it from "X-A"')
    ),
    "identity header set by a route": case(
        "routes:\n" + route("headers: {▸x_forwarded_user: root}"),
        ("routes[0].headers.x_forwarded_user", "is an identity header"),
    ),
    "identity header removed by a route": case(
        "identity: {headers: {X-A: '{user}'}}\nroutes:\n" + route("headers: {▸X-A: null}"),
        ("routes[0].headers.X-A", "no route can set or remove"),
    ),
    "identity header from clients": case(
        "routes:\n" + route("pass_headers: [X-HTTP-Method-Override, ▸X-Forwarded-User]"),
        ("routes[0].pass_headers[1]", "nobody but the gateway may send it"),
    ),
    "one route header twice": case(
        "routes:\n" + route("headers: {X-A: a, ▸X_A: b}"), ("routes[0].headers.X_A", 'cannot tell it from "X-A"')
    ),
    # --- routes
    "public with allow": case(
        "routes:\n" + route("public: true, allow: ▸{groups: [a]}"),
        ("routes[0].allow", "no effect beside `public: true`"),
    ),
    "public with allow in a rule": case(
        "routes:\n" + route("rules: [{path: /a, public: true, allow: ▸{users: [a]}}]"),
        ("routes[0].rules[0].allow", "no effect beside `public: true`"),
    ),
    "rule outside its route": case(
        "routes:\n" + route("path: /wiki, rules: [{path: ▸/admin}]"),
        ("routes[0].rules[0].path", '"/admin" is not under the path of the route, "/wiki"'),
    ),
    "rule whose path only begins alike": case(
        "routes:\n" + route("path: /wiki, rules: [{path: ▸/wikipedia}]"), ("routes[0].rules[0].path", "is not under")
    ),
    "rule after one for everything": case(
        "routes:\n" + route("rules: [{public: true}, ▸{path: /admin, allow: {groups: [admins]}}]"),
        ("routes[0].rules[1]", "is never reached: rules[0] covers all of it"),
    ),
    "rule after one for its methods": case(
        "routes:\n" + route("rules: [{path: /a, methods: [GET]}, ▸{path: /a/b, methods: [GET, HEAD], public: true}]"),
        ("routes[0].rules[1]", "is never reached"),
    ),
    "rule after one for the whole route": case(
        "routes:\n" + route("path: /a, rules: [{path: /a, public: true}, ▸{path: /}]"), ("routes[0].rules[1]", "never")
    ),
    "transfer without a wildcard": case(
        "routes:\n" + route("host: a.example.com, transfer: ▸true"),
        ("routes[0].transfer", "has no effect here: it is for wildcard hosts, as *.example.com"),
    ),
    "one name twice": case(
        "routes:\n" + route("path: /a") + "  - {name: ▸a, upstream: http://b, path: /b}\n",
        ("routes[1].name", '"a" is the name of routes[0] already'),
    ),
    "one place twice": case(
        "routes:\n" + route("path: /a") + "  - ▸{name: b, upstream: http://b, path: /a/}\n",
        ("routes[1]", 'path "/a" is served by routes[0] already, line 2'),
    ),
    "one place on one host twice": case(
        "routes:\n" + route("host: a.lan") + "  - ▸{name: b, upstream: http://b, host: a.lan}\n",
        ("routes[1]", 'path "/" on host "a.lan" is served by routes[0]'),
    ),
    "one place twice, after a broken route": case(
        "routes:\n  - {name: z, upstream: ▸z}\n" + route("path: /a") + "  - ▸{name: b, upstream: http://b, path: /a}\n",
        ("routes[0].upstream", "is not an upstream"),
        ("routes[2]", "is served by routes[1] already, line 3"),
    ),
    # --- upstreams
    "certificates for http": case(
        "routes:\n  - {name: a, upstream: {url: http://a, ca: ▸a, cert: ▸b, key: ▸c, server_name: ▸d}}",
        *((f"routes[0].upstream.{key}", "https:// upstreams only") for key in ("ca", "cert", "key", "server_name")),
    ),
    "certificate for a socket": case(
        "routes:\n  - {name: a, upstream: [{url: 'unix:/a', ca: ▸a}]}",
        ("routes[0].upstream[0].ca", "https:// upstreams"),
    ),
    "certificate without key": case(
        "routes:\n  - {name: a, upstream: {url: https://a, cert: ▸a}}", ("routes[0].upstream.cert", "needs `key`")
    ),
    "key without certificate": case(
        "routes:\n  - {name: a, upstream: {url: https://a, key: ▸a}}", ("routes[0].upstream.key", "needs `cert`")
    ),
    "one upstream twice": case(
        "routes:\n  - {name: a, upstream: [http://a, http://b, ▸http://A:80]}",
        ("routes[0].upstream[2]", "http://a:80 is given twice"),
    ),
    "upstream that is the gateway": case(
        "listen: 0.0.0.0:81\nroutes:\n  - {name: a, upstream: ▸http://localhost:81}",
        ("routes[0].upstream", "is the gateway itself"),
    ),
    "upstream that is the gateway's socket": case(
        "listen: unix:/a\nroutes:\n  - {name: a, upstream: ▸'unix:/a'}", ("routes[0].upstream", "in circles")
    ),
}


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_a_breach_is_told_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text.replace("$KEY", KEY))
    assert_case("gateway.yaml", problems_of(text), places, expected)


SOUND = {
    "two free ports": "listen: ['127.0.0.1:0', '127.0.0.1:0']\nadmin_listen: 127.0.0.1:0",
    "two addresses, one port": "listen: ['127.0.0.1:81', '[::1]:81']",
    "admin on a socket": "admin_listen: unix:/a",
    "none on https": HTTPS + f"session: {{keys: [{KEY}], cookie: {{same_site: none}}}}",
    "prefix on https": HTTPS + f"session: {{keys: [{KEY}], cookie: {{name: __Host-a}}}}",
    "prefix with secure": f"session: {{keys: [{KEY}], cookie: {{name: __Secure-a, secure: true}}}}",
    "domain that covers": HTTPS
    + f"session: {{keys: [{KEY}], cookie: {{domain: example.com}}}}\nroutes:\n"
    + route("host: example.com")
    + route("host: a.b.example.com", "b")
    + route("host: '*.example.com'", "c"),
    "public with an empty allow": "routes:\n" + route("public: true, allow: {groups: []}"),
    "not public with allow": "routes:\n" + route("public: false, allow: {groups: [a]}"),
    "rules in a good order": "routes:\n"
    + route(
        "path: /a, rules: [{path: /a/b, public: true}, {path: /a, methods: [GET]}, {path: /a/c, methods: [POST]}, {}]"
    ),
    "rule above its route": "routes:\n" + route("path: /a/b, rules: [{path: /a, public: true}]"),
    "one path on two hosts": "routes:\n" + route("host: a.lan") + route("host: b.lan", "b") + route("path: /", "c"),
    "one upstream port apart": "listen: 127.0.0.1:81\nroutes:\n  - {name: a, upstream: [http://127.0.0.1:82, http://b:81]}",
    "a static prefix": "routes:\n" + route("headers: {X-Forwarded-Prefix: /a, Authorization: Basic YTpi}"),
    "later keys at their only value": f"workers: 1\nlogin: {{oidc: []}}\nidentity: {{token: null}}\n"
    f"session: {{store: cookie, keys: [{KEY}]}}",
    "no identity headers": "identity: {headers: {}}",
}


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_what_is_sound_is_taken(text: str) -> None:
    settings_of(text)


WARNINGS = {
    "a token for nobody": case(
        "admin_listen: null\nadmin_token: ▸0123456789abcdefg", ("admin_token", "admin_listen is null")
    ),
    "https that nobody speaks": case("public_url: ▸https://a.lan", ("public_url", "set `tls`, or `trusted_proxies`")),
    "tls without https": case(
        "public_url: ▸http://localhost\ntls: {certificate: a, key: b}", ("public_url", "`tls` is set")
    ),
    "clear text": case("public_url: ▸http://a.lan", ("public_url", "passwords and sessions travel in clear text")),
    "another port": case("listen: ▸127.0.0.1:81", ("listen", "another port than http://localhost:8080")),
    "trust in everybody": case(
        "trusted_proxies: [▸0.0.0.0/0, ▸'::/0']",
        *[(f"trusted_proxies[{index}]", "any client can claim any address") for index in range(2)],
    ),
    "cookie for scripts": case(
        "session: {keys: [$KEY], cookie: {http_only: ▸false}}", ("session.cookie.http_only", "any script")
    ),
    "cookie in clear text": case(
        HTTPS + "session: {keys: [$KEY], cookie: {secure: ▸false}}",
        ("session.cookie.secure", "also travels in clear text"),
    ),
    "cookie that is dropped": case(
        "public_url: ▸http://a.lan\nsession: {keys: [$KEY], cookie: {secure: ▸true}}",
        ("public_url", "clear text"),
        ("session.cookie.secure", "nobody can log in"),
    ),
    "cookie kept from us": case(
        "session: {keys: [$KEY], cookie: {path: ▸/app}}", ("session.cookie.path", "no portal and no logout")
    ),
    "idle without effect": case("session: {keys: [$KEY], idle: ▸1d, lifetime: 12h}", ("session.idle", "has no effect")),
    "remembered too long": case("session: {keys: [$KEY], remember: ▸500d}", ("session.remember", "400 days")),
    "remembered too short": case("session: {keys: [$KEY], remember: ▸1h}", ("session.remember", "forgotten sooner")),
    "rules told apart by case": case(
        "routes: [{name: a, upstream: http://a, rules: [{path: /Admin, public: true}, {path: ▸/admin}]}]",
        ("routes[0].rules[1].path", 'differs from "/Admin" in upper and lower case alone'),
    ),
    "routes told apart by case": case(
        "routes:\n  - {name: a, path: /App, public: true, upstream: http://a}\n"
        "  - {name: b, path: ▸/app, upstream: [http://b, http://a]}",
        ("routes[1].path", "whoever the allow of routes[0] lets in may get here too"),
    ),
    "transfer to whoever holds a name": case(
        "routes: [{name: a, host: '*.example.com', upstream: http://a, transfer: ▸true}]",
        ("routes[0].transfer", "gives sessions to every host below example.com (route a): whoever holds one name"),
    ),
    "template in a route": case(
        "routes: [{name: a, upstream: http://a, headers: {X-A: ▸'{user}'}}]", ("routes[0].headers.X-A", "as it stands")
    ),
    "apps where people log in": case(
        HTTPS + "routes:\n  - ▸{name: a, path: /a, upstream: http://a}\n"
        "  - {name: b, host: ▸login.example.com, upstream: http://b, service_worker: ▸true}\n"
        "  - {name: c, host: ▸'*.example.com', upstream: http://c}\n"
        "  - {name: d, host: '*.login.example.com', upstream: http://d}\n",
        ("routes[0]", "is served on login.example.com, the host of public_url"),
        ("routes[1].host", "give public_url a host of its own"),
        ("routes[1].service_worker", "in place of the login page"),
        ("routes[2].host", "people log in"),
    ),
}
LOGIN = "\nlogin: {local: {users: users.yaml}}"
SOME_ROUTE = "\nroutes: [{name: a, host: a.example.com, upstream: http://a}]"


@pytest.mark.parametrize("expected", WARNINGS.values(), ids=WARNINGS)
def test_what_is_hardly_meant_is_a_warning_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text.replace("$KEY", KEY))
    text += LOGIN + ("" if "routes:" in text else SOME_ROUTE)
    assert_case("gateway.yaml", list(settings_of(text).warnings), places, expected)


def test_a_gateway_that_nobody_can_enter_or_that_serves_nothing_is_a_warning() -> None:
    assert [warning.key for warning in settings_of("listen: 127.0.0.1:8080").warnings] == ["routes", "login"]


CASES_OF_LETTERS = [
    "{name: a, path: /App, upstream: http://a}, {name: b, path: /app, upstream: http://a}",
    "{name: a, path: /App, public: true, upstream: http://a}, {name: b, path: /app, upstream: http://b}",
    "{name: a, path: /App, public: true, upstream: http://a}, {name: b, path: /app/x, upstream: http://a}",
    "{name: a, upstream: http://a, rules: [{path: /A, allow: {users: [x]}}, {path: /a, allow: {users: [x]}}]}",
]


@pytest.mark.parametrize("routes", CASES_OF_LETTERS)
def test_paths_told_apart_by_case_that_open_nothing_more_are_no_warning(routes: str) -> None:
    """The same people get in, or by another app's address: then both spellings are just served."""
    assert settings_of(f"listen: 127.0.0.1:8080{LOGIN}\nroutes: [{routes}]").warnings == ()


def test_an_ordinary_configuration_has_no_warnings() -> None:
    assert settings_of(HTTPS + LOGIN + SOME_ROUTE).warnings == ()
    assert settings_of("listen: 127.0.0.1:8080" + LOGIN + SOME_ROUTE).warnings == ()


def test_a_wildcard_on_which_nobody_can_log_in_is_a_warning() -> None:
    """It has a login page of its own, which needs local users, unless sessions get there."""
    providers = "\nlogin: {oidc: [{id: sso, issuer: 'https://sso.example.com', client_id: x, client_secret: y}]}"
    for login, keys, host, expected in (
        (providers, "", "*.b.com", ["routes[0].host"]),
        (LOGIN, "", "*.b.com", []),
        (providers, "", "c.b.com", []),
        (providers, ", transfer: true", "*.b.com", ["routes[0].transfer"]),
    ):
        text = HTTPS.replace("example.com", "a.com") + login
        text += f"\nroutes: [{{name: a, host: '{host}', upstream: http://a, allow: {{groups: [x]}}{keys}}}]"
        assert [warning.key for warning in settings_of(text).warnings] == expected
