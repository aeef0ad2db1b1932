"""Wrong keys and values, each told at its line and column."""

from __future__ import annotations

import pytest

from tests.settings.support import KEY, MARK, Case, assert_case, case, problems_of, unmarked

ROUTE = "routes:\n  - name: wiki\n    upstream: http://wiki:3000\n"

CASES = {
    # --- keys
    "unknown key, nearly known": case("▸lisen: 127.0.0.1:80", ("lisen", 'no such key; did you mean "listen"?')),
    "unknown key, nothing near": case("log: {▸zzz: 1}", ("log.zzz", "no such key; known here: access, audit, level")),
    "unknown key deep inside": case(
        ROUTE + "    allow: {▸gruops: [a]}", ("routes[0].allow.gruops", 'did you mean "groups"?')
    ),
    "unknown key in a rule": case(
        ROUTE + "    rules:\n      - path: /x\n        ▸alow: {}", ("routes[0].rules[0].alow", 'did you mean "allow"?')
    ),
    "unknown key of an upstream": case(
        "routes:\n  - name: a\n    upstream: {url: https://a, ▸servername: x}",
        ("routes[0].upstream.servername", 'did you mean "server_name"?'),
    ),
    "unknown limit": case("limits: {▸head_tiem: 5s}", ("limits.head_tiem", 'did you mean "head_time"?')),
    "unknown key among many": case("limits: {▸zzzzzz: 5s}", ("limits.zzzzzz", "`gateway schema` names all")),
    "key with odd characters": case('log: {▸"a b\\n": 1}', ('log["a b\N{REPLACEMENT CHARACTER}"]', "no such key")),
    "missing name": case("routes:\n  - ▸upstream: http://a", ("routes[0].name", "is missing")),
    "missing upstream": case("routes:\n  - ▸name: a", ("routes[0].upstream", "is missing")),
    "missing tls key": case("tls: ▸{certificate: a.pem}", ("tls.key", "is missing")),
    "missing users": case("login:\n  local: ▸{}", ("login.local.users", "is missing")),
    "missing url": case("routes:\n  - {name: a, upstream: ▸{ca: a.pem}}", ("routes[0].upstream.url", "is missing")),
    # --- shapes
    "text for a mapping": case("session: {keys: [$KEY], cookie: ▸hello}", ("session.cookie", "should be a mapping")),
    "nothing for a mapping": case(ROUTE + "    allow:▸", ("routes[0].allow", "should be a mapping")),
    "a group for allow": case(ROUTE + "    allow: ▸staff", ("routes[0].allow", 'as "allow: {groups: [staff]}"')),
    "a time for a timeout": case(ROUTE + "    timeout: ▸5s", ("routes[0].timeout", 'as "timeout: {response: 60s}"')),
    "a file for local": case("login: {local: ▸a.yaml}", ("login.local", 'as "local: {users: users.yaml}"')),
    "text for a list": case(ROUTE + "    allow: {groups: ▸staff}", ("routes[0].allow.groups", "should be a list")),
    "nothing for a list": case(ROUTE + "    allow: {groups:▸ }", ("routes[0].allow.groups", "should be a list")),
    "number for a route": case("routes: [▸7]", ("routes[0]", "should be a mapping")),
    "list for a duration": case("limits: {head_time: ▸[]}", ("limits.head_time", "a list is not a duration")),
    "number for a group": case(ROUTE + "    allow: {groups: [▸1]}", ("routes[0].allow.groups[0]", "put it in quotes")),
    # --- words
    "yes for true": case(ROUTE + "    public: ▸yes", ("routes[0].public", '"yes" is not true or false')),
    "number for true": case(ROUTE + "    websocket: ▸1", ("routes[0].websocket", "1 is not true or false")),
    "wrong word": case(
        "session: {keys: [$KEY], cookie: {same_site: ▸Lax}}",
        ("session.cookie.same_site", '"Lax" is not one of lax, strict, none; did you mean "lax"?'),
    ),
    "wrong secure": case(
        "session: {keys: [$KEY], cookie: {secure: ▸always}}", ("session.cookie.secure", "is not auto, true or false")
    ),
    "wrong level": case("log: {level: ▸warn}", ("log.level", 'did you mean "warning"?')),
    "misspelt log target": case("log: {access: ▸stdot}", ("log.access", 'did you mean "stdout"?')),
    "wrong slashes": case(ROUTE + "    encoded_slashes: ▸allow", ("routes[0].encoded_slashes", "one of reject, pass")),
    # --- durations, sizes, counts
    "duration without unit": case("limits: {head_time: ▸10}", ("limits.head_time", "write 500ms, 5s, 30m, 12h or 30d")),
    "duration in words": case(
        "session:\n  keys: [$KEY]\n  idle: ▸5 minutes", ("session.idle", '"5 minutes" is not a duration')
    ),
    "duration of nothing": case("limits: {head_time: ▸0s}", ("limits.head_time", "above zero")),
    "duration beyond all bounds": case("limits: {head_time: ▸99999999d}", ("limits.head_time", "up to 3650d")),
    "size in words": case("limits: {body: ▸much}", ("limits.body", "write 8KiB, 10MB or a number of bytes")),
    "size of nothing": case("limits: {body: ▸0}", ("limits.body", "above zero")),
    "size below nothing": case("limits: {body: ▸-1}", ("limits.body", "above zero")),
    "count with a unit": case("limits: {connections: ▸10KB}", ("limits.connections", "a whole number above zero")),
    "count that is a truth value": case("limits: {connections: ▸true}", ("limits.connections", "a whole number")),
    # --- addresses
    "listen without host": case("listen: ▸:8080", ("listen", "write 0.0.0.0:8080 or [::]:8080")),
    "listen without port": case("listen: ▸localhost", ("listen", "is not an address to listen on")),
    "listen on a number": case("listen: ▸8080", ("listen", "8080 is not an address to listen on")),
    "listen on no port of TCP": case("listen: ▸127.0.0.1:70000", ("listen", "listen on: a port is 65535 at most")),
    "listen on a port of many digits": case("listen: ▸127.0.0.1:1234567", ("listen", "a port is 65535 at most")),
    "upstream on no port of TCP": case(
        "routes:\n  - name: a\n    upstream: ▸http://a:70000", ("routes[0].upstream", "a port is 65535 at most")
    ),
    "listen on a bare IPv6 address": case("listen: ▸::1:80", ("listen", "[::1]:8080")),
    "listen on nothing": case("listen: ▸[]", ("listen", "at least one")),
    "one of several listeners": case("listen: [127.0.0.1:1, ▸x]", ("listen[1]", "is not an address to listen on")),
    "unix socket without path": case("listen: ▸'unix:'", ("listen", "is not a unix socket")),
    "public_url without scheme": case("public_url: ▸example.com", ("public_url", "is not a URL")),
    "public_url of another scheme": case("public_url: ▸ftp://example.com", ("public_url", "is not a URL")),
    "public_url with a path": case("public_url: ▸https://e.com/x", ("public_url", "write https://e.com")),
    "public_url with credentials": case(
        "public_url: ▸https://u:hunter2@e.com", ("public_url", "user name or password")
    ),
    "public_url with an odd host": case("public_url: ▸https://e..com", ("public_url", "is not a host")),
    "upstream with a path": case(
        "routes: [{name: a, upstream: ▸http://a/x}]", ("routes[0].upstream", "no path and no query: write http://a")
    ),
    "upstream with a slash": case("routes: [{name: a, upstream: ▸http://a/}]", ("routes[0].upstream", "no path")),
    "upstream with a query": case("routes: [{name: a, upstream: ▸'http://a?x'}]", ("routes[0].upstream", "no path")),
    "upstream with credentials": case(
        "routes: [{name: a, upstream: ▸http://u:p@a}]", ("routes[0].upstream", "user name or password")
    ),
    "upstream of another scheme": case("routes: [{name: a, upstream: ▸h2c://a}]", ("routes[0].upstream", "unix:/path")),
    "upstream that is a number": case("routes: [{name: a, upstream: ▸80}]", ("routes[0].upstream", "80 is not")),
    "upstream with a port beyond": case(
        "routes: [{name: a, upstream: ▸http://a:99999}]", ("routes[0].upstream", "not")
    ),
    "no upstream at all": case("routes: [{name: a, upstream: ▸[]}]", ("routes[0].upstream", "at least one")),
    "second of several upstreams": case(
        "routes: [{name: a, upstream: [http://a, ▸b]}]", ("routes[0].upstream[1]", '"b" is not an upstream')
    ),
    "url in a mapping": case(
        "routes: [{name: a, upstream: {url: ▸b}}]", ("routes[0].upstream.url", '"b" is not an upstream')
    ),
    "proxy network with bits behind its prefix": case(
        "trusted_proxies: [▸10.0.0.1/8]", ("trusted_proxies[0]", "write 10.0.0.0/8")
    ),
    "proxy network that is none": case("trusted_proxies: [▸proxy]", ("trusted_proxies[0]", "is not a network")),
    "proxy network in mapped form": case(
        "trusted_proxies: [▸'::ffff:10.0.0.0/104']", ("trusted_proxies[0]", "write it as an IPv4 network")
    ),
    # --- cookies
    "cookie name with a space": case(
        "session: {keys: [$KEY], cookie: {name: ▸a b}}", ("session.cookie.name", "is not the name of a cookie")
    ),
    "cookie with an unknown prefix": case(
        "session: {keys: [$KEY], cookie: {name: ▸__host-a}}", ("session.cookie.name", "only __Host- and __Secure-")
    ),
    "cookie that is only a prefix": case(
        "session: {keys: [$KEY], cookie: {name: ▸__Host-}}", ("session.cookie.name", "has to follow its prefix")
    ),
    "cookie domain with a dot in front": case(
        "session: {keys: [$KEY], cookie: {domain: ▸.localhost.lan}}", ("session.cookie.domain", "write localhost.lan")
    ),
    "cookie domain without a dot": case(
        "session: {keys: [$KEY], cookie: {domain: ▸localhost}}", ("session.cookie.domain", "a dot in it")
    ),
    "cookie domain that is an address": case(
        "session: {keys: [$KEY], cookie: {domain: ▸10.0.0.1}}", ("session.cookie.domain", "a dot in it")
    ),
    "cookie path with a query": case(
        "session: {keys: [$KEY], cookie: {path: ▸'/a?b'}}", ("session.cookie.path", "leave out the query")
    ),
    # --- identity
    "unknown placeholder": case(
        "identity: {headers: {X-A: ▸'{usr}'}}", ("identity.headers.X-A", 'did you mean "{user}"?')
    ),
    "placeholder of nobody": case(
        "identity: {headers: {X-A: ▸'{zzzzz}'}}", ("identity.headers.X-A", "known are {user}, {name}")
    ),
    "claim without a name": case("identity: {headers: {X-A: ▸'{claims.}'}}", ("identity.headers.X-A", "is not known")),
    "open brace": case("identity: {headers: {X-A: ▸'{user'}}", ("identity.headers.X-A", "belongs to no placeholder")),
    "template with a line break": case(
        'identity: {headers: {X-A: ▸"{user}\\r\\nX: y"}}', ("identity.headers.X-A", "printable ASCII")
    ),
    "identity header of framing": case(
        "identity: {headers: {▸content_length: '{user}'}}",
        ("identity.headers.content_length", "is not a header to be set"),
    ),
    "identity header of the connection": case(
        "identity: {headers: {▸X-Forwarded-For: '{user}'}}",
        ("identity.headers.X-Forwarded-For", "not a header to be set"),
    ),
    "identity header that is no token": case(
        "identity: {headers: {▸'X A': '{user}'}}", ('identity.headers["X A"]', "is not the name of a header")
    ),
    "answer header of framing": case(
        "identity: {drop_response_headers: [▸Content-Length]}",
        ("identity.drop_response_headers[0]", "carries the answer"),
    ),
    "a token's algorithm": case(
        "identity: {token: {algorithm: ▸HS256}}", ("identity.token.algorithm", "one of ES256, EdDSA")
    ),
    "a token's header": case("identity: {token: {header: ▸Cookie}}", ("identity.token.header", "carries the message")),
    "a route's audience": case(
        "routes: [{name: a, upstream: http://a, token: ▸3}]", ("routes[0].token", "the audience of the token")
    ),
}

