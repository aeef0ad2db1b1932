"""Hashes weaker than today's are renewed in the users file, and nothing else in it is touched."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from pathlib import Path

import pytest

from gateway.login.argon2 import Cost, cost_of, matches
from gateway.login.password import PasswordLogin
from gateway.login.rights import RightsWatch
from gateway.login.users_file import UsersFile
from tests.control.harness import load_users, write_users
from tests.login.local import Local, reason, until
from tests.support.users import ADMIN, ALICE, CAROL, User

DEARER = Cost(memory=128)


def stored(local: Local, user: str) -> str:
    return load_users(local.file)[user].password_hash


async def test_a_hash_weaker_than_todays_is_renewed_and_nothing_else_is_touched(local: Local) -> None:
    local.file.write_text("# our people\n" + local.file.read_text().replace("name: Bob", "name:   Bob") + "\n# end\n")
    local.file.chmod(0o640)
    before = local.file.read_text()
    login = local.open(cost=DEARER)
    await login.start()
    old = stored(local, "alice")
    await login.verify("alice", ALICE.password)
    await until(lambda: stored(local, "alice") != old, "a new hash")
    new = stored(local, "alice")
    assert cost_of(new) == DEARER
    assert matches(ALICE.password, new)
    assert local.file.read_text() == before.replace(old, new)
    assert local.file.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in local.directory.iterdir()) == ["users.stamps", "users.yaml"]
    await login.verify("alice", ALICE.password)
    await login.reload()
    assert local.changed == []
    assert [event.kind for event in local.events] == []


async def test_a_renewed_hash_is_no_change_of_rights_at_the_next_start_either(local: Local) -> None:
    login = local.open(cost=DEARER)
    await login.start()
    stamps = local.stamps.read_text()
    await login.verify("alice", ALICE.password)
    await until(lambda: local.stamps.read_text() != stamps, "a new stamp")
    await login.close()
    await local.open(cost=DEARER).start()
    assert local.changed == []


async def test_whoever_reads_a_renewed_hash_first_takes_it_for_no_change_of_rights(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process sees the new hash in the file before the one that put it there goes on."""
    login, other = local.open(cost=DEARER), local.open(cost=DEARER)
    await login.start()
    await other.start()
    put = UsersFile.replace_text
    written, seen = threading.Event(), threading.Event()

    def put_and_wait(file: UsersFile, old: str, new: str) -> bool:
        done = put(file, old, new)
        written.set()
        assert seen.wait(20)
        return done

    monkeypatch.setattr(UsersFile, "replace_text", put_and_wait)
    await login.verify("alice", ALICE.password)
    await until(written.is_set, "a new hash")
    await other.reload()
    assert [event.kind for event in local.events] == ["users_reloaded"]
    seen.set()
    await login.close()
    assert local.changed == []


async def test_two_that_renew_the_same_hash_at_once_change_no_rights(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reload lets one configuration take over from another, both may have verified the old hash."""
    put, free = UsersFile.replace_text, threading.Lock()
    together: list[bool] = []

    def put_slowly(file: UsersFile, old: str, new: str) -> bool:
        alone = free.acquire(blocking=False)
        together.append(not alone)
        time.sleep(0.05)
        if alone:
            free.release()
        return put(file, old, new)

    monkeypatch.setattr(UsersFile, "replace_text", put_slowly)
    rights = RightsWatch(local.stamps)
    logins = [local.open(cost=DEARER, rights=rights) for _ in range(3)]
    for login in logins:
        await login.start()
    old = stored(local, "alice")
    await asyncio.gather(*[login.verify("alice", ALICE.password) for login in logins])
    await until(lambda: stored(local, "alice") != old, "a new hash")
    await until(lambda: not any(_renews(login) for login in logins), "all to have tried")
    assert True not in together, "one after the other"
    for login in logins:
        await login.close()
    for login in logins:
        await login.reload()
    await local.open(cost=DEARER).start()
    assert local.changed == []


def _renews(login: PasswordLogin) -> bool:
    return any(task.get_name() == "password-hash" for task in login._tasks)


async def test_a_failed_login_renews_nothing(local: Local) -> None:
    login = local.open(cost=DEARER)
    old = local.file.read_text()
    await reason(login.verify("alice", "wrong"))
    await reason(login.verify("carol", CAROL.password))
    await asyncio.sleep(0.1)
    assert local.file.read_text() == old


async def test_a_stronger_hash_than_todays_is_left_alone(local: Local) -> None:
    write_users(local.file, (User("alice", ALICE.password, "A", memory=256),))
    old = local.file.read_text()
    await local.open(cost=DEARER).verify("alice", ALICE.password)
    await asyncio.sleep(0.1)
    assert local.file.read_text() == old


async def test_a_file_that_was_edited_meanwhile_is_not_overwritten(local: Local) -> None:
    login = local.open(cost=DEARER)
    local.rewrite("Bob Builder", "Bob the Builder")
    edited = local.file.read_text()
    await login.verify("alice", ALICE.password)
    await asyncio.sleep(0.2)
    assert local.file.read_text() == edited


async def test_a_hash_that_two_users_share_is_not_renewed(local: Local) -> None:
    entry = ALICE.entry()
    local.file.write_text(json.dumps({"users": {"alice": entry, "twin": entry}}))
    before = local.file.read_text()
    await local.open(cost=DEARER).verify("alice", ALICE.password)
    await asyncio.sleep(0.2)
    assert local.file.read_text() == before


async def test_a_file_that_cannot_be_written_is_a_warning_once_and_logins_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # No copy fits beside a file whose name is as long as names can be; that holds for root, too.
    local = Local(tmp_path)
    local.file = tmp_path / ("u" * 250)
    write_users(local.file)
    login = local.open(cost=DEARER)
    with caplog.at_level(logging.WARNING, "gateway.login"):
        for user in (ALICE, ADMIN, ALICE):
            assert (await login.verify(user.user, user.password)).user == user.user
            await until(lambda: caplog.records, "a warning")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot be renewed" in caplog.text
    await login.close()


async def test_a_link_to_the_file_stays_a_link(local: Local) -> None:
    real = local.directory / "real.yaml"
    local.file.replace(real)
    local.file.symlink_to(real)
    login = local.open(cost=DEARER)
    old = stored(local, "alice")
    await login.verify("alice", ALICE.password)
    await until(lambda: stored(local, "alice") != old, "a new hash")
    assert local.file.is_symlink()


async def test_a_hash_renewed_by_the_configuration_before_is_no_change_of_rights_for_the_one_in_force(
    local: Local,
) -> None:
    before, in_force = local.open(cost=DEARER), local.open(cost=DEARER)
    await before.start()
    await in_force.start()
    stamps = local.stamps.read_text()
    await before.verify("alice", ALICE.password)
    await until(lambda: local.stamps.read_text() != stamps, "a new stamp")
    await in_force.reload()
    assert [event.kind for event in local.events] == ["users_reloaded"]
    assert local.changed == []
