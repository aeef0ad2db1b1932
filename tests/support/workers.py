"""The workers of a running gateway: which there are, which of them has a connection, and a connection to each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.gateway import GatewayProcess
from tests.support.raw import RawClient
from tests.support.visitor import Visitor
from tests.support.waiting import wait_for


def workers_of(gateway: GatewayProcess) -> list[int]:
    """Return the pids of its workers."""
    return gateway.pids()[1:]


def worker_of(gateway: GatewayProcess, client: RawClient) -> int:
    """Return the pid of the worker that has a connection, which the kernel knows by the number of its socket."""
    ends = [f"0100007F:{port:04X}" for port in (gateway.port, client.socket.getsockname()[1])]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    (socket,) = [f"socket:[{row[9]}]" for row in rows if row[1:3] == ends]
    (pid,) = [pid for pid in workers_of(gateway) if socket in _open_files(pid)]
    return pid


def _open_files(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(file.readlink())


@contextlib.contextmanager
def client_of_each(gateway: GatewayProcess) -> Iterator[list[RawClient]]:
    """Connect until every worker has taken a connection; yield one of each, over which nothing was sent yet."""
    clients: dict[int, RawClient] = {}
    with contextlib.ExitStack() as stack:

        def all_reached() -> bool:
            client = stack.enter_context(gateway.connect())
            wait_for(lambda: _is_taken(gateway, client), what="a worker to take the connection")
            clients[worker_of(gateway, client)] = client
            return len(clients) == len(workers_of(gateway))

        wait_for(all_reached, what="every worker to take a connection")
        yield list(clients.values())


def statuses_at_each(visitor: Visitor, target: str, headers: Mapping[str, str]) -> set[int]:
    """Return what a visitor's GET is answered with by the workers, each of which is asked once."""
    assert isinstance(visitor.gateway, GatewayProcess)
    with client_of_each(visitor.gateway) as clients:
        return {visitor.ask(client, "GET", target, headers).status for client in clients}


def _is_taken(gateway: GatewayProcess, client: RawClient) -> bool:
    with contextlib.suppress(ValueError):
        return worker_of(gateway, client) > 0
    return False