ROUTE_CASES = {
    "name in upper case": case("  - {name: ▸Wiki, upstream: http://a}", ("routes[0].name", "a to z")),
    "name of the gateway itself": case("  - {name: ▸gateway, upstream: http://a}", ("routes[0].name", "own pages")),
    "title with a line break": case(
        '  - {name: a, upstream: http://a, title: ▸"a\\nb"}', ("routes[0].title", "control")
    ),
    "host in upper case": case(
        "  - {name: a, upstream: http://a, host: ▸Wiki.lan}", ("routes[0].host", "write wiki.lan")
    ),
    "host with a port": case(
        "  - {name: a, upstream: http://a, host: ▸'a.lan:80'}", ("routes[0].host", "leave out the port")
    ),
    "host with a scheme": case(
        "  - {name: a, upstream: http://a, host: ▸http://a.lan}", ("routes[0].host", "the scheme")
    ),
    "host with a star inside": case(
        "  - {name: a, upstream: http://a, host: ▸a.*.lan}", ("routes[0].host", "in front")
    ),
    "host that is a star": case(
        "  - {name: a, upstream: http://a, host: ▸'*'}", ("routes[0].host", "leave the key out")
    ),
    "host that is empty": case("  - {name: a, upstream: http://a, host: ▸''}", ("routes[0].host", "leave the key out")),
    "host with a star before an address": case(
        "  - {name: a, upstream: http://a, host: ▸'*.10.0.0.1'}", ("routes[0].host", "not of an address")
    ),
    "host that is nearly an address": case(
        "  - {name: a, upstream: http://a, host: ▸10.0.0.300}", ("routes[0].host", "no IPv4 address")
    ),
    "host not in ASCII": case("  - {name: a, upstream: http://a, host: ▸bücher.lan}", ("routes[0].host", "xn--")),
    "host with a final dot": case(
        "  - {name: a, upstream: http://a, host: ▸a.lan.}", ("routes[0].host", "is not a host")
    ),
    "path without a slash": case("  - {name: a, upstream: http://a, path: ▸wiki}", ("routes[0].path", "starts with /")),
    "path with dots": case("  - {name: a, upstream: http://a, path: ▸/a/../b}", ("routes[0].path", "no . or ..")),
    "path with an empty segment": case(
        "  - {name: a, upstream: http://a, path: ▸/a//b}", ("routes[0].path", "no empty")
    ),
    "path with a query": case(
        "  - {name: a, upstream: http://a, path: ▸'/a?b'}", ("routes[0].path", "leave out the query")
    ),
    "path with an escape": case("  - {name: a, upstream: http://a, path: ▸/a%20b}", ("routes[0].path", "encoded")),
    "path with a space": case("  - {name: a, upstream: http://a, path: ▸/a b}", ("routes[0].path", "without spaces")),
    "path with a star": case("  - {name: a, upstream: http://a, path: ▸/a/*}", ("routes[0].path", "leave out the *")),
    "path of the gateway": case(
        "  - {name: a, upstream: http://a, path: ▸/_gateway/x}", ("routes[0].path", "gateway's own")
    ),
    "path of the gateway in upper case": case(
        "  - {name: a, upstream: http://a, path: ▸/_Gateway}", ("routes[0].path", "own")
    ),
    "method in lower case": case(
        "  - {name: a, upstream: http://a, allow: {methods: [▸get]}}", ("routes[0].allow.methods[0]", "write GET")
    ),
    "method with a space": case(
        "  - {name: a, upstream: http://a, allow: {methods: [▸G T]}}", ("routes[0].allow.methods[0]", "write GET, POST")
    ),
    "email pattern that admits a neighbour": case(
        "  - {name: a, upstream: http://a, allow: {emails: [▸'*@*e.com']}}",
        ("routes[0].allow.emails[0]", "safe pattern"),
    ),
    "email without an at": case(
        "  - {name: a, upstream: http://a, allow: {emails: [▸alice]}}", ("routes[0].allow.emails[0]", "*@example.com")
    ),
    "group with a comma": case(
        "  - {name: a, upstream: http://a, allow: {groups: [▸'a,b']}}", ("routes[0].allow.groups[0]", "a comma")
    ),
    "user with a space at the end": case(
        "  - {name: a, upstream: http://a, allow: {users: [▸'a ']}}",
        ("routes[0].allow.users[0]", "no space at its ends"),
    ),
    "network that is none": case(
        "  - {name: a, upstream: http://a, allow: {networks: [▸lan]}}",
        ("routes[0].allow.networks[0]", "is not a network"),
    ),
    "origin with a path": case(
        "  - {name: a, upstream: http://a, origins: [▸https://a/b]}", ("routes[0].origins[0]", "write https://a")
    ),
    "origin that is none": case(
        "  - {name: a, upstream: http://a, origins: [▸'*']}", ("routes[0].origins[0]", "an origin")
    ),
    "header of framing": case(
        "  - {name: a, upstream: http://a, headers: {▸Transfer_Encoding: x}}",
        ("routes[0].headers.Transfer_Encoding", "not a header to be set"),
    ),
    "header Host": case(
        "  - {name: a, upstream: http://a, headers: {▸Host: x}}", ("routes[0].headers.Host", "not a header")
    ),
    "header Cookie": case(
        "  - {name: a, upstream: http://a, headers: {▸Cookie: x}}", ("routes[0].headers.Cookie", "not a header")
    ),
    "header with a number": case(
        "  - {name: a, upstream: http://a, headers: {X-A: ▸1}}", ("routes[0].headers.X-A", "put it in quotes")
    ),
    "header with a line break": case(
        '  - {name: a, upstream: http://a, headers: {X-A: ▸"a\\nb"}}', ("routes[0].headers.X-A", "printable ASCII")
    ),
    "passed header of framing": case(
        "  - {name: a, upstream: http://a, pass_headers: [▸Connection]}", ("routes[0].pass_headers[0]", "not a header")
    ),
    "timeout without a unit": case(
        "  - {name: a, upstream: http://a, timeout: {connect: ▸5}}", ("routes[0].timeout.connect", "500ms")
    ),
    "server name with a port": case(
        "  - {name: a, upstream: {url: https://a, server_name: ▸'a:1'}}", ("routes[0].upstream.server_name", "a host")
    ),
}

