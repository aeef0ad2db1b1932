"""The users file is read again when it changes, and sessions end where rights did."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from tests.control.harness import write_users
from tests.login.local import Local, reason, until
from tests.support.users import ADMIN, ALICE, BOB, CAROL, EVERYBODY, User


async def test_the_file_is_read_again_when_it_changes(local: Local) -> None:
    login = local.open(poll=0.02)
    await login.start()
    write_users(local.file, (*EVERYBODY, User("dave", "new here 7", "Dave")))
    await until(lambda: local.events, "a reload")
    assert (await login.verify("dave", "new here 7")).user == "dave"
    assert [(event.kind, event.reason) for event in local.events] == [("users_reloaded", "5 users")]
    assert local.changed == []


async def test_an_unchanged_file_is_not_read_again(local: Local) -> None:
    login = local.open()
    await login.start()
    for _ in range(3):
        await login.reload()
    assert local.events == []


async def test_a_replaced_file_of_the_same_size_and_time_is_noticed(local: Local) -> None:
    login = local.open()
    await login.start()
    times = local.file.stat()
    local.rewrite("Bob Builder", "Bob Bulider")
    os.utime(local.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    await login.reload()
    assert (await login.verify("bob", BOB.password)).name == "Bob Bulider"


async def test_a_bad_file_keeps_the_users_and_says_what_is_wrong(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    login = local.open()
    await login.start()
    good = local.file.read_text()
    for bad in ("users: [", "users: {alice: {}}", "nothing: 1", ""):
        local.file.write_text(bad)
        with caplog.at_level(logging.ERROR, "gateway.login"):
            await login.reload()
        assert "users.yaml: users: cannot be understood" in caplog.text
        assert (await login.verify("alice", ALICE.password)).user == "alice"
        caplog.clear()
    await login.reload()
    assert caplog.records == [], "a problem is told once"
    assert local.changed == []
    local.file.write_text(good.replace("Alice Liddell", "Alice L."))
    await login.reload()
    assert (await login.verify("alice", ALICE.password)).name == "Alice L."


async def test_a_file_that_went_away_keeps_the_users(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    login = local.open()
    await login.start()
    local.file.unlink()
    await login.reload()
    assert "cannot be read" in caplog.text
    assert (await login.verify("alice", ALICE.password)).user == "alice"
    write_users(local.file, (BOB,))
    await login.reload()
    assert await reason(login.verify("alice", ALICE.password)) == "unknown user"
    assert local.changed == ["admin", "alice"]


async def test_a_reader_that_breaks_does_not_end_the_watching(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    login = local.open(poll=0.02)
    await login.start()
    local.file.write_bytes(b"\xff\xfe not utf-8")
    await until(lambda: "could not be read again" in caplog.text, "a logged fault")
    write_users(local.file, (BOB,))
    await until(lambda: local.events, "a reload")
    assert (await login.verify("bob", BOB.password)).user == "bob"


def test_a_bad_file_at_the_start_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    local = Local(tmp_path)
    local.file.write_text("users: [")
    with pytest.raises(ConfigError):
        local.open()


def changed_alice(**changes: object) -> tuple[User, ...]:
    fields = {"user": "alice", "password": ALICE.password, "name": ALICE.name, "groups": ALICE.groups, **changes}
    return (User(**fields), BOB, ADMIN, CAROL)  # type: ignore[arg-type]


CHANGES: list[tuple[tuple[User, ...], list[str]]] = [
    (changed_alice(), []),
    (changed_alice(name="Alice in Wonderland"), []),
    (changed_alice(groups=("wiki", "staff")), []),
    (changed_alice(groups=("staff",)), ["alice"]),
    (changed_alice(groups=(*ALICE.groups, "admins")), ["alice"]),
    (changed_alice(password="a new one"), ["alice"]),
    (changed_alice(disabled=True), ["alice"]),
    ((BOB, ADMIN), ["alice"]),
    ((), ["admin", "alice", "bob"]),
    ((ALICE, BOB, ADMIN, User("carol", CAROL.password, CAROL.name)), []),
]


@pytest.mark.parametrize(("users", "expected"), CHANGES)
async def test_sessions_end_where_rights_changed(local: Local, users: tuple[User, ...], expected: list[str]) -> None:
    login = local.open()
    await login.start()
    write_users(local.file, users)
    await login.reload()
    assert local.changed == expected
    assert [event.user for event in local.events if event.kind == "rights_changed"] == expected


@pytest.mark.parametrize(("users", "expected"), CHANGES)
async def test_sessions_end_where_rights_changed_while_the_gateway_was_down(
    local: Local, users: tuple[User, ...], expected: list[str]
) -> None:
    login = local.open()
    await login.start()
    await login.close()
    write_users(local.file, users)
    await local.open().start()
    assert local.changed == expected


async def test_a_changed_address_ends_sessions(local: Local) -> None:
    login = local.open()
    await login.start()
    local.rewrite("bob@example.com", "bob@example.org")
    await login.reload()
    assert local.changed == ["bob"]


async def test_the_first_start_ends_nothing(local: Local) -> None:
    await local.open().start()
    assert local.changed == []
    assert local.stamps.stat().st_mode & 0o777 == 0o600


async def test_what_could_not_be_ended_is_tried_again(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    login = local.open()
    await login.start()
    local.failing = {"alice"}
    write_users(local.file, (CAROL,))
    await login.reload()
    assert local.changed == ["admin", "bob"]
    assert "will try again" in caplog.text
    await login.reload()
    assert local.changed == ["admin", "bob"]
    await login.close()
    local.failing.clear()
    await local.open().start()
    assert local.changed == ["admin", "bob", "alice"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
async def test_broken_stamps_make_everybody_log_in_again(local: Local, content: str) -> None:
    local.stamps.write_text(content)
    await local.open().start()
    assert local.changed == ["admin", "alice", "bob"]


async def test_stamps_that_cannot_be_kept_are_an_error_in_the_log_and_no_more(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    local.stamps = local.directory / "missing" / "users.stamps"
    login = local.open()
    await login.start()
    assert "cannot be kept" in caplog.text
    assert (await login.verify("alice", ALICE.password)).user == "alice"


async def test_stamps_hold_no_hash(local: Local) -> None:
    await local.open().start()
    assert "argon2" not in local.stamps.read_text()
    assert "alice" in local.stamps.read_text()
