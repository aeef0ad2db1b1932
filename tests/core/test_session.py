"""How long sessions live, who is next, what may be sent twice, what is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.balance import RoundRobin
from gateway.core.identity import Identity
from gateway.core.metrics import LATENCY_BOUNDS, RouteCounters
from gateway.core.retry import may_replay
from gateway.core.session import Lifetimes, start_session
from gateway.core.upstream import UpstreamAddress, UpstreamTls

WHO = Identity("alice")
TIMES = st.floats(0, 1e10, allow_nan=False)
SPANS = st.floats(0.1, 1e8, allow_nan=False)


@given(TIMES, SPANS, SPANS, st.lists(SPANS, max_size=5))
def test_no_renewal_moves_the_absolute_end(now: float, idle: float, absolute: float, steps: list[float]) -> None:
    """A session that is used goes on, but never beyond its absolute end."""
    session = start_session(bytes(16), WHO, Lifetimes(idle, absolute), remember=False, now=now)
    end = session.expires
    for step in steps:
        now += step
        session = session.touched(now)
        assert session.expires == end == session.created + absolute
        assert session.ends() == min(end, now + idle)


@given(TIMES, st.floats(-1e6, 1e6))
def test_a_clock_set_back_shortens_nothing(now: float, shift: float) -> None:
    """The last use never moves into the past, and a use in the past is none."""
    session = start_session(bytes(16), WHO, Lifetimes(), remember=False, now=now)
    assert session.touched(now + shift).seen == max(now, now + shift)


def test_a_remembered_session() -> None:
    """It has a long absolute life and no idle limit; where remembering is off it is an ordinary one."""
    long = start_session(bytes(16), WHO, Lifetimes(10, 100, 1000), remember=True, now=5)
    assert (long.expires, long.idle, long.remembered, long.ends()) == (1005, None, True, 1005)
    off = start_session(bytes(16), WHO, Lifetimes(10, 100, None), remember=True, now=5)
    assert (off.expires, off.idle, off.remembered, off.ends()) == (105, 10, False, 15)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_an_id_has_its_size(size: int) -> None:
    """An id that could be guessed is not taken."""
    with pytest.raises(ValueError, match="16 bytes"):
        start_session(bytes(size), WHO, Lifetimes(), remember=False, now=0)


@pytest.mark.parametrize(("idle", "interval"), [(1800, 60), (600, 60), (300, 30), (1, 0.1)])
def test_how_often_a_session_is_renewed(idle: float, interval: float) -> None:
    """At most once per 10 % of the idle time, or per minute."""
    assert Lifetimes(idle=idle).renewal_interval() == pytest.approx(interval)


@given(st.integers(1, 7), st.integers(1, 30))
def test_addresses_take_turns(count: int, rounds: int) -> None:
    """Every order holds every address once, and in any row of requests each comes first equally often."""
    balancer, choices = RoundRobin(), list(range(count))
    orders = [balancer.order(choices) for _ in range(rounds)]
    assert all(sorted(order) == choices for order in orders)
    firsts = [order[0] for order in orders]
    counts = [firsts.count(choice) for choice in choices]
    assert max(counts) - min(counts) <= 1


def test_fewer_addresses_are_no_fault() -> None:
    """A list that has become shorter is served from where it is."""
    balancer = RoundRobin()
    for choices in ([1, 2, 3], [1, 2, 3], [1], [1, 2]):
        assert sorted(balancer.order(choices)) == choices


@pytest.mark.parametrize(
    ("method", "body", "may"),
    [("GET", False, True), ("HEAD", False, True), ("OPTIONS", False, True), ("GET", True, False), ("POST",
    False, False),
     ("PUT", False, False), ("DELETE", False, False), ("get", False, False), ("PROPFIND", False, False)],
)  # fmt: skip
def test_what_may_be_sent_twice(method: str, body: bool, may: bool) -> None:
    """A proxy repeats what is safe and has no body (RFC 9110 §9.2.2), and nothing it does not know."""
    assert may_replay(method, has_body=body) is may


@given(st.lists(st.floats(0, 100, allow_nan=False), max_size=20))
def test_each_answer_is_counted_once(seconds: list[float]) -> None:
    """The histogram holds every answer in the first bucket whose bound it does not exceed."""
    counters = RouteCounters()
    for value in seconds:
        counters.record(200, value)
    assert sum(counters.latency) == len(seconds) == counters.by_status.get(200, 0)
    for index, bound in enumerate(LATENCY_BOUNDS):
        assert sum(counters.latency[: index + 1]) == sum(value <= bound for value in seconds)


ADDRESSES = [
    (UpstreamAddress("app", 80), "http://app:80", "app"),
    (UpstreamAddress("app", 8080), "http://app:8080", "app:8080"),
    (UpstreamAddress("app", 443, tls=UpstreamTls()), "https://app:443", "app"),
    (UpstreamAddress("app", 80, tls=UpstreamTls()), "https://app:80", "app:80"),
    (UpstreamAddress("::1", 443), "http://[::1]:443", "[::1]:443"),
    (UpstreamAddress(path="/run/app.sock"), "unix:/run/app.sock", "localhost"),
]


@pytest.mark.parametrize(("address", "text", "authority"), ADDRESSES)
def test_an_address_as_text(address: UpstreamAddress, text: str, authority: str) -> None:
    """As logged, and as the Host of a request that does not keep the client's (RFC 9110 §7.2)."""
    assert (str(address), address.authority()) == (text, authority)