KEY_CASES = {
    "empty session": case("session: ▸{}", ("session.keys", "is missing; make one with `gateway new-key`")),
    "no keys": case(
        "session: {keys: ▸[]}", ("session.keys", "should hold at least one key; make one with `gateway new-key`")
    ),
    "short key": case("session: {keys: [▸abc]}", ("session.keys[0]", "make one with `gateway new-key`")),
    "no list": case("session: {keys: ▸abc}", ("session.keys", "should be a list")),
    "empty key": case("session: {keys: [▸'${EMPTY}']}", ("session.keys[0]", "make one with `gateway new-key`")),
    "unset key": case(
        "session: {keys: [▸'${NO_KEY}']}",
        ("session.keys[0]", "the environment variable NO_KEY is not set; make one with `gateway new-key`"),
    ),
    "key in a file that is missing": case(
        "session: {keys: [▸'${file:none}']}",
        ("session.keys[0]", "No such file or directory; make one with `gateway new-key`"),
    ),
    "key of zeros": case(f"session: {{keys: [▸{'A' * 43}]}}", ("session.keys[0]", "not drawn at random")),
    "key of words": case(
        "session: {keys: [▸replace-me-with-a-key-from-gateway-new-keyA]}", ("session.keys[0]", "not drawn at random")
    ),
    "key of a pattern": case(
        "session: {keys: [▸AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8]}", ("session.keys[0]", "not drawn at random")
    ),
    "key with stray bits": case(
        f"session: {{keys: [▸{KEY[:-1] + chr(ord(KEY[-1]) + 1)}]}}", ("session.keys[0]", "not a key")
    ),
    "one key twice": case(
        "session: {keys: ['${KEY}', '${OTHER_KEY}', ▸'${KEY}']}", ("session.keys[2]", "the same key as session.keys[0]")
    ),
}


