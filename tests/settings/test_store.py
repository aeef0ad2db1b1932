"""Where sessions live: the words and URLs of `session.store`, and what `session.redis` adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.redis_address import RedisAddress, RedisTimes, Topology
from gateway.settings import check_files, json_schema
from tests.settings.support import KEY, Case, assert_case, case, problems_of, settings_of, unmarked

SINGLE, SENTINEL, CLUSTER = Topology.SINGLE, Topology.SENTINEL, Topology.CLUSTER

URLS = {
    "redis://redis": RedisAddress((("redis", 6379),)),
    "redis://redis:6380/5": RedisAddress((("redis", 6380),), database=5),
    "REDIS://Redis/": RedisAddress((("redis", 6379),)),
    "rediss://10.0.0.1/1": RedisAddress((("10.0.0.1", 6379),), database=1, tls=True),
    "redis://[2001:db8::1]:7000/0": RedisAddress((("2001:db8::1", 7000),)),
    "redis://:p%40ss%2Fw%25@redis": RedisAddress((("redis", 6379),), password="p@ss/w%"),
    "redis://gate:hunter:2@redis": RedisAddress((("redis", 6379),), username="gate", password="hunter:2"),
    "redis+sentinel://a,b:26380/main": RedisAddress((("a", 26379), ("b", 26380)), SENTINEL, "main"),
    "rediss+sentinel://a/main/3": RedisAddress((("a", 26379),), SENTINEL, "main", 3, tls=True),
    "redis+cluster://a,b:7001": RedisAddress((("a", 6379), ("b", 7001)), CLUSTER),
    "rediss+cluster://:x@a/0": RedisAddress((("a", 6379),), CLUSTER, tls=True, password="x"),
}

WRONG = {
    "a word": ("sqllite", 'did you mean "sqlite"?'),
    "the name alone": ("redis", 'did you mean "redis://host:6379/0"?'),
    "another product": ("memcached://hunter2", "write cookie, sqlite or redis://"),
    "a scheme that is nearly one": ("redis+sentinels://a:hunter2@b/main", 'did you mean "redis+sentinel"?'),
    "no host": ("redis:///hunter2", "after :// comes a host"),
    "a port beyond": ("redis://a:70000/hunter2", "after :// comes a host"),
    "a password that was not escaped": ("redis://:hunter2/x@b", "after :// comes a host"),
    "a number that was not escaped": ("redis://a:1/hunter2@b", "a database that is not a number"),
    "a user alone": ("redis://hunter2@b", "a user without a password"),
    "a broken escape": ("redis://:hunter2%4@b", "a % that belongs to no escape"),
    "an escape that is no UTF-8": ("redis://:hunter2%ff@b", "not UTF-8"),
    "a query": ("redis://b?password=hunter2", "without a query"),
    "several hosts": ("redis://:hunter2@a,b", "redis+cluster://"),
    "one host twice": ("redis+cluster://:hunter2@a,A", "one host twice"),
    "a bad host": ("redis://:hunter2@a_-/0", "a store with a host that is not"),
    "no service": ("redis+sentinel://:hunter2@a,b", "without the name of its service"),
    "a cluster's database": ("redis+cluster://:hunter2@a/1", "a Cluster has no databases"),
    "a database that is none": ("redis://:hunter2@a/main", "a database that is not a number"),
}

CASES = {
    "a store that is a number": case("session: {keys: [$KEY], store: ▸6379}", ("session.store", "is not where")),
    "settings without a Redis": case(
        "session: {keys: [$KEY], store: sqlite, redis: {▸password: hunter2}}",
        ("session.redis.password", "has no effect: session.store is `sqlite`"),
    ),
    "a password twice": case(
        "session: {keys: [$KEY], store: 'redis://:hunter2@a', redis: {▸password: hunter2}}",
        ("session.redis.password", "said twice"),
    ),
    "a user without a password": case(
        "session: {keys: [$KEY], store: 'redis://a', redis: {▸username: gate}}",
        ("session.redis.username", "needs session.redis.password"),
    ),
    "an empty password": case(
        "session: {keys: [$KEY], store: 'redis://a', redis: {password: ▸''}}",
        ("session.redis.password", "should not be empty"),
    ),
    "a certificate without TLS": case(
        "session: {keys: [$KEY], store: 'redis://a', redis: {▸ca: ca.pem}}", ("session.redis.ca", "write rediss")
    ),
    "a certificate without its key": case(
        "session: {keys: [$KEY], store: 'rediss://a', redis: {▸cert: c.pem}}",
        ("session.redis.cert", "needs session.redis.key"),
    ),
    "a Sentinel's password without Sentinels": case(
        "session: {keys: [$KEY], store: 'redis://a', redis: {▸sentinel_password: hunter2}}",
        ("session.redis.sentinel_password", "names no Sentinels"),
    ),
    "a prefix with a glob": case(
        "session: {keys: [$KEY], store: 'redis://a', redis: {prefix: ▸'a*'}}", ("session.redis.prefix", "letters")
    ),
    "a misspelt key": case(
        "session: {keys: [$KEY], store: 'redis://a', redis: {▸pasword: x}}",
        ("session.redis.pasword", 'did you mean "password"?'),
    ),
    "a call longer than a request": case(
        "session: {keys: [$KEY], store: 'redis://a', redis: {timeout: {call: ▸1s}}}",
        ("session.redis.timeout.call", "longer than session.redis.timeout.request"),
    ),
    "a wait without an end": case(
        "session: {keys: [$KEY], store: 'redis://a', redis: {timeout: {request: ▸11s}}}",
        ("session.redis.timeout.request", "is over 10s"),
    ),
    "times without a Redis": case(
        "session: {keys: [$KEY], redis: {▸timeout: {call: 100ms}}}",
        ("session.redis.timeout", "has no effect: session.store is `cookie`"),
    ),
    "a grace without a unit": case("session: {keys: [$KEY], grace: ▸0}", ("session.grace", "a duration")),
    "a negative grace": case("session: {keys: [$KEY], grace: ▸-1s}", ("session.grace", "a duration")),
}


def session_of(text: str) -> str:
    return f"session: {{keys: [{KEY}], {text}}}\n"


@pytest.mark.parametrize(("url", "address"), URLS.items(), ids=URLS)
def test_a_url_becomes_an_address(url: str, address: RedisAddress) -> None:
    settings = settings_of(session_of(f"store: '{url}'"))
    assert (settings.store, settings.redis) == ("redis", address)


@pytest.mark.parametrize("store", ["cookie", "sqlite"])
def test_a_store_on_this_host_has_no_address(store: str) -> None:
    settings = settings_of(session_of(f"store: {store}"))
    assert (settings.store, settings.redis, settings.grace) == (store, None, 60.0)


@pytest.mark.parametrize(("url", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_url_is_told_without_repeating_it(url: str, text: str) -> None:
    (problem,) = problems_of(session_of(f"store: '{url}'"))
    assert problem.key == "session.store"
    assert text in problem.text
    assert "hunter2" not in problem.text


@pytest.mark.parametrize("expected", CASES.values(), ids=CASES)
def test_what_does_not_fit_is_told_at_its_place(expected: Case) -> None:
    text, places = unmarked(expected.text.replace("$KEY", KEY))
    problems = problems_of(text)
    assert_case("gateway.yaml", problems, places, expected)
    assert "hunter2" not in "\n".join(map(str, problems))


def test_what_the_url_does_not_say() -> None:
    redis = "{username: gate, password: x y, sentinel_password: s, ca: ca.pem, cert: c.pem, key: /k.pem, prefix: 'a:'}"
    text = session_of(f"store: rediss+sentinel://a/main, redis: {redis}, grace: 0s")
    settings = settings_of(text, path=Path("/etc/gateway/gateway.yaml"))
    assert settings.grace == 0.0
    assert settings.redis == RedisAddress(
        (("a", 26379),), SENTINEL, "main", 0, tls=True, username="gate", password="x y", sentinel_password="s",
        ca="/etc/gateway/ca.pem", certificate="/etc/gateway/c.pem", key="/k.pem", prefix="a:",
    )  # fmt: skip


def test_how_long_redis_is_waited_for() -> None:
    """As long as written, and elsewhere as long as docs say."""
    settings = settings_of(session_of("store: 'redis://a', redis: {timeout: {call: 1s, request: 1.5s}}"))
    assert settings.redis == RedisAddress((("a", 6379),), times=RedisTimes(connect=0.5, call=1.0, request=1.5))
    assert RedisTimes() == RedisTimes(connect=0.5, call=0.25, request=0.5)


def test_a_route_has_a_grace_of_its_own() -> None:
    settings = settings_of(
        "routes: [{name: a, upstream: http://a, store_grace: 0s}, {name: b, upstream: http://b, path: /b}]"
    )
    assert [route.store_grace for route in settings.routes] == [0.0, None]


def test_no_text_of_the_settings_shows_a_password() -> None:
    settings = settings_of(session_of("store: 'redis://gate:hunter2@a', redis: {prefix: 'x:'}"))
    assert settings.redis is not None
    assert settings.redis.password == "hunter2"
    assert not any("hunter2" in text for text in (repr(settings), str(settings.redis), repr(settings.redis)))
    assert str(settings.redis) == "redis://a:6379/0"


def test_files_for_tls_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    text = session_of(f"store: rediss://a, redis: {{ca: {tmp_path}/ca.pem}}")
    found = [problem for problem in check_files(settings_of(text)) if problem.key.startswith("session")]
    assert [problem.key for problem in found] == ["session.redis.ca"]
    assert "no usable certificate" in found[0].text


def test_the_schema_knows_the_urls() -> None:
    store = json_schema()["$defs"]["Session"]["properties"]["store"]
    assert "sqlite" in str(store)
    assert "redis" in str(store)
