"""Parent and workers: what dies is replaced, what is reloaded or stopped loses no request, endings reach all."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.conftest import StartGateway
from tests.e2e.test_websocket import frames, handshake
from tests.support.gateway import Config, GatewayProcess, gateway_config, route
from tests.support.load import KeepAliveLoad
from tests.support.nginx import Nginx
from tests.support.raw import RawClient
from tests.support.upstream import RecorderUpstream
from tests.support.users import ALICE, BOB
from tests.support.visitor import Visitor, form_fields, logged_in
from tests.support.waiting import PATIENCE, wait_for
from tests.support.workers import worker_of, workers_of


def config_for(recorder: RecorderUpstream, *, workers: int | str = 2, **more: object) -> Config:
    """Return a configuration of several workers with one public app and one for users."""
    return gateway_config(
        route("open", "/open", recorder.url, public=True),
        route("app", "/", recorder.url),
        **{"workers": workers, **more},
    )


def statuses(visitor: Visitor, count: int = 16) -> set[int]:
    """Return what requests on connections of their own get; with two workers both have had some."""
    return {visitor.get("/x").status for _ in range(count)}


def metric(gateway: GatewayProcess, line: str) -> float:
    """Return one value of the metrics page; 0 where it is not there."""
    found = re.search(rf"^{re.escape(line)} (\S+)$", gateway.admin("/metrics"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_as_many_workers_as_configured(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Each worker is a process, and what they count is told as one sum."""
    gateway = start_gateway(config_for(recorder, workers=3))
    assert len(workers_of(gateway)) == 3
    for _ in range(30):
        assert Visitor(gateway).get("/open/x").status == 200
    counted = 'gateway_requests_total{route="open",status="200"}'
    wait_for(lambda: metric(gateway, counted) == 30, what="all to be counted")


