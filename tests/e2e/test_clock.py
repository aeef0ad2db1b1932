"""The running program while its clock jumps, and long after 32 bits have ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime

import pytest

from tests.conftest import StartGateway
from tests.support.clock import SetClock
from tests.support.gateway import GatewayProcess, gateway_config, new_key, route
from tests.support.redis_server import PREFIX, Servers, session_part
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE
from tests.support.visitor import PROGRAM, Visitor, logged_in
from tests.support.waiting import wait_for

HOUR = timedelta(hours=1)
YEAR = timedelta(days=365.25)
LIFETIME = 6 * 3600


@dataclass
class Stage:
    """A gateway and its clock."""

    gateway: GatewayProcess
    clock: SetClock
    records: Callable[[], list[int]] | None
    """Returns for how many milliseconds each session's record is still kept, where Redis keeps them."""

    def check_records(self, longest: float) -> None:
        """Check that there are records, each kept for some time, and none for longer than ``longest`` seconds."""
        if self.records is not None:
            left = self.records()
            assert left
            assert all(0 < milliseconds <= longest * 1000 for milliseconds in left), left

    def jump(self, offset: timedelta) -> None:
        """Set the clock, and wait until the program has looked at it."""
        self.clock.jump(self.gateway, offset)


@pytest.fixture(params=["cookie", "sqlite", "redis"])
def stage(
    request: pytest.FixtureRequest,
    start_gateway: StartGateway,
    recorder: RecorderUpstream,
    redis_single: Servers,
    clock: SetClock,
) -> Stage:
    config = gateway_config(route("app", "/", recorder.url), workers=2)
    config["session"] |= {"store": request.param, "idle": "30m", "lifetime": f"{LIFETIME}s"}
    if request.param == "redis":
        config["session"] |= session_part(redis_single.address, new_key())

    def records() -> list[int]:
        return [int(redis_single.do(name, "PTTL", name)) for name in redis_single.names(f"{PREFIX}s:*")]

    return Stage(start_gateway(config, env=clock.env), clock, records if request.param == "redis" else None)


def is_let_in(visitor: Visitor) -> bool:
    """Tell whether a session opens the app; nothing but yes or "log in" is an answer."""
    status = visitor.get("/x", PROGRAM).status
    assert status in (200, 401), status
    return status == 200


def test_a_clock_that_jumps_ahead(stage: Stage) -> None:
    """What would have run out by then has run out, at once and for good; a new session lives as long as any."""
    before = logged_in(stage.gateway, ALICE)
    assert is_let_in(before)
    stage.jump(HOUR)
    assert not is_let_in(before), "idle for an hour, by the clock"
    after = logged_in(stage.gateway, ALICE)
    assert is_let_in(after)
    stage.jump(timedelta())
    # Set back again by an hour: it comes from the future now, and must not live for longer because of that.
    stage.jump(HOUR + timedelta(minutes=31))
    assert not is_let_in(after)
    assert not is_let_in(before)


def test_a_clock_that_is_set_back(stage: Stage) -> None:
    """Nobody gets more time by it than a session has, and whoever logs in then is let in."""
    before = logged_in(stage.gateway, ALICE)
    assert is_let_in(before)
    stage.jump(-HOUR)
    is_let_in(before)
    after = logged_in(stage.gateway, ALICE)
    assert is_let_in(after)
    stage.check_records(LIFETIME)
    stage.jump(timedelta(seconds=LIFETIME) + timedelta(minutes=1))
    assert not is_let_in(before), "no session is immortal"
    assert not is_let_in(after)


def test_timers_do_not_follow_the_clock(stage: Stage) -> None:
    """A request under way, and connections that are kept, outlive a jump of a day in either direction."""
    with stage.gateway.connect() as client:
        for offset in (timedelta(days=1), timedelta(days=-1), timedelta()):
            client.send(f"GET /_gateway/me HTTP/1.1\r\nHost: {stage.gateway.authority}\r\n\r\n")
            assert client.answer().status == 401
            stage.jump(offset)
        client.send(f"GET /_gateway/me HTTP/1.1\r\nHost: {stage.gateway.authority}\r\n\r\n")
        assert client.answer().status == 401


@pytest.mark.parametrize("years", [14, 82, 100])
def test_long_after_2038(stage: Stage, years: int) -> None:
    """Sessions begin, go on, are remembered and end in 2040, in 2108 and after, when 32 bits are over."""
    offset = years * YEAR
    stage.jump(offset)
    visitor = Visitor(stage.gateway)
    answer = visitor.login(ALICE, remember=True)
    (line,) = [line for line in answer.get_all("Set-Cookie") if line.startswith("gateway_session=")]
    attributes = dict(part.partition("=")[::2] for part in line.split("; "))
    kept = parsedate_to_datetime(attributes["Expires"]).timestamp() - time.time() - offset.total_seconds()
    assert abs(kept - 30 * 86400) < 120
    assert is_let_in(visitor)
    stage.check_records(31 * 86400)
    stage.jump(offset + timedelta(days=29))
    assert is_let_in(visitor)
    stage.jump(offset + timedelta(days=31))
    assert not is_let_in(visitor)
    again = logged_in(stage.gateway, ALICE)
    assert is_let_in(again)
    old = dict(again.cookies)
    again.logout()
    again.cookies = old
    wait_for(lambda: not is_let_in(again), what="the session to end")