def test_a_mark_is_taken_out_and_found() -> None:
    assert unmarked(f"ab{MARK}c\n{MARK}d") == ("abc\nd", [(1, 3), (2, 1)])


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_a_wrong_key_or_value_is_told_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text.replace("$KEY", KEY))
    assert_case("gateway.yaml", problems_of(text), places, expected)


@pytest.mark.parametrize("expected", ROUTE_CASES.values(), ids=ROUTE_CASES)
def test_a_wrong_value_of_a_route_is_told_at_its_place(expected: Case) -> None:
    text, places = unmarked(f"routes:\n{expected.text}")
    assert_case("gateway.yaml", problems_of(text), places, expected)


@pytest.mark.parametrize("expected", KEY_CASES.values(), ids=KEY_CASES)
def test_a_missing_or_bad_session_key_is_told_with_the_command_that_makes_one(expected: Case) -> None:
    text, places = unmarked(expected.text)
    assert_case("gateway.yaml", problems_of(text), places, expected)


def test_everything_is_reported_at_once_and_in_the_order_of_the_file() -> None:
    text, places = unmarked(
        "listen: ▸8080\n"
        "▸public_ulr: x\n"
        "session:\n  keys: [▸'${NO_KEY}']\n  idle: ▸5\n"
        "routes:\n"
        "  - name: a\n    upstream: http://a\n    path: /x\n"
        "  - ▸name: b\n    path: /y\n    allow: {▸gruops: [x]}\n"
        "  - name: ▸a\n    upstream: http://c\n    path: ▸z\n"
        "  - name: d\n    upstream: http://d\n    public: true\n    allow: ▸{groups: [x]}\n"
    )
    found = problems_of(text)
    # The wrong path of the third route hides that its name is taken: only what is sound is compared.
    places.remove((13, 11))
    assert [problem.where for problem in found] == [f"gateway.yaml:{line}:{column}" for line, column in places]
    assert [problem.key for problem in found] == [
        "listen",
        "public_ulr",
        "session.keys[0]",
        "session.idle",
        "routes[1].upstream",
        "routes[1].allow.gruops",
        "routes[2].path",
        "routes[3].allow",
    ]


