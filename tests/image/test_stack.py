"""The stack of compose.yaml, as one meets it: log in, see the apps, with the session in Redis; then stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.stack import USER, Stack
from tests.support.visitor import PAGE, Visitor, logged_in
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def stack(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(image, tmp_path_factory.mktemp("stack"))
    yield stack
    stack.close()


def test_nobody_gets_in_without_a_login(stack: Stack) -> None:
    visitor = Visitor(stack)
    answer = visitor.get("/", PAGE)
    assert answer.status in (302, 303)
    assert "/_gateway/login" in str(answer.get("Location"))
    assert visitor.get("/about", PAGE).status == 200


def test_the_apps_are_told_who_logged_in(stack: Stack) -> None:
    alice, bob = (logged_in(stack, stack.people[name]) for name in ("alice", "bob"))
    assert "Hello alice" in alice.get("/", PAGE).text()
    assert "<title>Live" in alice.get("/live/", PAGE).text()
    assert alice.get("/admin", PAGE).status == 403
    assert "Hello bob" in bob.get("/", PAGE).text()
    assert bob.get("/live/", PAGE).status == 403
    assert logged_in(stack, stack.people["admin"]).get("/admin", PAGE).status == 200


def test_a_session_lives_in_redis_and_ends_with_its_record(stack: Stack) -> None:
    visitor = logged_in(stack, stack.people["alice"])
    assert visitor.get("/", PAGE).status == 200
    keys = stack.redis.call("--scan", "--pattern", "gateway:*").splitlines()
    assert keys
    assert "alice@" not in "".join(stack.redis.call(read, key) for key in keys for read in ("GET", "HGETALL"))
    for key in keys:
        stack.redis.call("DEL", key)
    wait_for(lambda: visitor.get("/", PAGE).status in (302, 303), what="the session to end")


def test_redis_lets_nobody_in_without_the_password_and_the_gateway_do_what_it_must(stack: Stack) -> None:
    assert "NOAUTH" in stack.redis.call("ping", password=False)
    assert "NOPERM" in stack.redis.call("CONFIG", "GET", "*")
    assert "NOPERM" in stack.redis.call("SET", "elsewhere", "1")


def test_two_workers_run_as_the_images_user(stack: Stack) -> None:
    assert len(stack.gateway.pids(USER)) == 3
    assert stack.is_healthy()


def test_a_login_is_one_line_of_the_audit_log(stack: Stack) -> None:
    """Compiled code once wrote each line twice."""
    before = stack.gateway.text().count('"event": "login"')
    logged_in(stack, stack.people["bob"])
    wait_for(lambda: stack.gateway.text().count('"event": "login"') > before, what="the audit log")
    logged_in(stack, stack.people["bob"])
    wait_for(lambda: stack.gateway.text().count('"event": "login"') > before + 1, what="the audit log")
    assert stack.gateway.text().count('"event": "login"') == before + 2


def test_everything_stops_cleanly_by_sigterm(stack: Stack) -> None:
    assert stack.gateway.stop(USER) == 0, stack.gateway.text()
    assert "Traceback" not in stack.gateway.text()
    assert not stack.is_healthy()
    assert [app.stop(USER) for app, _ in stack.apps.values()] == [0, 0]


def test_a_folder_of_secrets_is_closed_to_others_on_the_host(stack: Stack) -> None:
    assert stack.secrets.stat().st_mode & 0o777 == 0o700
    files = [path for path in stack.secrets.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"session_key", "redis_password", "redis_acl", "users.yaml"}
    assert [path for path in files if not path.stat().st_mode & 0o004] == []
    assert not [path for path in files if _holds(path, [user.password for user in stack.people.values()])]


def _holds(path: Path, texts: list[str]) -> bool:
    content = path.read_text()
    return any(text in content for text in texts)
