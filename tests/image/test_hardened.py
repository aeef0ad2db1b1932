"""The gateway as compose.yaml shuts it in: read-only, as process 1, with no capability and no way to gain any.

buildah cannot do that without an engine, so the namespaces, the mounts and the user are made here by hand.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.image.stack import ROOT, USER
from tests.support.container import Container, descendants, user_of
from tests.support.gateway import new_key
from tests.support.visitor import Reachable, Visitor
from tests.support.waiting import wait_for

SHUT_IN = r"""
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
test "$3" = none || mount -t tmpfs -o size=16m tmpfs tmp
mount -t tmpfs -o mode=700,uid=USER,gid=USER tmpfs var/lib/gateway
mount --bind "$2" etc/gateway
mount -o remount,bind,ro "$1"
cd "$1"
shift 3
exec chroot . setpriv --reuid=USER --regid=USER --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs \
    /usr/bin/env --ignore-environment --chdir=/var/lib/gateway "$@"
""".replace("USER", str(USER))

CONFIG = """
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
public_url: http://127.0.0.1
state_dir: /var/lib/gateway
workers: 2
session: {store: sqlite, keys: [KEY]}
routes: [{name: nobody, upstream: "http://127.0.0.1:9"}]
"""


class ShutIn(Reachable):
    """The gateway in its cell."""

    def __init__(self, container: Container, config: dict[str, Any], etc: Path, tmp: str) -> None:
        (container.root / "etc/gateway").mkdir()
        cell = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SHUT_IN, "sh"]
        command = [*config["Env"], *config["Entrypoint"], *config["Cmd"]]
        self._process = subprocess.Popen(
            [*cell, str(container.root), str(etc), tmp, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""
        assert self._process.stderr
        for line in self._process.stderr:
            self.said += line
            if match := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(match[1])
                break
        else:
            raise AssertionError(self.said)

    def pids(self) -> list[int]:
        """Return its processes, the parent first."""
        return [pid for pid in descendants(self._process.pid) if user_of(pid) == USER]

    def stop(self) -> int:
        """Send SIGTERM to process 1, as an engine does."""
        os.kill(self.pids()[0], signal.SIGTERM)
        self.said += self._process.communicate(timeout=40)[1]
        return self._process.returncode

    def kill(self) -> None:
        """End whatever still runs."""
        self._process.kill()
        self._process.wait(20)


@pytest.fixture(params=["tmpfs", "none"], ids=["a writable /tmp", "no writable /tmp"])
def shut_in(image: str, config: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ShutIn]:
    (tmp_path / "gateway.yaml").write_text(CONFIG.replace("KEY", new_key()))
    tmp_path.chmod(0o755)
    with Container(image) as container:
        gateway = ShutIn(container, config, tmp_path, request.param)
        yield gateway
        gateway.kill()


def status(pid: int) -> dict[str, str]:
    """Return what the kernel says about a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_works_shut_in_and_ends_by_sigterm_to_process_1(shut_in: ShutIn) -> None:
    first = status(shut_in.pids()[0])
    assert first["NSpid"].split()[-1] == "1"
    assert (first["NoNewPrivs"], int(first["CapBnd"], 16), int(first["CapEff"], 16)) == ("1", 0, 0)
    wait_for(lambda: len(shut_in.pids()) == 3, what="two workers")
    assert Visitor(shut_in).get("/_gateway/login").status == 200
    assert shut_in.stop() == 0, shut_in.said
    assert "Traceback" not in shut_in.said


def test_a_worker_that_dies_is_replaced_and_leaves_no_dead_process(shut_in: ShutIn) -> None:
    wait_for(lambda: len(shut_in.pids()) == 3, what="two workers")
    parent, *workers = shut_in.pids()
    os.kill(workers[0], signal.SIGKILL)
    wait_for(lambda: len(shut_in.pids()) == 3 and workers[0] not in shut_in.pids(), what="another worker")
    assert [status(pid)["State"] for pid in shut_in.pids() if status(pid)["State"].startswith("Z")] == []
    assert shut_in.pids()[0] == parent
    assert shut_in.stop() == 0, shut_in.said


def test_this_is_what_compose_asks_for() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert "read_only: true" in text
    assert "cap_drop: [ALL]" in text
    assert "no-new-privileges:true" in text