SECRETS = {
    "key too short": "session: {keys: [hunter2]}",
    "key from the environment": "session: {keys: ['${SECRET}']}",
    "value from the environment": "listen: ${SECRET}\nsession: {keys: []}",
    "url with a password": "public_url: ftp://admin:hunter2@host",
    "upstream with a password": "routes: [{name: a, upstream: http://admin:hunter2@host}]",
    "upstream with a token": "routes: [{name: a, upstream: 'http://host/?token=hunter2'}]",
    "store with a password": "session: {keys: [], store: 'redis://:hunter2@host'}",
    "header value": 'routes: [{name: a, upstream: http://a, headers: {X-Token: "hunter2\\n"}}]',
    "syntax mistake": "session: {keys: [hunter2",
    "tag": "session: {keys: [!int hunter2]}",
    "broken interpolation": "session: {keys: ['${hunter2!}']}",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_no_error_repeats_a_secret(text: str) -> None:
    assert "hunter2" not in "\n".join(map(str, problems_of(text)))


@pytest.mark.parametrize("value", ["${file:.}", "${KEY"])
def test_a_key_that_may_be_there_is_not_to_be_made_anew(value: str) -> None:
    (problem,) = problems_of(f"session: {{keys: ['{value}']}}")
    assert "gateway new-key" not in problem.text


def test_a_mapping_with_other_keys_gets_no_example_of_another() -> None:
    (problem,) = problems_of("session: {keys: ['${KEY}'], store: 'redis://a', redis: {timeout: 5s}}")
    assert problem.text == "should be a mapping: keys with values"