def test_automatic_workers(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """`workers: auto` starts at least one, and no more than there are processors."""
    gateway = start_gateway(config_for(recorder, workers="auto"))
    assert 1 <= len(workers_of(gateway)) <= len(os.sched_getaffinity(0))
    assert Visitor(gateway).get("/open/x").status == 200


def test_logout_reaches_every_worker_at_once(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """When the answer to a logout is there, no worker knows the session any more."""
    gateway = start_gateway(config_for(recorder))
    for _ in range(5):
        alice = logged_in(gateway, ALICE)
        assert statuses(alice) == {200}
        cookies = dict(alice.cookies)
        assert alice.logout().status == 303
        alice.cookies = cookies
        assert statuses(alice) == {401}


def test_open_websockets_on_every_worker_end_with_the_session(
    start_gateway: StartGateway, recorder: RecorderUpstream
) -> None:
    """A logout closes the user's WebSockets with 1008 within five seconds, whichever worker has them."""
    gateway = start_gateway(config_for(recorder))
    alice, other = logged_in(gateway, ALICE), logged_in(gateway, ALICE)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(handshake(gateway, alice, "/ws")) for _ in range(8)]
        kept = stack.enter_context(handshake(gateway, other, "/ws"))
        assert {client.answer().status for client in [*sockets, kept]} == {101}
        assert alice.logout().status == 303
        assert {frames(client, 1)[0].close_code() for client in sockets} == {1008}
        assert kept.is_quiet(2.0)


def test_worker_that_hangs_does_not_hold_up_a_logout(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A stopped process takes no notice; the others do, and the user gets an answer, as do the metrics."""
    gateway = start_gateway(config_for(recorder))
    alice = logged_in(gateway, ALICE)

    def head(method: str, target: str) -> str:
        return f"{method} {target} HTTP/1.1\r\nHost: {gateway.authority}\r\nCookie: {alice.cookie_header()}\r\n"

    with RawClient(gateway.port) as client:
        client.send(head("GET", "/_gateway/logout") + "\r\n")
        page = client.answer()
        alice.keep_cookies(page)
        ours = worker_of(gateway, client)
        (stopped,) = set(workers_of(gateway)) - {ours}
        os.kill(stopped, signal.SIGSTOP)
        try:
            client.send(head("GET", "/x") + "\r\n")
            assert client.answer().status == 200
            form = urlencode({"csrf_token": form_fields(page.text())["csrf_token"]})
            client.send(
                head("POST", "/_gateway/logout")
                + "Content-Type: application/x-www-form-urlencoded\r\n"
                + f"Content-Length: {len(form)}\r\n\r\n{form}"
            )
            assert client.answer().status == 303
            client.send(head("GET", "/x") + "\r\n")
            assert client.answer().status == 401
            assert "gateway_requests_total" in gateway.admin("/metrics")
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_31_killed_worker_is_replaced(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A worker that is killed costs its own requests only; within two seconds there is another, and it knows all."""
    gateway = start_gateway(config_for(recorder))
    alice, gone = logged_in(gateway, ALICE), logged_in(gateway, ALICE)
    cookies = dict(gone.cookies)
    gone.logout()
    gone.cookies = cookies
    clients = 6
    with KeepAliveLoad(gateway.port, "/open/x", clients=clients) as load:
        for _ in range(3):
            before = workers_of(gateway)
            wait_for(lambda seen=load.answered: load.answered > seen + 50, what="load")  # type: ignore[misc]
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda gone=before[0]: len(set(workers_of(gateway)) - {gone}) == 2, what="another worker")  # type: ignore[misc]
            time.sleep(0.3)
    assert len(load.failures) <= 3 * clients, load.failures
    assert statuses(alice) == {200}
    assert statuses(gone) == {401}
    wait_for(lambda: metric(gateway, "gateway_worker_restarts_total") == 3, what="the metric")
    wait_for(lambda: "another takes its place" in gateway.errors(), what="the log")


def test_workers_stop_when_the_parent_dies(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """A parent that is killed leaves no worker behind that nobody can tell anything."""
    gateway = start_gateway(config_for(recorder))
    pids = workers_of(gateway)
    gateway.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="the workers to end")


def test_34_reload_under_load(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Twenty reloads under load lose no request; what is new holds for new requests; a running stream goes on."""
    config = config_for(recorder)
    gateway = start_gateway(config)
    alice = logged_in(gateway, ALICE)
    with (
        KeepAliveLoad(gateway.port, "/open/x") as load,
        KeepAliveLoad(gateway.port, "/x", headers=f"Cookie: {alice.cookie_header()}\r\n") as known,
    ):
        for number in range(20):
            extra = route(f"new-{number}", f"/new-{number}", recorder.url, public=True)
            gateway.reload({**config, "routes": [*config["routes"], extra]})
            wait_for(lambda n=number: Visitor(gateway).get(f"/new-{n}/x").status == 200, what="the new route")  # type: ignore[misc]
    assert not load.failures, load.failures[:5]
    assert not known.failures, known.failures[:5]
    assert load.answered > 100
    assert known.answered > 100
    wait_for(lambda: len(workers_of(gateway)) == 2, what="the old workers to end")


def _log_in_over_a_reload(gateway: GatewayProcess, config: Config, number: int) -> None:
    """Send the form over a connection to a worker of before, when the reload is through."""
    alice = Visitor(gateway)
    with gateway.connect() as kept:
        kept.send(f"GET /_gateway/login HTTP/1.1\r\nHost: {gateway.authority}\r\n\r\n")
        page = kept.answer()
        alice.keep_cookies(page)
        gateway.reload(config)
        wait_for(lambda: gateway.errors().count("configuration reloaded") > number, what="the reload")
        body = urlencode(form_fields(page.text()) | {"username": ALICE.user, "password": ALICE.password})
        kept.send(
            f"POST /_gateway/login HTTP/1.1\r\nHost: {gateway.authority}\r\nCookie: {alice.cookie_header()}\r\n"
            f"Origin: http://{gateway.authority}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        assert kept.answer().status == 303


def test_34_logins_while_reloading(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """Nobody who logs in meanwhile is sent away, whichever worker and whichever configuration he meets."""
    config = config_for(recorder)
    gateway = start_gateway(config)
    over = threading.Event()
    found: list[int] = []

    def log_in() -> None:
        while not over.is_set():
            found.append(Visitor(gateway).try_login(BOB.user, BOB.password).status)

    threads = [threading.Thread(target=log_in, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            _log_in_over_a_reload(gateway, config, number)
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert set(found) == {303}
    assert len(found) > 5


def test_33_bad_configuration_is_told_by_the_metrics(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """After a failed reload the metric is 0, after a good one 1."""
    gateway = start_gateway(config_for(recorder))
    line = "gateway_config_last_reload_successful"
    assert metric(gateway, line) == 1
    good = gateway.config
    gateway.config_file.write_text("routes: [")
    gateway.reload_as_it_is()
    wait_for(lambda: metric(gateway, line) == 0, what="the metric")
    gateway.reload(good)
    wait_for(lambda: metric(gateway, line) == 1, what="the metric")


@pytest.mark.parametrize("workers", [1, 2])
def test_32_stop_under_load(start_gateway: StartGateway, recorder: RecorderUpstream, workers: int) -> None:
    """On SIGTERM every request on a connection that is open is answered, the last one with `close`; exit code 0."""
    gateway = start_gateway(config_for(recorder, workers=workers, limits={"leave_time": "1s"}))
    with KeepAliveLoad(gateway.port, "/open/x") as load:
        wait_for(lambda: load.answered > 100, what="load")
        load.refusals_are_fine.set()
        assert gateway.terminate() == 0
    assert not load.failures, load.failures[:5]
    gateway.assert_no_traceback()


def test_readiness_goes_before_the_listener(start_gateway: StartGateway, recorder: RecorderUpstream) -> None:
    """For `limits.leave_time` after SIGTERM /readyz says 503 while connections are still taken.

    A second signal ends that time.
    """
    gateway = start_gateway(config_for(recorder, limits={"leave_time": "1h"}))
    gateway.signal(signal.SIGTERM)

    def readiness() -> int:
        with RawClient(gateway.admin_port) as client:
            client.send(f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{gateway.admin_port}\r\nConnection: close\r\n\r\n")
            return client.answer().status

    wait_for(lambda: readiness() == 503, what="not ready")
    answer = Visitor(gateway).get("/open/x")
    assert answer.status == 200
    assert gateway.terminate() == 0


def test_32_one_of_two_instances_stops(start_gateway: StartGateway, recorder: RecorderUpstream, tmp_path: Path) -> None:
    """Behind a balancer that tries the other instance where one refuses, a rolling stop loses no request."""
    config = config_for(recorder, limits={"leave_time": "1s"})
    first, second = start_gateway(config), start_gateway(config)
    upstreams = "".join(f"server 127.0.0.1:{gateway.port} max_fails=1 fail_timeout=1s;" for gateway in (first, second))
    folder = tmp_path / "nginx"
    folder.mkdir()
    front = Nginx(
        folder,
        "location / { proxy_pass http://gateways; proxy_http_version 1.1; proxy_set_header Connection '';"
        " proxy_set_header Host $host; proxy_next_upstream error timeout; }",
        http=f"upstream gateways {{ {upstreams} keepalive 8; }}",
    )
    failures: list[str] = []
    over = threading.Event()
    answered = 0

    def ask() -> None:
        nonlocal answered
        while not over.is_set():
            with RawClient(front.port, tls=front.client_tls()) as client:
                client.send("GET /open/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = client.answer().status
            answered += 1
            if status != 200:
                failures.append(str(status))

    with front:
        threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: answered > 50, what="load")
        assert first.terminate() == 0
        seen = answered
        wait_for(lambda: answered > seen + 50, what="load on the other")
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not failures, failures[:5]
    assert answered > 100
