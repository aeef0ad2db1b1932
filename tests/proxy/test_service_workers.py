"""What apps may say about service workers, and which scripts are refused, case by case."""

from __future__ import annotations

import pytest

from gateway.core.policy import Rule
from gateway.core.route import Route
from gateway.errors import RequestError
from gateway.proxy.service_workers import WorkerScope
from gateway.wire.head import AnswerHead, RequestHead

PUBLIC = "login.example.com"


def scope(path: str = "/", *, service_worker: bool = False) -> WorkerScope:
    return WorkerScope(Route("app", (), Rule("x"), path=path, service_worker=service_worker), {PUBLIC})


def request(target: bytes = b"/x/sw.js", host: str = PUBLIC, value: bytes = b"script") -> RequestHead:
    head = RequestHead()
    head.target, head.host, head.noted = target, host, {b"service-worker": value}
    return head


def allowed(made: WorkerScope, value: bytes, host: str = "other.example.com") -> bytes | None:
    """Return what a response says after it was rewritten, None for nothing."""
    answer = AnswerHead()
    answer.noted = {b"service-worker-allowed": value}
    made.rewrite(answer, request(host=host))
    assert len(answer.lines) <= 1
    return answer.lines[0].removeprefix(b"Service-Worker-Allowed: ") if answer.lines else None


@pytest.mark.parametrize("target", [b"/sw.js", b"/app", b"/sw.js?x=/y/", b"/", b"/%61.js", b"/_gateway/x.js"])
def test_scripts_whose_directory_takes_in_our_pages_are_refused(target: bytes) -> None:
    """The directory is that of the path as the browser has it; the query is no part of it."""
    with pytest.raises(RequestError, match="service worker") as caught:
        scope().check(request(target, value=b"SCRIPT"))
    assert (caught.value.status, caught.value.reason) == (403, "service_worker")
    scope().check(request(target, "other.example.com"))
    scope().check(request(target, value=b"something else"))
    scope(service_worker=True).check(request(target))


@pytest.mark.parametrize("target", [b"/x/sw.js", b"/app/", b"//sw.js", b"/_gatewa/y", b"/%5Fgateway/x.js"])
def test_other_scripts_pass(target: bytes) -> None:
    """Scopes are compared as texts: what is decoded on the way to us is not to the browser."""
    scope().check(request(target))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"/wiki/", b"/wiki/"),
        (b"/wiki/deep", b"/wiki/deep"),
        (b"/", b"/wiki/"),
        (b"/wiki", b"/wiki/"),
        (b"/wikipedia/", b"/wiki/"),
        (b"/wiki/../", b"/wiki/"),
        (b"/wiki/%2e%2E/", b"/wiki/"),
        (b"/wiki/..\\", b"/wiki/"),
        (b"/wiki/.\t./", b"/wiki/"),
        (b"/wiki/, /", b"/wiki/"),
        (b"/wiki/?/../", b"/wiki/"),
        (b"/wiki/#x", b"/wiki/"),
        (b"//other/", b"/wiki/"),
        (b"https://login.example.com/wiki/", b"/wiki/"),
        (b"../", b"/wiki/"),
        (b"", b"/wiki/"),
    ],
)
def test_what_apps_allow_stays_in_their_route(value: bytes, expected: bytes) -> None:
    """Whatever a browser could read as a wider path is the route's own."""
    for host in (PUBLIC, "other.example.com"):
        assert allowed(scope("/wiki"), value, host) == expected


@pytest.mark.parametrize("value", [b"/", b"/_", b"/_g", b"/_gateway", b"/_gateway/login", b"x", b"/%5Fg"])
def test_on_the_public_host_nothing_takes_in_our_pages(value: bytes) -> None:
    """An app at ``/`` is told no such scope there; elsewhere its own path is all of the host."""
    assert allowed(scope(), value, PUBLIC) is None
    assert allowed(scope(), value) == (value if value.startswith(b"/") and b"%" not in value else b"/")
    assert allowed(scope(service_worker=True), b"/", PUBLIC) == b"/"


def test_a_narrower_scope_there_passes() -> None:
    """As long as it takes in nothing of ours."""
    assert allowed(scope(), b"/static/", PUBLIC) == b"/static/"
    assert allowed(scope("/_g"), b"/", PUBLIC) == b"/_g/"


def test_a_path_that_browsers_encode() -> None:
    """It is written as they compare it."""
    assert allowed(scope("/größe"), b"/") == b"/gr%C3%B6%C3%9Fe/"
